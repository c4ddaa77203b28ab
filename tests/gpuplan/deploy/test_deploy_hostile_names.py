"""A model's name, a label or a path can hold anything: it is quoted, never executed, and changes nothing around it."""

import json
import os
import shlex
import subprocess

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuplan.deploy.deployment import deployment_of
from gpuplan.deploy.errors import DeployError
from gpuplan.deploy.formats import format_names, render, write

EXAMPLES = int(os.environ.get("GPUPLAN_FUZZ", "500"))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""As safe_load reads, only faster where libyaml is there."""
NASTY = [
    "$(touch /tmp/owned)",
    "`id`",
    "a; rm -rf ~",
    "a\nrm -rf ~",
    "a'b\"c",
    "$HOME",
    "${HF_TOKEN}",
    "$(HF_TOKEN)",
    "{{ .Values.secret }}",
    "a: b # c",
    "- x",
    "!!python/object/apply:os.system ['id']",
    "&anchor *alias",
    "../../etc/passwd",
    "日本/モデル",
    "a\u2028b\u0085c",
    "\ttab ",
    "%PATH% %s {0}",
    "x" * 500,
    "HEAD_ADDRESS",
    "IMAGE",
    "a\\nb\\",
    "yes",
    "0x10",
    "1e3",
    "--",
    "\x1b[2J",
    "| block",
]
names = st.one_of(
    st.sampled_from(NASTY),
    st.text(min_size=1, max_size=60),
    st.lists(
        st.sampled_from(["$(", ")", "`", "'", '"', "\\", "\n", ";", "{{", "}}", "${", "#", ": ", "-", "a", "\r", "\0"]),
        min_size=1,
        max_size=12,
    ).map("".join),
)


def renamed(plan, name, draft=None):
    """The plan of a model of another name, everywhere a name is."""
    line = plan.lines[0]
    old = line.replica.model

    def words(argv):
        return tuple(name if word == old else word for word in argv)

    command = words(line.replica.command)
    if draft is not None:
        config = json.dumps({"method": "draft_model", "model": draft, "num_speculative_tokens": 3})
        command = (*command, "--speculative-config", config)
    replica = line.replica.model_copy(
        update={"model": name, "command": command, "worker_command": words(line.replica.worker_command)}
    )
    offer = line.offer.model_copy(update={"provider": name, "instance_type": name, "region": name})
    changed = line.model_copy(update={"replica": replica, "offer": offer})
    return plan.model_copy(update={"model": name, "lines": (changed,)})


def check_files(deployment, files):
    """Everything that reads a file finds the same words in it."""
    command = deployment.servings[0].command
    for file in files:
        if file.name.endswith((".yaml", ".yml")):
            check_yaml(file, command)
        elif file.name.startswith("shell/start"):
            check_shell(file, command)
        elif file.name.endswith(".sh"):
            check_script(file, command)
        elif file.name.endswith(".env"):
            assert f"GPUPLAN_MODEL={command.model}" in shlex.split(file.text, comments=True)


def check_yaml(file, command):
    documents = list(yaml.load_all(file.text, LOADER))
    assert all(isinstance(each, dict) for each in documents), file.name
    inside = list(texts(documents))
    doubled = command.model.replace("$", "$$")
    assert any(doubled in text or command.model in text or shlex.quote(command.model) in text for text in inside), (
        file.name
    )


def texts(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for each in node:
            yield from texts(each)
    elif isinstance(node, str):
        yield node


def check_shell(file, command):
    """The whole script is our lines and one command whose words are the planned ones."""
    words = shlex.split(file.text, comments=True)
    expected = command.serving_on(8000).words()
    at = words.index("vllm")
    assert tuple(words[at:]) == tuple(
        word.replace("HEAD_ADDRESS", "${HEAD_ADDRESS}")
        if word == "HEAD_ADDRESS" and before in {"--master-addr", "--data-parallel-address"}
        else word
        for before, word in zip(("", *expected), expected, strict=False)
    )
    assert words[:at][:3] == ["set", "-euo", "pipefail"]


def check_script(file, command):
    """The name is one word of the script, or guidellm's tokenizer."""
    words = shlex.split(file.text, comments=True)
    if "--tokenizer" in words:
        read = json.loads(words[words.index("--tokenizer") + 1])
        assert read == {"kind": "huggingface_auto", "model": command.model}
    else:
        assert command.model in words, file.name


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names_come_back_as_they_were(make, name):
    try:
        deployment = deployment_of(renamed(make(), name))
        files = render(deployment)
    except DeployError:
        refused = True
    else:
        refused = False
    assert refused == name.startswith("-")
    if refused:
        return
    check_files(deployment, files)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names, draft=st.none() | names, platform=st.sampled_from(format_names()))
def test_any_name_is_quoted_or_refused_in_one_sentence(make, name, draft, platform):
    """GPUPLAN_FUZZ=2000 tries more names, each on one platform."""
    check_any_name(make, name, draft, platform)


def check_any_name(make, name, draft, *platforms):
    try:
        deployment = deployment_of(renamed(make(), name, draft))
        files = render(deployment, platforms)
    except DeployError as caught:
        refusal, files = str(caught), ()
    else:
        refusal = None
    if refusal is not None:
        assert refusal.strip().endswith(".")
        return
    check_files(deployment, files)


def test_a_shell_executes_nothing_of_a_name(make, tmp_path):
    """bash itself runs the scripts with `vllm` and `docker` that write down their words."""
    trap = tmp_path / "owned"
    name = f"$(touch {trap})`touch {trap}`'; touch {trap}; '\n touch {trap} #"
    deployment = deployment_of(renamed(make(), name))
    write(render(deployment, ["shell", "docker"]), tmp_path / "out")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in ("vllm", "docker"):
        (bin_folder / tool).write_text('#!/bin/sh\nprintf "%s\\0" "$@" > "$WORDS"\n')
        (bin_folder / tool).chmod(0o755)
    for platform, before in (("shell", 1), ("docker", None)):
        said = tmp_path / f"{platform}.words"
        environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "WORDS": str(said), "HOME": str(tmp_path)}
        subprocess.run(["bash", str(tmp_path / "out" / platform / "start.sh")], env=environment, check=True)
        words = said.read_bytes().decode().split("\0")[:-1]
        expected = list(deployment.servings[0].command.serving_on(8000).words())[1:]
        assert words[-len(expected) :] == expected
        assert before is None or len(words) == len(expected)
    assert not trap.exists()


def test_kubernetes_and_compose_put_nothing_in_place_of_a_name(make):
    deployment = deployment_of(renamed(make(), "$(HF_TOKEN)/${HOME}/$x"))
    for name in ("kubernetes", "compose"):
        (file,) = render(deployment, [name])
        read = "\n".join(line for line in file.text.splitlines() if not line.startswith("#"))
        assert "$$(HF_TOKEN)/$${HOME}/$$x" in read
        assert " $(HF_TOKEN)" not in read


def test_a_zero_byte_is_refused(make):
    with pytest.raises(DeployError, match="zero byte"):
        deployment_of(renamed(make(), "a\0b"))


def test_every_format_was_tried(make):
    assert {file.name.split("/")[0] for file in render(deployment_of(make()))} == set(format_names())
