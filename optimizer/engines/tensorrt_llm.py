"""TensorRT-LLM: what `trtllm-serve` takes, and the YAML file for what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine, Ints, RefusedShape
from optimizer.replica_columns import ReplicaColumns

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

    def command(
        self,
        spec: ModelSpec,
        *,
        model: str,
        tensor_parallel: int,
        pipeline_parallel: int = 1,
        data_parallel: int = 1,
        expert_parallel: bool = False,
        weight_format: str,
        kv_format: str,
        max_model_len: int,
        max_num_seqs: int,
        memory_utilization: float | None = None,
        nodes: int = 1,
        node_rank: int = 0,
        head_address: str = "HEAD_ADDRESS",
    ) -> tuple[str, ...]:
        """`trtllm-serve ...`; on several machines under `trtllm-llmapi-launch` of an MPI job; see Engine.command."""
        ranks = tensor_parallel * data_parallel
        options = ["--tp_size", str(ranks)]
        if pipeline_parallel > 1:
            options += ["--pp_size", str(pipeline_parallel)]
        if expert_parallel:
            options += ["--ep_size", str(ranks)]
        options += ["--max_seq_len", str(max_model_len), "--max_batch_size", str(max_num_seqs)]
        if memory_utilization is not None:
            options += ["--kv_cache_free_gpu_memory_fraction", f"{memory_utilization:g}"]
        if nodes > 1:
            options += ["--gpus_per_node", str(ranks * pipeline_parallel // nodes)]
        if self.options_file(spec, kv_format=kv_format, data_parallel=data_parallel):
            options += ["--config", OPTIONS_FILE]
        launcher = ("trtllm-llmapi-launch",) if nodes > 1 else ()
        return (*launcher, "trtllm-serve", model, *options)

    def options_file(self, spec: ModelSpec, *, kv_format: str, data_parallel: int) -> str:
        """Contents of OPTIONS_FILE; "" when nothing needs it."""
        lines = []
        if kv_format != (spec.kv_cache_format or "bf16"):
            lines += ["kv_cache_config:", f"  dtype: {'auto' if kv_format == 'bf16' else kv_format}"]
        if data_parallel > 1:
            lines += ["enable_attention_dp: true"]
        return "".join(f"{line}\n" for line in lines)
