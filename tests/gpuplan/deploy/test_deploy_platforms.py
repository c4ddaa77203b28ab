"""What every platform's files promise: pinned images, the planned command, no token, every GPU taken once."""

import json
import re
import shlex
from functools import cache

import pytest
import yaml

from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.errors import BadPlan, CannotDeploy
from gpuplan.deploy.formats import format_names, platform, refusals, render
from gpuplan.deploy.placement import place
from gpuplan.deploy.text import dns_name
from optimizer.engines.tensorrt_llm import OPTIONS_FILE

K8S = ("kubernetes", "kserve", "dynamo")


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""As safe_load reads, only faster where libyaml is there."""


@cache
def documents(text):
    return list(yaml.load_all(text, LOADER))


def yamls(files):
    return [(file, documents(file.text)) for file in files if file.name.endswith((".yaml", ".yml"))]


def every(node, name):
    """All values under a key, wherever it stands."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from every(value, name)
    elif isinstance(node, list):
        for each in node:
            yield from every(each, name)


def test_every_platform_writes_or_says_why_not(deployment):
    files = render(deployment)
    refused = refusals(deployment)
    written = {file.name.split("/")[0] for file in files}
    assert written | set(refused) == set(format_names())
    assert not written & set(refused)
    assert all(reason.endswith(".") and len(reason) < 250 for reason in refused.values())
    assert {"shell", "environment", "benchmark"} <= written


def test_names_of_files_stay_in_their_folder_and_are_written_once(deployment):
    names = [file.name for file in render(deployment)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z-]+/[a-zA-Z0-9.-]+", name) for name in names)


def test_images_are_pinned(deployment):
    images = [image for _, read in yamls(render(deployment)) for image in every(read, "image")]
    images += [
        word for file in render(deployment) if "docker/" in file.name for word in file.text.split() if "/" in word
    ]
    pinned = [image for image in images if re.fullmatch(r"[\w./-]+:v?\d[\w.+-]*", image)]
    assert pinned or "kubernetes" in refusals(deployment)
    assert not [image for image in images if "latest" in image]
    assert all(":" in image for _, read in yamls(render(deployment)) for image in every(read, "image"))


def test_a_token_is_a_reference(deployment):
    for file in render(deployment):
        assert not re.search(r"hf_[A-Za-z0-9]{6}", file.text)
    for _, read in yamls(render(deployment)):
        for variables in every(read, "env"):
            assert all(each == "HF_TOKEN" or "valueFrom" in each for each in variables)


def test_the_planned_options_reach_every_platform(deployment):
    for file in render(deployment):
        if file.name.endswith(("nginx.conf", OPTIONS_FILE)) or file.name.startswith("benchmark/"):
            continue
        limits = [
            str(line.replica.max_num_seqs * (line.replica.data_parallel if line.replica.engine == "sglang" else 1))
            for line in deployment.plan.lines
        ]
        assert any(re.search(rf"\b{limit}\b", file.text) for limit in limits), file.name
        assert any(re.search(r"\b8192\b", file.text) for _ in limits), file.name


def test_every_gpu_is_taken_at_most_once_and_every_replica_stands(deployment):
    machines = place(deployment)
    assert len(machines) == sum(line.count for line in deployment.plan.lines)
    for machine in machines:
        taken = [number for seat in machine.seats for number in seat.gpu_numbers]
        assert sorted(set(taken)) == sorted(taken)
        assert not taken or max(taken) < machine.gpu_count
        assert len({seat.port for seat in machine.seats}) == len(machine.seats)
    seats = [(seat.serving.name, seat.replica, seat.node) for machine in machines for seat in machine.seats]
    wanted = [
        (serving.name, replica, node)
        for serving in deployment.servings
        for replica in range(serving.count)
        for node in range(serving.nodes)
    ]
    assert sorted(seats) == sorted(wanted)


def test_a_plan_with_more_replicas_than_room_is_refused(make):
    with pytest.raises(BadPlan, match="no room"):
        place(deployment_of(make(tensor_parallel=8, replicas=2)))


def test_kubernetes_asks_for_the_planned_gpus_on_nodes_that_have_them(deployment):
    if "kubernetes" in refusals(deployment):
        pytest.skip(refusals(deployment)["kubernetes"])
    documents = [each for _, read in yamls(render(deployment, ["kubernetes"])) for each in read]
    workloads = [each for each in documents if each["kind"] in {"Deployment", "LeaderWorkerSet"}]
    for serving, workload in zip(deployment.servings, workloads, strict=True):
        assert workload["spec"]["replicas"] == serving.count
        limits = list(every(workload, "limits"))
        assert len(limits) == min(serving.nodes, 2)
        assert all(list(limit.values()) == [str(serving.gpus_per_machine)] for limit in limits)
        labels = [value for terms in every(workload, "matchExpressions") for value in terms[0]["values"]]
        assert set(labels) <= set(serving.labels("gpu-feature-discovery") + serving.labels("gke"))
        assert labels or serving.vendor == "AMD"
        assert workload["metadata"]["name"] == serving.name
    (service,) = (each for each in documents if each["kind"] == "Service")
    for workload in workloads:
        spec = workload["spec"]
        answering = spec["template"] if "template" in spec else spec["leaderWorkerTemplate"]["leaderTemplate"]
        assert service["spec"]["selector"].items() <= answering["metadata"]["labels"].items()
        if "template" in spec:
            assert spec["selector"]["matchLabels"].items() <= answering["metadata"]["labels"].items()
        else:
            worker = spec["leaderWorkerTemplate"]["workerTemplate"]["metadata"]["labels"]
            assert not service["spec"]["selector"].items() <= worker.items()


