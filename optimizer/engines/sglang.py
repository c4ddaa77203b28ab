"""SGLang: its static share of memory is derived from the card, its KV pools hold tokens, and TP counts all ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.model import LatentAttention, ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.engine import Engine
from optimizer.engines.facts import Facts, fact_at
from optimizer.engines.launch import HEAD_ADDRESS, Launch
from optimizer.memory.adapters import Adapters
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.communication import by_ranks, visible_bytes
from optimizer.memory.factors import GIB, MIB
from optimizer.memory.kv_cache import BlockRule
from optimizer.memory.speculation import Speculation
from optimizer.memory.token_pools import plan_token_pools
from optimizer.replica_columns import Floats, Ints, ReplicaColumns

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

        Less of it for models with a vision tower. Until 0.5.2 the reserve went by the card, until 0.4.7 the fraction by
        the number of ranks.
        """
        seen = self._vision_share(spec)
        ranks = rows.tensor_parallel * rows.data_parallel
        if "by_ranks" in self._static:
            table = {int(count): float(share) for count, share in self._static["by_ranks"].items()}
            return seen * by_ranks(table, ranks)
        total_mib = rows.gather([visible_bytes(gpu) / MIB for gpu in rows.gpus])
        if "cards" in self._static:
            reserve = self._card_reserve_mib(rows)
        else:
            reserve = self._reserve_mib(spec, rows, max_batched_tokens, total_mib)
        return seen * np.round((total_mib - reserve) / total_mib, 3)

    @property
    def _static(self) -> Facts:
        return fact_at(self.facts["static_fraction"], self.version)

    def _card_reserve_mib(self, rows: ReplicaColumns) -> Floats:
        """What was held back by the size of the card and the ranks of the replica, shape (rows,)."""
        cards = [_card_of(self._static["cards"], gpu) for gpu in rows.gpus]
        fixed, each = (rows.gather([card[name] for card in cards]) for name in ("reserve_gib", "gib_per_rank"))
        ranks = rows.tensor_parallel * rows.data_parallel * rows.pipeline_parallel
        apart = np.where(rows.data_parallel > 1, self._static["attention_dp_gib"], 0)
        return np.asarray((fixed + each * ranks + apart) * (GIB // MIB), dtype=np.float64)

    def _vision_share(self, spec: ModelSpec) -> float:
        """Of the fraction, what a vision tower leaves: less the larger it is; 1 for text models."""
        if spec.vision is None:
            return 1.0
        facts = self.facts["vision_fraction"]
        layers = spec.vision.layers if spec.architecture in facts["names_layers"] else facts["baseline_layers"]
        unnamed = spec.architecture in facts["without_width"]
        width = facts["baseline_width"] if unnamed else spec.vision.hidden_size
        size = layers * width**2 / (facts["baseline_layers"] * facts["baseline_width"] ** 2)
        adjusted = 1 - float(facts["per_doubling"]) * (size - 1)
        return float(facts["base"] * max(facts["least"], min(facts["most"], adjusted)))

    def _reserve_mib(self, spec: ModelSpec, rows: ReplicaColumns, tokens: Ints, total_mib: Floats) -> Floats:
        facts = self._static
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
        facts = self._static
        if any(isinstance(mixer, LatentAttention) for mixer in spec.mixers):
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

    def _decode_card(self, gpu: Gpu) -> Facts:
        return _card_of(fact_at(self.facts["decode_graphs"], self.version)["cards"], gpu)

    def largest_graph(self, gpu: Gpu) -> int:
        """Largest decode batch that is captured below TP 4."""
        return int(self._decode_card(gpu)["below_tp4"])

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

    def in_flight_tokens(self, pipeline_parallel: Ints, max_batched_tokens: Ints) -> Ints:
        """One prefill chunk per pipeline stage."""
        return pipeline_parallel * max_batched_tokens

    def command(self, launch: Launch, *, node_rank: int = 0, head_address: str = HEAD_ADDRESS) -> tuple[str, ...]:
        """`sglang serve ...`: its --tp-size counts all ranks, which attention-DP divides; see Engine.command."""
        self._check_launch(launch)
        options = [*_layout(launch), *self._online_quantization(launch), "--kv-cache-dtype", _kv_word(launch)]
        options += ["--context-length", str(launch.max_model_len)]
        options += ["--max-running-requests", str(launch.max_num_seqs * launch.data_parallel)]
        if launch.max_num_batched_tokens is not None:
            options += ["--chunked-prefill-size", str(launch.max_num_batched_tokens)]
        if launch.memory_utilization is not None:
            options += ["--mem-fraction-static", f"{launch.memory_utilization:g}"]
        options += _additions(launch)
        if launch.nodes > 1:
            options += ["--nnodes", str(launch.nodes), "--node-rank", str(node_rank)]
            options += ["--dist-init-addr", f"{head_address}:5000"]
        return ("sglang", "serve", *options)


def _card_of(cards: list[Facts], gpu: Gpu) -> Facts:
    """The first class of cards, largest first, that a GPU is large enough for."""
    gib = visible_bytes(gpu) / GIB
    return next(card for card in cards if gib >= card["memory_gib_from"])


def _layout(launch: Launch) -> list[str]:
    ranks = launch.tensor_parallel * launch.data_parallel
    options = ["--model-path", launch.model, "--tp-size", str(ranks)]
    if launch.pipeline_parallel > 1:
        options += ["--pp-size", str(launch.pipeline_parallel)]
    if launch.data_parallel > 1:
        options += ["--dp-size", str(launch.data_parallel), "--enable-dp-attention"]
    if launch.decode_context_parallel > 1:
        options += ["--dcp-size", str(launch.decode_context_parallel)]
    return options + (["--ep-size", str(ranks)] if launch.expert_parallel else [])


def _additions(launch: Launch) -> list[str]:
    """What is seldom asked for; prefix caching is on unless it is disabled."""
    options = ["--revision", launch.spec.revision] if launch.spec.revision else []
    options += ["--disable-radix-cache"] if launch.prefix_caching is False else []
    if launch.speculation is not None:
        options += _speculative(launch.speculation)
    if launch.adapters is not None:
        options += [*_lora(launch.adapters), *_lora_paths(launch.spec)]
    if launch.offload_bytes:
        options += ["--cpu-offload-gb", str(-(-launch.offload_bytes // GIB))]  # whole GiB only
    if launch.language_model_only:
        options += ["--language-model-only"]
    return options + (["--disable-decode-cuda-graph", "--disable-prefill-cuda-graph"] if launch.enforce_eager else [])


ALGORITHMS = {"mtp": "NEXTN", "eagle": "EAGLE", "eagle3": "EAGLE3", "draft_model": "STANDALONE", "ngram": "NGRAM"}
"""SGLang's words. Source: SGLang 0.5.23 `sglang/srt/speculative/spec_info.py`, `spec_registry.py`."""


def _speculative(speculation: Speculation) -> list[str]:
    """A chain of guesses; the last checked token is the model's own, so one more is checked than guessed.

    Source: SGLang 0.5.23 `sglang/srt/arg_groups/speculative_hook.py`: with top-k 1, draft tokens = steps + 1.
    """
    options = ["--speculative-algorithm", ALGORITHMS[speculation.method]]
    if speculation.draft is not None:
        options += ["--speculative-draft-model-path", speculation.draft.repo_id]
    if speculation.method != "ngram":
        options += ["--speculative-num-steps", str(speculation.tokens), "--speculative-eagle-topk", "1"]
    return [*options, "--speculative-num-draft-tokens", str(speculation.tokens + 1)]


def _lora(adapters: Adapters) -> list[str]:
    options = ["--enable-lora", "--max-loras-per-batch", str(adapters.loaded), "--max-lora-rank", str(adapters.rank)]
    return [*options, "--lora-target-modules", *(adapters.targets or ("all",))]


def _lora_paths(spec: ModelSpec) -> list[str]:
    """The adapter that was asked for as the model, by the last part of its name."""
    return [] if spec.adapter is None else ["--lora-paths", f"{spec.adapter.name}={spec.adapter.repo_id}"]


def _kv_word(launch: Launch) -> str:
    """`auto` is the checkpoint's own."""
    if launch.kv_cache_is_the_checkpoints:
        return "auto"
    return {"fp8": "fp8_e4m3"}.get(launch.kv_format, launch.kv_format)
