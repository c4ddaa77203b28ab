"""vLLM: what `vllm serve` takes."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine
from optimizer.engines.facts import parse_version


@dataclass(frozen=True)
class Vllm(Engine):
    """vLLM; its budget is a share of the card's total memory.

    Source: vLLM 0.33.0 `vllm serve --help`.
    """

    __hash__ = Engine.__hash__

    def behaves_as(self, gpu: Gpu) -> str:
        """Its first generation served until 0.8, and cards below compute capability 8.0 until 0.11."""
        first, mine = self.facts["first_generation"], parse_version(self.version)
        old_card = gpu.vendor == "NVIDIA" and parse_version(gpu.compute_capability) < parse_version(
            first["below_capability"]
        )
        until = first["until"] if old_card else first["always_until"]
        return (
            min(self.version, str(first["behaves_as"]), key=parse_version)
            if mine < parse_version(until)
            else self.version
        )

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
        """`vllm serve ...`; see Engine.command."""
        options: list[str] = ["--tensor-parallel-size", str(tensor_parallel)]
        if pipeline_parallel > 1:
            options += ["--pipeline-parallel-size", str(pipeline_parallel)]
        if data_parallel > 1:
            options += ["--data-parallel-size", str(data_parallel)]
        if expert_parallel:
            options += ["--enable-expert-parallel"]
        options += self._online_quantization(spec, weight_format)
        options += ["--kv-cache-dtype", _kv_word(spec, kv_format)]
        options += ["--max-model-len", str(max_model_len), "--max-num-seqs", str(max_num_seqs)]
        if memory_utilization is not None:
            options += ["--gpu-memory-utilization", f"{memory_utilization:g}"]
        return "vllm", "serve", model, *options, *_nodes(data_parallel, nodes, node_rank, head_address)


def _kv_word(spec: ModelSpec, kv_format: str) -> str:
    """`auto` is the checkpoint's own: 16 bit unless it prescribes another."""
    own = spec.kv_cache_format or "bf16"
    if kv_format == own:
        return "auto"
    return "bfloat16" if kv_format == "bf16" else kv_format


def _nodes(data_parallel: int, nodes: int, node_rank: int, head_address: str) -> tuple[str, ...]:
    """What every machine of a replica on several needs; machine 0 serves requests, the others are headless."""
    if nodes == 1:
        return ()
    headless = () if node_rank == 0 else ("--headless",)
    if data_parallel > 1:
        local = data_parallel // nodes
        start = ("--data-parallel-start-rank", str(node_rank * local)) if node_rank else ()
        where = ("--data-parallel-size-local", str(local), *start, "--data-parallel-address", head_address)
        return *where, "--data-parallel-rpc-port", "13345", *headless
    return "--nnodes", str(nodes), "--node-rank", str(node_rank), "--master-addr", head_address, *headless
