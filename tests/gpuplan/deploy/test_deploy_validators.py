"""The platforms' own tools read what we write.

Each tool is installed once (tests/gpuplan/deploy/environments.py), while other tests run; `-m "not validators"` leaves
these tests out, and they are skipped where no registry can be reached. CRDs and schemas that no registry has are read
from GPUPLAN_SCHEMAS; where that is not set, their tests are skipped.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
import yaml

from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.formats import render, write
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.platforms.benchmark import vllm_words
from tests.gpuplan.deploy.environments import Unreachable, debian_programs, environment, layer_of, python_of

HERE = Path(__file__).parent / "validators"
SCHEMAS = os.environ.get("GPUPLAN_SCHEMAS", "")

pytestmark = pytest.mark.validators
needs_schemas = pytest.mark.skipif(not SCHEMAS, reason="GPUPLAN_SCHEMAS names no folder with CRDs and schemas")


def installed(make, *name):
    """What a maker of environments makes; without a registry there is nothing to test with."""
    try:
        return make(*name)
    except Unreachable as reason:
        pytest.skip(str(reason))


def run(tool, script, *files, layer=None, stdin=None, cwd=None, **changes):
    """The lines in which a script says what it has read."""
    if layer is not None:
        changes["PYTHONPATH"] = str(installed(layer_of, layer))
    done = subprocess.run(
        [installed(python_of, tool), HERE / script, *files],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(**changes),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.startswith("ok ")]


def written(matrix, name, folder):
    """One format's YAML files of every plan that it can run."""
    for kind, make in matrix.items():
        try:
            files = render(deployment_of(make()), [name])
        except CannotDeploy:
            continue
        texts = [file for file in files if file.name.endswith((".yaml", ".yml")) and "trtllm" not in file.name]
        yield from write(texts, folder / kind)


def written_texts(matrix, ending, folder):
    """Files of every plan and format with one ending, in a folder of their kind."""
    for kind, make in matrix.items():
        yield from write((file for file in render(deployment_of(make())) if file.name.endswith(ending)), folder / kind)


