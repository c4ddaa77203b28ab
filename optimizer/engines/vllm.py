"""vLLM: what `vllm serve` takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from catalog.model import ModelSpec, RecurrentState
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine
from optimizer.engines.facts import Facts, fact_at, parse_version
from optimizer.engines.launch import HEAD_ADDRESS, Launch
from optimizer.engines.shape_refusals import RefusedShape, routed_experts
from optimizer.memory.adapters import Adapters
from optimizer.memory.factors import GIB
from optimizer.memory.speculation import Speculation
from optimizer.memory.weights import is_tower_divisible
from optimizer.replica_columns import ReplicaColumns

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Source: vLLM 0.33.0 `vllm/config/lora.py`, MaxLoRARanks."""


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

    def sampler_bytes_per_logit(self, spec: ModelSpec) -> float:
        """Its second model runner keeps less than its first, and serves ever more models by default."""
        runner = self._second_runner(spec)
        return super().sampler_bytes_per_logit(spec) if runner is None else float(runner["bytes_per_logit"])

    def graphs_inside_budget(self, spec: ModelSpec) -> bool:
        """Its second model runner estimated none at first, so that none were charged."""
        runner = self._second_runner(spec)
        return super().graphs_inside_budget(spec) if runner is None else bool(runner["charges_graphs"])

    def _second_runner(self, spec: ModelSpec) -> Facts | None:
        """What is known of the second model runner where it serves a model by default; None where it does not."""
        runner = fact_at(self.facts["second_runner"], self.version)
        return runner if _is_served_by(runner, spec) else None

    def _own_refusals(self, spec: ModelSpec, rows: ReplicaColumns) -> Iterator[RefusedShape]:
        """Stages of a class that has none; a tower that TP does not divide and that the class cannot keep whole."""
        if spec.architecture in self.facts["without_stages"]["architectures"]:
            yield rows.pipeline_parallel > 1, f"vLLM does not cut {spec.architecture} into pipeline stages"
        if spec.vision is not None and spec.vision.whole_heads is None and not self._keeps_towers_whole(spec):
            reason = "the model's encoder is not divisible by TP, and vLLM cannot keep it whole"
            yield ~is_tower_divisible(spec.vision, rows.tensor_parallel), reason

    def _keeps_towers_whole(self, spec: ModelSpec) -> bool:
        """Whether it can be told to."""
        return spec.architecture in self.facts["whole_towers"]["architectures"]

    def refuses_launch(self, launch: Launch) -> str | None:
        """A LoRA rank that its option does not take; see Engine.refuses_launch."""
        if launch.adapters is not None and launch.adapters.rank not in LORA_RANKS:
            allowed = ", ".join(str(rank) for rank in LORA_RANKS)
            return f"{self.title} takes a LoRA rank of {allowed}, not {launch.adapters.rank}; give the next larger one"
        return super().refuses_launch(launch)

    def command(self, launch: Launch, *, node_rank: int = 0, head_address: str = HEAD_ADDRESS) -> tuple[str, ...]:
        """`vllm serve ...`; see Engine.command."""
        self._check_launch(launch)
        options = [*_layout(launch), *self._online_quantization(launch), "--kv-cache-dtype", _kv_word(launch)]
        options += ["--max-model-len", str(launch.max_model_len), "--max-num-seqs", str(launch.max_num_seqs)]
        if launch.max_num_batched_tokens is not None:
            options += ["--max-num-batched-tokens", str(launch.max_num_batched_tokens)]
        if launch.memory_utilization is not None:
            options += ["--gpu-memory-utilization", f"{launch.memory_utilization:g}"]
        return "vllm", "serve", launch.model, *options, *_additions(launch), *_nodes(launch, node_rank, head_address)


def _is_served_by(runner: Facts, spec: ModelSpec) -> bool:
    """Whether vLLM's second model runner is a model's default.

    Source: vLLM 0.28.0 `vllm/config/vllm.py`, `_is_default_v2_model_runner_model`.
    """
    if runner["serves"] in ("none", "all"):
        return str(runner["serves"]) == "all"
    plain = not any(isinstance(mixer, RecurrentState) for mixer in spec.mixers) and not routed_experts(spec)
    if not runner["quantized"] and (spec.quantization_method is not None or not plain):
        return False
    return spec.architecture in runner["architectures"] or (runner["serves"] == "dense" and plain)


