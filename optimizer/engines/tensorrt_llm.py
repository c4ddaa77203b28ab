"""TensorRT-LLM: what `trtllm-serve` takes, and the YAML file for what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.engines.launch import HEAD_ADDRESS, Launch
from optimizer.engines.shape_refusals import RefusedShape
from optimizer.memory.adapters import Adapters
from optimizer.memory.speculation import Speculation
from optimizer.replica_columns import Ints, ReplicaColumns

OPTIONS_FILE = "trtllm-options.yaml"
"""Name of the file that `command` refers to when an option has no flag."""


@dataclass(frozen=True)
class TensorRtLlm(Engine):
    """TensorRT-LLM's PyTorch back end; the KV pool gets a fraction of what is free after everything else.

    Source: TensorRT-LLM `tensorrt_llm/commands/serve.py`, `KvCacheConfig`.
    """

    __hash__ = Engine.__hash__

    def in_flight_tokens(self, pipeline_parallel: Ints, max_batched_tokens: Ints) -> Ints:
        """One batch per pipeline stage."""
        return pipeline_parallel * max_batched_tokens

    def _own_refusals(self, spec: ModelSpec, rows: ReplicaColumns) -> Iterator[RefusedShape]:
        mixed = (rows.data_parallel > 1) & (rows.tensor_parallel > 1)
        yield mixed, f"{self.title} replicates attention on every rank of attention-DP, so TP must be 1 there"

    lacks: ClassVar[Mapping[str, str]] = {
        "offload_bytes": "weights in the host's memory",
        "decode_context_parallel": "decode context parallelism",
        "language_model_only": "leaving out a vision tower",
    }

    def refuses_launch(self, launch: Launch) -> str | None:
        """What it has no option for, a way of speculating or a layer to adapt; see Engine.refuses_launch."""
        if launch.speculation is not None and launch.speculation.method not in DECODING_TYPES:
            return f"{self.title} has no {launch.speculation.method} decoding; it has {', '.join(DECODING_TYPES)}"
        unknown = [name for name in launch.adapters.targets if name not in MODULES] if launch.adapters else []
        if unknown:
            return f"{self.title} adapts {', '.join(MODULES)}; {unknown[0]!r} is none of them"
        return super().refuses_launch(launch)

    def command(self, launch: Launch, *, node_rank: int = 0, head_address: str = HEAD_ADDRESS) -> tuple[str, ...]:
        """`trtllm-serve ...`; on several machines under `trtllm-llmapi-launch` of an MPI job; see Engine.command."""
        self._check_launch(launch)
        options = [*_layout(launch), "--max_seq_len", str(launch.max_model_len)]
        options += ["--max_batch_size", str(launch.max_num_seqs)]
        if launch.max_num_batched_tokens is not None:
            options += ["--max_num_tokens", str(launch.max_num_batched_tokens)]
        if launch.memory_utilization is not None:
            options += ["--kv_cache_free_gpu_memory_fraction", f"{launch.memory_utilization:g}"]
        if launch.nodes > 1:
            options += ["--gpus_per_node", str(launch.gpus // launch.nodes)]
        if launch.spec.revision:
            options += ["--revision", launch.spec.revision]
        if self.options_file(launch):
            options += ["--config", OPTIONS_FILE]
        launcher = ("trtllm-llmapi-launch",) if launch.nodes > 1 else ()
        return (*launcher, "trtllm-serve", launch.model, *options)

    def options_file(self, launch: Launch) -> str:
        """Contents of OPTIONS_FILE; "" when nothing needs it."""
        lines = _kv_cache(launch)
        if launch.data_parallel > 1:
            lines += ["enable_attention_dp: true"]
        if launch.enforce_eager:
            lines += ["cuda_graph_config: null"]
        if launch.speculation is not None:
            lines += _speculative(launch.speculation)
        if launch.adapters is not None:
            lines += _lora(launch.adapters)
        return "".join(f"{line}\n" for line in lines)


def _layout(launch: Launch) -> list[str]:
    ranks = launch.tensor_parallel * launch.data_parallel
    options = ["--tp_size", str(ranks)]
    if launch.pipeline_parallel > 1:
        options += ["--pp_size", str(launch.pipeline_parallel)]
    return options + (["--ep_size", str(ranks)] if launch.expert_parallel else [])


def _kv_cache(launch: Launch) -> list[str]:
    lines = []
    if not launch.kv_cache_is_the_checkpoints:
        lines += [f"  dtype: {'auto' if launch.kv_format == 'bf16' else launch.kv_format}"]
    if launch.prefix_caching is not None:
        lines += [f"  enable_block_reuse: {str(launch.prefix_caching).lower()}"]
    return ["kv_cache_config:", *lines] if lines else []


DECODING_TYPES = {"mtp": "MTP", "eagle3": "Eagle3", "draft_model": "DraftTarget", "ngram": "NGram"}
"""TensorRT-LLM's words; it refuses EAGLE heads before the third. Source: its docs "Speculative Decoding"."""


def _speculative(speculation: Speculation) -> list[str]:
    lines = ["speculative_config:", f"  decoding_type: {DECODING_TYPES[speculation.method]}"]
    lines += [f"  max_draft_len: {speculation.tokens}"]
    if speculation.draft is not None:
        lines += [f"  speculative_model: {json.dumps(speculation.draft.repo_id)}"]  # a folder may have any name
    return lines


MODULES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_dense",
    "gate_proj": "mlp_h_to_4h",
    "up_proj": "mlp_gate",
    "down_proj": "mlp_4h_to_h",
}
"""TensorRT-LLM's names of linear layers. Source: `tensorrt_llm/lora_helper.py`,
`get_default_trtllm_modules_to_hf_modules`."""


def _lora(adapters: Adapters) -> list[str]:
    targets = adapters.targets or tuple(MODULES)
    names = ", ".join(MODULES[name] for name in targets)
    sizes = [f"  max_lora_rank: {adapters.rank}", f"  max_loras: {adapters.loaded}"]
    return ["lora_config:", f"  lora_target_modules: [{names}]", *sizes, f"  max_cpu_loras: {adapters.loaded}"]