@pytest.mark.parametrize(
    ("name", "tool", "script", "layer"),
    [
        ("ray-serve", "engines", "read_ray_llm.py", "vllm-of-ray"),
        ("kubernetes", "kubernetes", "read_kubernetes_builtins.py", None),
        ("skypilot", "skypilot", "read_skypilot.py", None),
        ("dstack", "dstack", "read_dstack.py", None),
    ],
)
def test_the_platforms_own_tool_reads_every_plan(name, tool, script, layer, matrix, tmp_path):
    files = list(written(matrix, name, tmp_path))
    quiet = {"SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    assert len(run(tool, script, *files, layer=layer, **quiet)) >= len(files) >= 13


def test_docker_compose_itself_reads_every_plan(matrix, tmp_path):
    compose = installed(debian_programs) / "root" / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose"
    told = environment(HEAD_ADDRESS="10.0.0.1", NODE_RANK="1", HOME=str(tmp_path))
    files = list(written(matrix, "compose", tmp_path))
    assert len(files) >= 18
    for file in files:
        words = [compose, "-f", file, "config", "--format", "json"]
        done = subprocess.run(words, env=told, capture_output=True, check=False)
        assert done.returncode == 0, (file, done.stderr)
        services = json.loads(done.stdout)["services"].values()
        assert all(":" in each["image"] for each in services)


def test_shellcheck_finds_nothing_in_any_script(matrix, tmp_path):
    shellcheck = installed(python_of, "kubernetes").with_name("shellcheck")
    scripts = list(written_texts(matrix, ".sh", tmp_path))
    assert len(scripts) >= 80
    done = subprocess.run([shellcheck, "--format", "gcc", *scripts], capture_output=True, text=True, check=False)
    assert done.stdout == ""


class Replica(BaseHTTPRequestHandler):
    """Answers with the port that was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        said = str(self.server.server_port).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *words):
        """Nothing."""


def test_nginx_itself_deals_requests_out_in_proportion_to_the_planned_speed(matrix, tmp_path):
    """One replica of 1,000 and four of 300 tokens per second, at the addresses that the docker format writes."""
    nginx = installed(debian_programs) / "root" / "usr" / "sbin" / "nginx"
    files = render(deployment_of(matrix["two-kinds-on-one-machine"]()), ["docker"])
    (text,) = (file.text for file in files if file.name.endswith("nginx.conf"))
    replicas = [ThreadingHTTPServer(("127.0.0.1", 0), Replica) for _ in range(5)]
    for number, replica in enumerate(replicas):
        threading.Thread(target=replica.serve_forever, daemon=True).start()
        text = text.replace(f"127.0.0.1:{FIRST_PORT + number} ", f"127.0.0.1:{replica.server_port} ")
    port = free_port()
    ours = f"pid {tmp_path}/pid; daemon off; error_log stderr;\n"
    temporary = "".join(
        f" {each}_temp_path {tmp_path}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace(f"listen {FIRST_PORT + 80};", f"listen 127.0.0.1:{port};")
    (tmp_path / "nginx.conf").write_text(ours + text.replace("http {", f"http {{ access_log off;{temporary}"))
    words = [nginx, "-e", "stderr", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
    checked = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert "test is successful" in checked.stderr, checked.stderr
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/", server, body={}, most_seconds=60)
        dealt = Counter(int(answer(f"http://127.0.0.1:{port}/v1/completions", {})) for _ in range(73 * 2))
    finally:
        server.terminate()
        server.wait(60)
        for replica in replicas:
            replica.shutdown()
            replica.server_close()
    shares = [dealt[replica.server_port] for replica in replicas]
    assert shares == pytest.approx([66, 20, 20, 20, 20], abs=3)  # an answer that is just ending counts as busy


def strict(schema):
    """The same schema without room for unknown fields, which Kubernetes drops silently."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if closed.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed


@pytest.fixture(scope="module")
def definitions():
    """Strict schemas of custom resources by apiVersion and kind."""
    found = {}
    for file in Path(SCHEMAS).glob("*.yaml"):
        for each in yaml.load_all(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if each and each["kind"] == "CustomResourceDefinition":
                for version in each["spec"]["versions"]:
                    schema = strict(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
                    schema["properties"]["metadata"] = {"type": "object"}
                    key = (f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"])
                    found[key] = jsonschema.Draft202012Validator(schema)
    return found


@needs_schemas
@pytest.mark.parametrize(
    ("name", "kinds"), [("kubernetes", {"LeaderWorkerSet"}), ("kserve", {"InferenceService", "LLMInferenceService"})]
)
def test_custom_resources_have_only_fields_that_exist(name, kinds, matrix, definitions, tmp_path):
    seen = set()
    for file in written(matrix, name, tmp_path):
        for each in yaml.safe_load_all(file.read_text()):
            if each["kind"] in kinds:
                definitions[each["apiVersion"], each["kind"]].validate(each)
                seen.add(each["kind"])
    assert seen == kinds


@needs_schemas
@pytest.mark.parametrize(
    ("name", "schema"), [("compose", "compose-spec.json"), ("llm-d", "llmd_modelservice_values.schema.json")]
)
def test_files_follow_their_published_schema(name, schema, matrix, tmp_path):
    validator = jsonschema.Draft7Validator(json.loads((Path(SCHEMAS) / schema).read_text()))
    files = list(written(matrix, name, tmp_path))
    assert len(files) >= 14
    for file in files:
        validator.validate(yaml.safe_load(file.read_text()))


def commands(matrix, engine):
    """What an engine's command line is given on the first and on later machines."""
    for make in matrix.values():
        for serving in deployment_of(make()).servings:
            if serving.engine == engine:
                yield serving.command.serving_on(FIRST_PORT).words("10.0.0.1")
                if serving.worker is not None:
                    ranks = [word for name, step in serving.ranks for word in (name, str(step))]
                    yield (*serving.worker.words("10.0.0.1"), *ranks)


def test_vllms_own_parser_and_engine_config_take_every_command(matrix, tmp_path):
    benchmarks = (vllm_words(deployment_of(make())) for make in matrix.values())
    files = (("vllm", "serve", "--config", str(file)) for file in written(matrix, "vllm-config", tmp_path))
    lines = [json.dumps(list(words)[1:]) for words in (*commands(matrix, "vllm"), *benchmarks, *files)]
    settings = {"cwd": tmp_path, "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    read = run("engines", "read_vllm_parser.py", layer="vllm", stdin="\n".join(lines), **settings)
    assert len(read) == len(lines) >= 50


def test_sglangs_own_parser_takes_every_command(matrix, tmp_path):
    lines = [json.dumps(list(words)[2:]) for words in commands(matrix, "sglang")]
    read = run("engines", "read_sglang_parser.py", layer="sglang", stdin="\n".join(lines), HOME=str(tmp_path))
    assert len(read) == len(lines) >= 4


def answer(url, body=None, timeout=30):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(url, server, body=None, most_seconds=1200):
    end = time.monotonic() + most_seconds
    while time.monotonic() < end:
        assert server.poll() is None, "the server has ended"
        try:
            return answer(url, body)
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")


def test_a_real_vllm_starts_by_the_planned_command_and_both_benchmarks_measure_it(tmp_path):
    """The CPU build with random weights; only what a CPU needs is added behind the planned words."""
    from gpuplan import Demand, Requirements, Workload
    from gpuplan import plan as plan_it
    from gpuplan.deploy.promise import check_promise, read_result
    from optimizer.requirements import Choices

    python, model, port = installed(python_of, "engines"), tmp_path / "tiny", free_port()
    subprocess.run([python, HERE / "tiny_server.py", model], check=True)
    question = Requirements(
        model=str(model),
        workload=Workload(input_tokens=32, output_tokens=16),
        demand=Demand(concurrency=4),
        choices=Choices(max_model_len=256),
    )
    deployment = deployment_of(plan_it(question, offline=True))
    words = list(deployment.servings[0].command.serving_on(port).words())
    cpu = ["--load-format", "dummy", "--enforce-eager", "--kv-cache-memory-bytes", "128M"]
    told = environment(
        PATH=f"{python.parent}:{os.environ['PATH']}",
        HOME=str(tmp_path),
        HF_HUB_OFFLINE="1",
        BASE_URL=f"http://localhost:{port}",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        TORCHDYNAMO_DISABLE="1",
    )
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*words, *cpu], env=told, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(f"http://localhost:{port}/health", server)
            body = {"model": str(model), "prompt": "w5 w6 w7 w8 w9 w10 w11 w12", "max_tokens": 8}
            answered = json.loads(answer(f"http://localhost:{port}/v1/completions", body))
            assert answered["usage"]["completion_tokens"] >= 1
            for script in render(deployment, ["benchmark"]):
                subprocess.run(
                    ["bash", "-c", few(script.text)], env=told, cwd=tmp_path, check=True, stdout=log, stderr=log
                )
        except BaseException:
            print((tmp_path / "log").read_text()[-5000:])
            raise
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(300)
    for result, least in (("vllm-result.json", 16), ("guidellm-result.json", 12)):
        measured = read_result(tmp_path / result)
        assert least <= measured.completed <= 16, result  # guidellm drops those in flight when the last has come
        assert measured.output_tokens == 16
        assert check_promise(deployment.plan, measured).comparisons[0].measured == measured.output_tokens_per_second


def few(script):
    """The benchmark with 16 requests, four at once, whatever was planned."""
    changes = (("--num-prompts", r"--num-prompts 16"), ("--max-concurrency", "--max-concurrency 4"))
    for option, value in changes:
        script = re.sub(rf"{option} \d+", value, script)
    script = re.sub(r"kind=max_requests,count=\d+", "kind=max_requests,count=16", script)
    return re.sub(r"streams=\d+", "streams=4", script)
