"""Runs in vLLM's environment: its own parser reads commands and --config files, its own engine config is made of them.

Each line of stdin is a JSON list of words after `vllm`. Abbreviations pass argparse, so options must also be spelt so.
What needs a GPU and says nothing of a command is put in place: the card, compiled kernels, and the models' folders,
which hold a config.json of the published shape.
"""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import MagicMock

import torch

USUAL = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 131072}
USUAL |= {"torch_dtype": "bfloat16", "vocab_size": 151936, "intermediate_size": 6144, "head_dim": 128}


def shape(architecture, kind, hidden, layers, heads, kv_heads, **more):
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return {"architectures": [architecture], "model_type": kind, **USUAL, **sizes, **more}


EXPERTS = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
PACKED = {"num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "head_dim": 64}
PACKED |= {"vocab_size": 201088, "intermediate_size": 2880, "quantization_config": {"quant_method": "mxfp4"}}
MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": shape("LlamaForCausalLM", "llama", 4096, 32, 32, 8, vocab_size=128256),
    "Qwen/Qwen3-30B-A3B": shape("Qwen3MoeForCausalLM", "qwen3_moe", 2048, 48, 32, 4, **EXPERTS),
    "Qwen/Qwen3-0.6B": shape("Qwen3ForCausalLM", "qwen3", 1024, 28, 16, 8, tie_word_embeddings=True),
    "openai/gpt-oss-20b": shape("GptOssForCausalLM", "gpt_oss", 2880, 24, 64, 8, **PACKED),
}
for name in ("vllm._C_stable_libtorch", "vllm.vllm_flash_attn"):
    sys.modules[name] = MagicMock(__path__=[], __spec__=ModuleSpec(name, None))
kernels = torch.library.Library("_C", "FRAGMENT")
for name in ("block_fp8", "fp8", "fp4"):
    kernels.define(f"cutlass_scaled_mm_supports_{name}(int cuda_device_capability) -> bool")
    kernels.impl(f"cutlass_scaled_mm_supports_{name}", lambda capability: True, "CompositeExplicitAutograd")

from vllm import platforms  # noqa: E402
from vllm.platforms.cuda import NonNvmlCudaPlatform  # noqa: E402
from vllm.platforms.interface import DeviceCapability  # noqa: E402


class Card(NonNvmlCudaPlatform):
    """An H100 in a machine of eight."""

    get_device_capability = classmethod(lambda cls, device_id=0: DeviceCapability(9, 0))
    get_device_name = classmethod(lambda cls, device_id=0: "NVIDIA H100 80GB HBM3")
    get_device_total_memory = classmethod(lambda cls, device_id=0: 80 << 30)
    device_count = classmethod(lambda cls: 8)
    is_fully_connected = classmethod(lambda cls, devices: True)
    num_compute_units = classmethod(lambda cls, device_id=0: 132)
    get_cuda_runtime_major = classmethod(lambda cls: 13)
    import_kernels = classmethod(lambda cls: None)
    log_warnings = classmethod(lambda cls: None)


platforms._current_platform = Card()

from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.entrypoints.cli.benchmark.serve import BenchmarkServingSubcommand  # noqa: E402
from vllm.entrypoints.common.cli_args import make_arg_parser  # noqa: E402
from vllm.model_executor.models import registry  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402

registry._run_in_subprocess = lambda look: look()
"""It looks at each architecture in a process of its own, which imports everything again."""
root = FlexibleArgumentParser(prog="vllm")
subparsers = root.add_subparsers(dest="subparser")
serve = make_arg_parser(subparsers.add_parser("serve"))
bench = subparsers.add_parser("bench").add_subparsers(dest="bench_type").add_parser("serve")
BenchmarkServingSubcommand.add_cli_args(bench)


def folder_of(name):
    """Where a model's config.json lies."""
    folder = Path("models", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(MODELS[name]))
    return str(folder)


def engine_config(words):
    """What vLLM makes of a command before it looks for weights."""
    parsed = root.parse_args(words)
    parsed.model = folder_of(parsed.model_tag or parsed.model)
    if parsed.speculative_config and "model" in parsed.speculative_config:
        parsed.speculative_config["model"] = folder_of(parsed.speculative_config["model"])
    return AsyncEngineArgs.from_cli_args(parsed).create_engine_config()


for line in sys.stdin:
    words = json.loads(line)
    options = {word for word in words if word.startswith("--")}
    known = set((serve if words[0] == "serve" else bench)._option_string_actions)
    assert options <= known, options - known
    if words[0] == "serve":
        assert engine_config(words).model_config.max_model_len == 8192, words
    else:
        root.parse_args(words)
    print("ok", words[:3])

for option, value in (("--tensor-parallel-size", "3"), ("--max-model-len", "200000"), ("--kv-cache-dtype", "fp9")):
    try:
        engine_config(["serve", "meta-llama/Llama-3.1-8B-Instruct", option, value])
    except ValueError:
        continue
    raise AssertionError(f"{option} {value} is not refused: nothing was checked")
