"""Plans of models on the Hub: named by commit, the same offline, refused in one sentence; bundled ones ask nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog import hub_cache
from gpuplan.cli.app import main, understand
from gpuplan.planning import plan
from optimizer.errors import BadRequirements
from optimizer.requirements import Choices, Demand, EngineOptions, LoraAdapters, Requirements
from tests.catalog.conftest import hub as hub  # noqa: PLC0414 (the fixture, under its own name)
from tests.catalog.hub_files import LLAMA, llama_gguf, llama_tensors, safetensors

ROOT = Path(__file__).resolve().parents[2]
FLAGS = json.loads((ROOT / "tests" / "oracles" / "engine_flags.json").read_text(encoding="utf-8"))
QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}
"""Qwen/Qwen3-8B at its release."""


def asked(model: str, **more) -> Requirements:
    return Requirements(model=model, demand=Demand(output_tokens_per_second=500), alternatives=0, **more)


def without_proof(answer):
    """A plan without the seconds that the solver took."""
    return answer.model_copy(update={"proof": answer.proof.model_copy(update={"seconds": 0.0})})


@pytest.fixture
def finetune(hub):
    """A fine-tuned copy of a bundled model."""
    hub.add("me/finetune", {"config.json": QWEN})
    return hub


def test_a_copy_of_a_bundled_model_is_planned_as_that_one_and_names_its_commit(finetune):
    copy, bundled = plan(asked("me/finetune")), plan(asked("Qwen/Qwen3-8B"))
    assert copy.model_revision == finetune.repos["me/finetune"].branches["main"]
    assert bundled.model_revision is None
    assert (copy.cost_usd_per_hour, copy.totals) == (bundled.cost_usd_per_hour, bundled.totals)
    assert copy.lines[0].memory == bundled.lines[0].memory
    assert "me/finetune" in copy.lines[0].replica.command


def test_offline_with_a_warm_cache_the_plan_is_the_same(finetune, monkeypatch):
    online = without_proof(plan(asked("me/finetune")))
    commit = online.model_revision
    finetune.asked.clear()
    assert without_proof(plan(asked("me/finetune"), offline=True)) == online
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert without_proof(plan(asked("me/finetune"))) == online
    assert finetune.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    by_commit = plan(asked("me/finetune", revision=commit))
    finetune.stop()
    offline = plan(asked("me/finetune", revision=commit), offline=True)
    assert without_proof(offline) == without_proof(by_commit)
    assert offline.lines == online.lines


def test_an_old_memory_gives_the_same_plan_and_a_warning(finetune, monkeypatch):
    online = without_proof(plan(asked("me/finetune")))
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    monkeypatch.setattr(hub_cache, "utc_now", lambda: now)
    finetune.fails("/api/", lambda handler: handler.send(503))
    late = without_proof(plan(asked("me/finetune")))
    assert late.model_copy(update={"warnings": late.warnings[1:]}) == online
    assert "40 days ago" in late.warnings[0]


def test_what_is_odd_about_a_model_is_said_before_one_signs(hub, capsys):
    tensors = llama_tensors() | {"extra.weight": ("BF16", [1000, 1000])}
    hub.add("org/odd", {"config.json": LLAMA, "model.safetensors": safetensors(tensors)})
    assert main(["--model", "org/odd", "--min-tps", "100"]) == 0
    page = capsys.readouterr().out
    commit = hub.repos["org/odd"].branches["main"][:12]
    assert page.startswith(f"org/odd  commit {commit} on the Hub")
    assert "Its weight files hold 2,692,928 parameters" in page
    assert main(["memory", "org/odd", "--gpu", "L4", "--json"]) == 0
    layout = json.loads(capsys.readouterr().out)["layout"]
    assert layout["model_revision"][:12] == commit
    assert "2,692,928" in layout["model_notes"][0]


def test_an_adapter_is_charged_to_memory(hub, capsys):
    hub.add("org/base", {"config.json": QWEN})
    lora = {"peft_type": "LORA", "r": 24, "base_model_name_or_path": "org/base", "target_modules": ["q_proj"]}
    hub.add("me/tuned", {"adapter_config.json": lora})
    assert main(["memory", "me/tuned", "--gpu", "H100", "--json"]) == 0
    tuned = json.loads(capsys.readouterr().out)
    assert main(["memory", "org/base", "--gpu", "H100", "--json"]) == 0
    base = json.loads(capsys.readouterr().out)
    assert tuned["layout"]["model"] == "org/base"
    assert tuned["layout"]["options"]["adapters"] == {"rank": 32, "loaded": 1, "targets": ["q_proj"]}
    assert tuned["memory"]["kv_cache_bytes"] < base["memory"]["kv_cache_bytes"]


def test_the_command_pins_the_commit_and_names_the_adapter(hub):
    commit = hub.add("org/base", {"config.json": QWEN}).branches["main"]
    hub.add("me/tuned", {"adapter_config.json": {"r": 16, "base_model_name_or_path": "org/base"}})
    command = plan(asked("me/tuned")).lines[0].replica.command
    assert command[:3] == ("vllm", "serve", "org/base")
    assert command[command.index("--revision") + 1] == commit
    assert command[command.index("--lora-modules") + 1] == "tuned=me/tuned"
    assert command[command.index("--max-lora-rank") + 1] == "16"
    sglang = plan(asked("me/tuned", choices=Choices(engines=("sglang",)))).lines[0].replica.command
    assert sglang[sglang.index("--lora-paths") + 1] == "tuned=me/tuned"
    for words in (command, sglang):
        name = {"vllm": "vllm", "python3": "sglang", "sglang": "sglang"}[words[0]]
        known = next(flags for engine, flags in FLAGS.items() if engine.startswith(name))["flags"]
        assert {word for word in words if word.startswith("--")} <= set(known)


def test_a_smaller_rank_than_the_adapters_contradicts_it(hub):
    hub.add("me/tuned", {"adapter_config.json": {"r": 64, "base_model_name_or_path": "Qwen/Qwen3-8B"}})
    with pytest.raises(BadRequirements, match="rank 64"):
        plan(asked("me/tuned", options=EngineOptions(adapters=LoraAdapters(rank=16))))


@pytest.mark.parametrize(("kind", "careful"), [("q4_k", "q6_k"), ("f16", "f16")])
def test_a_gguf_repository_is_refused_in_one_sentence_that_says_what_to_plan_instead(hub, capsys, kind, careful):
    """Whatever its tensors are: 16-bit ones are as far from an engine that reads no GGUF files."""
    url = "https://huggingface.co/Qwen/Qwen3-8B"
    hub.add(
        "me/x-GGUF",
        {"x-Q4_K_M.gguf": llama_gguf(kind=kind, careful_kind=careful, **{"general.base_model.0.repo_url": url})},
    )
    for argv in (["--model", "me/x-GGUF", "--min-tps", "100"], ["memory", "me/x-GGUF", "--gpu", "L4"]):
        assert main(argv) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "reads no GGUF files" in said
        assert "--model Qwen/Qwen3-8B plans the model that it was made from" in said


def test_search_lists_bundled_models_and_the_hubs(hub, capsys):
    hub.add("me/qwen3-8b-tuned", {}, about={"safetensors": {"total": 8_190_735_360}, "downloads": 1234})
    assert main(["models", "search", "qwen3", "8b"]) == 0
    page = capsys.readouterr().out
    assert "Qwen/Qwen3-8B " in page
    assert "1,234" in next(line for line in page.splitlines() if "me/qwen3-8b-tuned" in line)
    assert main(["models", "search", "qwen3", "8b", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["where"] for row in rows} == {"bundled", "hub"}
    assert len({row["repo_id"] for row in rows}) == len(rows)
    hub.asked.clear()
    assert main(["models", "search", "qwen3", "--offline"]) == 0
    assert hub.asked == []
    capsys.readouterr()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--model", "me/none", "--min-tps", "1"], "me/none is not on"),
        (["--model", "me/none", "--min-tps", "1", "--offline"], "not bundled and was not read before"),
        (["--model", "me/finetune", "--revision", "v9", "--min-tps", "1"], "no revision 'v9'"),
        (["memory", "me/none", "--gpu", "H100"], "me/none is not on"),
        (["estimate", "me/none", "--gpu", "H100", "--offline"], "not read before"),
    ],
)
def test_what_cannot_be_had_is_one_sentence_and_status_2(finetune, capsys, argv, words):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in " ".join(err.split())


def test_models_alone_is_still_a_command():
    assert understand(["models", "search", "x"])[0] == "models search"
    assert understand(["models", "--moe"])[0] == "models"


def test_a_bundled_model_never_loads_the_librarys_room():
    code = (
        "import sys\nfrom gpuplan.cli.app import main\n"
        "main(['--model', 'llama-3.1-8b', '--min-tps', '10', '--quiet'])\n"
        "print([name for name in ('huggingface_hub', 'catalog.hub', 'catalog.huggingface') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
