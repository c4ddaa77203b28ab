"""SGLang: its static share of memory is derived from the card, its KV pools hold tokens, and TP counts all ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.model import LatentAttention, ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine, Floats, Ints, mixers
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.communication import visible_bytes
from optimizer.memory.factors import GIB, MIB
from optimizer.memory.kv_cache import BlockRule
from optimizer.memory.token_pools import plan_token_pools
from optimizer.replica_columns import ReplicaColumns

LARGE_DEPLOYMENT_RANKS = 4
"""From this TP on, SGLang captures more decode sizes."""

LARGE_CARD_MIB = 60 * 1024
"""Above this memory, SGLang keeps a larger reserve."""


@dataclass(frozen=True)
class Sglang(Engine):
    """SGLang; weights and pools get a fraction of what is free at start, graphs and activations live beside it.

    Source: SGLang 0.5.23 `sglang/srt/arg_groups/memory_hook.py`, `sglang serve --help`.
    """

    __hash__ = Engine.__hash__

    def utilization(self, spec: ModelSpec, rows: ReplicaColumns, max_batched_tokens: Ints) -> Floats:
        """`mem_fraction_static` as SGLang derives it, shape (rows,): what is left after its reserve.

        reserve = 512 + 1.5 * max(prefill tokens, 2048) + 1024 * TP * PP / 8 + 2 * decode sizes
                  + 8 * prefill graphs (1536 with latent attention) MiB, at least 10 GiB on cards above 60 GiB
        """
        total_mib = rows.gather([visible_bytes(gpu) / MIB for gpu in rows.gpus])
        reserve = self._reserve_mib(spec, rows, max_batched_tokens, total_mib)
        return np.round((total_mib - reserve) / total_mib, 3)

    def _reserve_mib(self, spec: ModelSpec, rows: ReplicaColumns, tokens: Ints, total_mib: Floats) -> Floats:
        facts = self.facts["static_fraction"]
        ranks = rows.tensor_parallel * rows.data_parallel
        decode = self._decode_sizes(rows)
        activation = np.maximum(tokens, facts["least_prefill_tokens"]) * facts["mib_per_prefill_token"]
        reserve = facts["metadata_mib"] + activation + ranks * rows.pipeline_parallel / 8 * facts["mib_per_eight_ranks"]
        reserve = reserve + decode * facts["mib_per_decode_size"] + self._prefill_graphs_mib(spec, tokens)
        padding = facts["mib_per_decode_size_and_dp_rank"] + np.where(decode > 300, facts["mib_more_above_300"], 0)
        reserve = reserve + np.where(rows.data_parallel > 1, decode * rows.data_parallel * padding, 0)
        least = np.where(total_mib > LARGE_CARD_MIB, facts["least_mib_above_60_gib"], 0)
        return np.asarray(np.maximum(reserve, least), dtype=np.float64)

    def _prefill_graphs_mib(self, spec: ModelSpec, tokens: Ints) -> Floats:
        facts = self.facts["static_fraction"]
        if any(isinstance(mixer, LatentAttention) for mixer in mixers(spec)):
            return np.full(tokens.shape, float(facts["latent_prefill_graphs_mib"]))
        sizes = np.zeros(tokens.shape, dtype=np.int64)
        for first, last, step in self.facts["prefill_graph_steps"]["ranges"]:
            sizes += np.maximum(np.minimum(tokens, last) - first + step, 0) // step
        return np.asarray(sizes * float(facts["mib_per_prefill_graph"]))

    def _decode_sizes(self, rows: ReplicaColumns) -> Ints:
        """Largest decode batch that is captured, shape (rows,)."""
        small = np.array([self._decode_card(gpu)["below_tp4"] for gpu in rows.gpus], dtype=np.int64)[rows.gpu]
        large = np.array([self._decode_card(gpu)["from_tp4"] for gpu in rows.gpus], dtype=np.int64)[rows.gpu]
        return np.where(rows.tensor_parallel * rows.data_parallel < LARGE_DEPLOYMENT_RANKS, small, large)

    def _decode_card(self, gpu: Gpu) -> dict[str, int]:
        gib = visible_bytes(gpu) / GIB
        cards = self.facts["decode_graphs"]["cards"]
        return next(card for card in cards if gib >= card["memory_gib_from"])

    def largest_graph(self, gpu: Gpu) -> int:
        """Largest decode batch that is captured below TP 4."""
        return self._decode_card(gpu)["below_tp4"]

    def cache_plan(self, spec: ModelSpec, tensor_parallel: int, kv_format: str, rule: BlockRule) -> CachePlan:
        """One slot per token; separate pools for windows and states."""
        pools = self.facts["pools"]
        return plan_token_pools(
            spec,
            tensor_parallel,
            kv_format,
            rule,
            window_slots_per_slot=float(pools["window_slots_per_slot"]),
            state_to_kv_bytes=float(pools["state_to_kv_bytes"]),
        )

    def in_flight_tokens(self, pipeline_parallel: Ints, max_batched_tokens: Ints) -> NDArray[np.int64]:
        """One prefill chunk per pipeline stage."""
        return pipeline_parallel * max_batched_tokens

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
        """`sglang serve ...`: its --tp-size counts all ranks, which attention-DP divides; see Engine.command."""
        ranks = tensor_parallel * data_parallel
        options = ["--model-path", model, "--tp-size", str(ranks)]
        if pipeline_parallel > 1:
            options += ["--pp-size", str(pipeline_parallel)]
        if data_parallel > 1:
            options += ["--dp-size", str(data_parallel), "--enable-dp-attention"]
        if expert_parallel:
            options += ["--ep-size", str(ranks)]
        options += self._online_quantization(spec, weight_format)
        options += ["--kv-cache-dtype", _kv_word(spec, kv_format), "--context-length", str(max_model_len)]
        options += ["--max-running-requests", str(max_num_seqs * data_parallel)]
        if memory_utilization is not None:
            options += ["--mem-fraction-static", f"{memory_utilization:g}"]
        if nodes > 1:
            options += ["--nnodes", str(nodes), "--node-rank", str(node_rank)]
            options += ["--dist-init-addr", f"{head_address}:5000"]
        return ("sglang", "serve", *options)


def _kv_word(spec: ModelSpec, kv_format: str) -> str:
    """`auto` is the checkpoint's own: 16 bit unless it prescribes another."""
    if kv_format == (spec.kv_cache_format or "bf16"):
        return "auto"
    return {"fp8": "fp8_e4m3"}.get(kv_format, kv_format)