def _layout(launch: Launch) -> list[str]:
    options = ["--tensor-parallel-size", str(launch.tensor_parallel)]
    if launch.pipeline_parallel > 1:
        options += ["--pipeline-parallel-size", str(launch.pipeline_parallel)]
    if launch.data_parallel > 1:
        options += ["--data-parallel-size", str(launch.data_parallel)]
    if launch.decode_context_parallel > 1:
        options += ["--decode-context-parallel-size", str(launch.decode_context_parallel)]
    return options + (["--enable-expert-parallel"] if launch.expert_parallel else [])


def _additions(launch: Launch) -> list[str]:
    """What is seldom asked for."""
    options = ["--revision", launch.spec.revision] if launch.spec.revision else []
    options += [] if launch.prefix_caching is None else [_prefix_word(launch.prefix_caching)]
    if launch.speculation is not None:
        options += ["--speculative-config", _speculative_config(launch.speculation)]
    if launch.adapters is not None:
        options += [*_lora(launch.adapters), *_lora_modules(launch.spec)]
    if launch.offload_bytes:
        options += ["--cpu-offload-gb", f"{launch.offload_bytes / GIB:g}"]
    if launch.language_model_only:
        options += ["--language-model-only"]
    elif _wants_whole_tower(launch):
        options += ["--mm-encoder-tp-mode", "data"]
    return options + (["--enforce-eager"] if launch.enforce_eager else [])


def _wants_whole_tower(launch: Launch) -> bool:
    """Whether TP does not divide the model's tower, so that every rank must have it whole."""
    tower = launch.spec.vision
    if tower is None or tower.whole_heads is not None:
        return False
    return not is_tower_divisible(tower, np.array([launch.tensor_parallel]))[0]


def _prefix_word(wanted: bool) -> str:
    return "--enable-prefix-caching" if wanted else "--disable-prefix-caching"


def _speculative_config(speculation: Speculation) -> str:
    """JSON that vLLM reads.

    >>> _speculative_config(Speculation("mtp", 2))
    '{"method":"mtp","num_speculative_tokens":2}'
    """
    config: dict[str, object] = {"method": speculation.method}
    if speculation.draft is not None:
        config["model"] = speculation.draft.repo_id
    return json.dumps({**config, "num_speculative_tokens": speculation.tokens}, separators=(",", ":"))


def _lora(adapters: Adapters) -> list[str]:
    options = ["--enable-lora", "--max-loras", str(adapters.loaded), "--max-lora-rank", str(adapters.rank)]
    return options + (["--lora-target-modules", *adapters.targets] if adapters.targets else [])


def _lora_modules(spec: ModelSpec) -> list[str]:
    """The adapter that was asked for as the model, by the last part of its name."""
    return [] if spec.adapter is None else ["--lora-modules", f"{spec.adapter.name}={spec.adapter.repo_id}"]


def _kv_word(launch: Launch) -> str:
    """`auto` is the checkpoint's own."""
    if launch.kv_cache_is_the_checkpoints:
        return "auto"
    return "bfloat16" if launch.kv_format == "bf16" else launch.kv_format


def _nodes(launch: Launch, node_rank: int, head_address: str) -> tuple[str, ...]:
    """What every machine of a replica on several needs; machine 0 serves requests, the others are headless."""
    if launch.nodes == 1:
        return ()
    headless = () if node_rank == 0 else ("--headless",)
    if launch.data_parallel > 1:
        local = launch.data_parallel // launch.nodes
        start = ("--data-parallel-start-rank", str(node_rank * local)) if node_rank else ()
        where = ("--data-parallel-size-local", str(local), *start, "--data-parallel-address", head_address)
        return *where, "--data-parallel-rpc-port", "13345", *headless
    ranks = ("--nnodes", str(launch.nodes), "--node-rank", str(node_rank))
    return *ranks, "--master-addr", head_address, *headless