def test_google_clouds_nodes_have_a_label_of_their_own(matrix):
    (file,) = render(deployment_of(matrix["google-cloud"]()), ["kubernetes"])
    assert "cloud.google.com/gke-accelerator" in file.text
    assert "nvidia-h100-80gb" in file.text


def test_workers_of_a_leader_worker_set_know_their_rank_and_their_leader(matrix):
    (file,) = render(deployment_of(matrix["experts-on-two-machines"]()), ["kubernetes"])
    (workload,) = (each for each in documents(file.text) if each["kind"] == "LeaderWorkerSet")
    templates = workload["spec"]["leaderWorkerTemplate"]
    leader, worker = (templates[name]["spec"]["containers"][0] for name in ("leaderTemplate", "workerTemplate"))
    assert templates["size"] == 2
    assert leader["command"][:2] == ["vllm", "serve"]
    assert leader["command"][leader["command"].index("--data-parallel-address") + 1] == "$(LWS_LEADER_ADDRESS)"
    assert worker["command"][:2] == ["sh", "-c"]
    assert worker["command"][2] == 'exec "$$@" --data-parallel-start-rank "$$((LWS_WORKER_INDEX * 8))"'
    assert "--headless" in worker["command"]
    assert "startupProbe" in leader
    assert "startupProbe" not in worker


def test_several_replicas_have_a_balancer_in_proportion_to_their_speed(matrix):
    deployment = deployment_of(matrix["two-kinds-on-one-machine"]())
    files = {file.name: file.text for file in render(deployment, ["shell", "compose"])}
    servers = re.findall(r"server (\S+) weight=(\d+)", files["shell/nginx.conf"])
    assert [where for where, _ in servers] == [f"machine-1:{8000 + number}" for number in range(5)]
    assert [int(weight) for _, weight in servers] == [33, 10, 10, 10, 10]
    compose = yaml.safe_load(files["compose/compose.yaml"])
    assert compose["services"]["balancer"]["ports"] == ["8000:80"]
    assert compose["configs"]["balancer"]["content"].count("weight=") == 5


def test_machines_that_carry_the_same_share_one_script(matrix):
    files = render(deployment_of(matrix["three-machines"]()), ["shell"])
    assert [file.name for file in files] == ["shell/start.sh", "shell/nginx.conf"]
    assert "Run this on each of 3 machines." in files[0].text
    lines = [line for line in files[0].text.splitlines() if line.startswith("env ")]
    assert [shlex.split(line)[1] for line in lines] == ["CUDA_VISIBLE_DEVICES=0,1,2,3", "CUDA_VISIBLE_DEVICES=4,5,6,7"]


def test_vllms_yaml_says_what_the_command_says(matrix):
    for kind in ("dense", "lora", "ngram", "draft", "offload"):
        deployment = deployment_of(matrix[kind]())
        (file,) = render(deployment, ["vllm-config"])
        read = yaml.safe_load(file.text)
        words = ["vllm", "serve", read.pop("model")]
        for name, value in read.items():
            words.append(f"--{name}")
            if isinstance(value, list):
                words += value
            elif isinstance(value, dict):
                words.append(json.dumps(value, separators=(",", ":")))
            elif value is not True:
                words.append(f"{value:g}" if isinstance(value, float) else str(value))
        assert tuple(words) == deployment.servings[0].command.serving_on(8000).words()


def test_tensorrts_options_lie_where_its_command_looks(matrix):
    deployment = deployment_of(matrix["tensorrt-llm"]())
    for name in ("shell", "docker", "kubernetes", "kserve", "compose", "skypilot"):
        files = {file.name: file.text for file in render(deployment, [name])}
        inside = "".join(files.values())
        assert "enable_attention_dp" in inside, name
        assert OPTIONS_FILE in inside, name


def test_what_does_not_fit_is_not_deployed(make):
    plan = make()
    with pytest.raises(CannotDeploy, match="Nothing fits"):
        deployment_of(plan.model_copy(update={"status": "infeasible", "lines": ()}))


def test_weights_that_nobody_has_must_be_named(make):
    plan = make()
    line = plan.lines[0]
    replica = line.replica.model_copy(update={"weights_from": "a quantized checkpoint to be named"})
    missing = plan.model_copy(update={"lines": (line.model_copy(update={"replica": replica}),)})
    with pytest.raises(CannotDeploy, match="--checkpoint"):
        deployment_of(missing)
    named = deployment_of(missing, checkpoint="somebody/Llama-AWQ")
    assert named.servings[0].command.words()[2] == "somebody/Llama-AWQ"


def test_a_folder_is_given_to_containers(make, tmp_path):
    plan = make()
    asked = plan.question.model_copy(update={"model": "./my model"})
    deployment = deployment_of(plan.model_copy(update={"question": asked}), folder=tmp_path)
    where = f"{tmp_path}/my model"
    assert deployment.servings[0].command.model == where
    docker, kubernetes = (render(deployment, [name])[0].text for name in ("docker", "kubernetes"))
    assert f"{where}:{where}:ro" in shlex.split(docker.splitlines()[-1])
    (path,) = every(documents(kubernetes), "hostPath")
    assert path["path"] == where


def test_a_name_is_the_same_for_the_same_model_and_another_for_another():
    assert dns_name("a/Model.1") == dns_name("a/Model.1")
    assert dns_name("a/Model.1") != dns_name("b/Model.1")
    for text in ("", "---", "ÜÄ/日本", "1-model", "x" * 300, "$(rm)"):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", dns_name(text)), text


def test_formats_are_found_by_their_files():
    assert len(format_names()) >= 13
    assert all(platform(name).SUMMARY for name in format_names())
