"""What occupies a GPU, part by part, and what is left for requests: the VRAM model, over a whole table at once.

    budget  = utilization * total                            (vLLM; the others in `_pool_bytes`)
    pool    = budget - weights - non-torch - activation peak - CUDA graphs
    blocks  = floor(pool / bytes of a block), the minimum over pipeline stages
    fits    = blocks hold one request of max_model_len, and max_num_seqs requests of tokens_per_request

Rows share few ways to divide a model, so weights and page plans are worked out per way and spread over rows with numpy.
What does not depend on the format of the KV cache (`Loaded`) is worked out once for all formats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.model import ModelSpec
from optimizer.engines.engine import Engine
from optimizer.memory.activations import ACTIVATION_BYTES, context_bytes_per_token, sampler_bytes
from optimizer.memory.adapters import Adapters
from optimizer.memory.buffers import loading_buffers, sparse_latent
from optimizer.memory.communication import context_bytes, non_torch_bytes, product_workspace_bytes, visible_bytes
from optimizer.memory.drafts import draft_weight_bytes
from optimizer.memory.encoder import kept_bytes_per_image_token, profiled_tokens
from optimizer.memory.graphs import GraphLaw, captured_sizes, graph_bytes
from optimizer.memory.lengths import Lengths
from optimizer.memory.pools import PagePlans, lay_out_pages
from optimizer.memory.speculation import Speculation, with_drafts
from optimizer.memory.stages import Stages, cut_pools, lay_out_stages
from optimizer.replica_columns import ReplicaColumns, take_rows

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SIXTEEN_BIT = ("bf16", "fp16", "fp32")
"""Weight formats that engines load as they are; fp32 checkpoints are cast to 16 bit."""


@dataclass(frozen=True)
class MemorySettings:
    """How the engine is started, and how long the requests are.

    Attributes:
        max_model_len: longest request the engine must accept, in tokens.
        tokens_per_request: length of the requests that are counted, prompt and answer.
        max_batched_tokens: tokens per step; None = the engine's default for the card.
        memory_utilization: share of memory; None = the engine's default.
        enforce_eager: no CUDA graphs.
        language_model_only: the vision tower is neither loaded nor profiled.
        speculation: how tokens are guessed; None = they are not.
        adapters: LoRA adapters loaded at once.
        offload_bytes: of weights per GPU that lie in the host's memory and are streamed.
        decode_context_parallel: ranks that divide the tokens of a request among them.
        shared_prefix_tokens: first tokens that all counted requests have in common and prefix caching keeps once.
        lengths: of the requests that are counted, when they differ; None = all have `tokens_per_request`.
        occupied_bytes: held on every GPU by other processes when the engine starts.
    """

    max_model_len: int
    tokens_per_request: int
    max_batched_tokens: int | None = None
    memory_utilization: float | None = None
    enforce_eager: bool = False
    language_model_only: bool = False
    speculation: Speculation | None = None
    adapters: Adapters | None = None
    offload_bytes: int = 0
    decode_context_parallel: int = 1
    shared_prefix_tokens: int = 0
    lengths: Lengths | None = None
    occupied_bytes: int = 0

    def __post_init__(self) -> None:
        self._check_counts()
        if not 1 <= self.tokens_per_request <= self.max_model_len:
            raise ValueError(
                f"tokens_per_request is {self.tokens_per_request}; it must be between 1 and max_model_len, "
                f"which is {self.max_model_len}."
            )
        if self.memory_utilization is not None and not 0 < self.memory_utilization <= 1:
            raise ValueError(f"memory_utilization is {self.memory_utilization}; it must be above 0 and at most 1.")
        if self.max_batched_tokens is not None and self.max_batched_tokens < 1:
            raise ValueError(f"max_batched_tokens is {self.max_batched_tokens}; it must be at least 1.")
        if self.lengths is not None and max(self.lengths.tokens) > self.max_model_len:
            raise ValueError(
                f"A request of {max(self.lengths.tokens)} tokens is longer than max_model_len, {self.max_model_len}."
            )

    def _check_counts(self) -> None:
        least = {"offload_bytes": 0, "decode_context_parallel": 1, "shared_prefix_tokens": 0, "occupied_bytes": 0}
        for name, floor in least.items():
            if getattr(self, name) < floor:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {floor}.")


@dataclass(frozen=True)
class MemoryColumns:
    """Bytes per GPU on the poorest pipeline stage of each row.

    Shapes are (rows,) or (rows, batches); the batch axis is `max_num_seqs`, per attention-DP rank.

    Attributes:
        total_bytes: (rows,) what the engine sees as the card's memory.
        budget_bytes: (rows,) what it may take.
        context_bytes: (rows,) the driver's context, beside vLLM's budget.
        weight_bytes: (rows,) with the buffers that are allocated while they load.
        non_torch_bytes: (rows,) communication and library buffers.
        activation_bytes: (rows, batches) the largest of forward pass, sampler, vision encoder and what latent attention
            unpacks or scores of its context.
        draft_bytes: (rows,) of the weights, those of what guesses tokens.
        adapter_bytes: (rows,) LoRA buffers.
        offloaded_bytes: (rows,) of the weights, in the host's memory; `weight_bytes` does not count them.
        graph_bytes: (rows, batches) CUDA graphs, inside the budget or beside it as the engine's version has it.
        kv_pool_bytes: (rows, batches) left for KV and states; negative when weights do not fit.
        kv_bytes_per_token: (rows,) that every further token of a long request costs.
        window_bytes_per_token: (rows,) the same in layers that keep only the newest tokens.
        state_bytes_per_request: (rows,) recurrent state of one request.
        requests_capacity: (rows, batches) requests of `tokens_per_request` that the pool holds, per attention-DP rank.
        starts: (rows, batches) whether the engine starts: one request of max_model_len fits.
        fits: (rows, batches) whether it starts and holds max_num_seqs requests.
        free_blocks: (rows, batches) of the KV pool, for requests.
        reserved_blocks: of each pool, beside them.
        pages: how the pools are cut.
        max_model_len: longest request that the engine accepts, in tokens.
        most_tokens: of a single request: the model's own limit, or what is asked if that is more.
    """

    total_bytes: Ints
    budget_bytes: Ints
    context_bytes: Floats
    weight_bytes: Ints
    draft_bytes: Ints
    adapter_bytes: Ints
    offloaded_bytes: Ints
    non_torch_bytes: Floats
    activation_bytes: Floats
    graph_bytes: Floats
    kv_pool_bytes: Floats
    kv_bytes_per_token: Floats
    window_bytes_per_token: Floats
    state_bytes_per_request: Floats
    requests_capacity: Ints
    starts: Bools
    fits: Bools
    free_blocks: Ints
    reserved_blocks: int
    pages: PagePlans
    max_model_len: int
    most_tokens: int

    @property
    def kv_tokens(self) -> Ints:
        """Tokens that requests of max_model_len can keep, as vLLM prints it; (rows, batches). Worked out when asked."""
        blocks = np.maximum(self.free_blocks + self.reserved_blocks, 0)
        longest = self.pages.needed(self.max_model_len)[:, None]
        return np.asarray(blocks / longest * self.max_model_len, dtype=np.int64)

    @property
    def longest_context(self) -> Ints:
        """Longest single request, in tokens, at most `most_tokens`; (rows, batches). Worked out when asked for."""
        return self.pages.longest_contexts(self.free_blocks, self.most_tokens)


def measure_memory(
    spec: ModelSpec,
    engine: Engine,
    rows: ReplicaColumns,
    kv_format: str,
    settings: MemorySettings,
    max_num_seqs: Ints,
    loaded: Loaded | None = None,
    places: Ints | None = None,
) -> MemoryColumns:
    """Memory of every row at every batch size.

    Args:
        spec: the model, in the weight format that is served.
        engine: whose accounting and defaults hold.
        rows: shapes of one replica on one kind of machine; refused ones may be among them.
        kv_format: "bf16", "fp8", ...
        settings: lengths and options.
        max_num_seqs: shape (batches,), per attention-DP rank.
        loaded: what `load_model` found of these rows, and of others, with all else alike; None = not asked yet.
        places: each row's place in `loaded`, shape (rows,); None = they are its rows.

    Raises:
        ValueError: a GPU whose usable memory nobody published.
    """
    max_num_seqs = np.atleast_1d(np.asarray(max_num_seqs, dtype=np.int64))
    loaded = loaded or load_model(spec, engine, rows, settings, max_num_seqs)
    places = np.arange(rows.rows) if places is None else places
    spec, cards = as_started(spec, settings), take_rows(loaded.cards, places)
    pages = _page_plans(spec, engine, rows, kv_format, settings, cards.batched_tokens)
    pools = cut_pools(spec, rows, pages, loaded.stages.depths)
    at = pools.places(loaded.stages, places)
    pool = loaded.pool[at]
    stage_blocks = pools.blocks(pool)
    poor = pools.poorest(stage_blocks[:, -1], pool[:, -1])
    poorest = poor if isinstance(at, slice) else at[poor]
    return MemoryColumns(
        total_bytes=cards.total,
        budget_bytes=cards.budget,
        context_bytes=cards.context,
        weight_bytes=loaded.stages.weight_bytes[poorest] - loaded.offloaded[poorest],
        draft_bytes=np.where(pools.is_last[poor], loaded.draft[places], 0),
        adapter_bytes=loaded.stages.adapter_bytes[poorest],
        offloaded_bytes=loaded.offloaded[poorest],
        non_torch_bytes=loaded.non_torch[places],
        activation_bytes=loaded.activation[poorest],
        graph_bytes=loaded.graphs[poorest],
        kv_pool_bytes=pool[poor],
        kv_bytes_per_token=pools.rates[0, poor],
        window_bytes_per_token=pools.rates[1, poor],
        state_bytes_per_request=pools.rates[2, poor],
        **_requests(
            engine, pages, pools.minimum(stage_blocks), settings, max_num_seqs, pools.every(loaded.fits_beside[at])
        ),
        pages=pages,
        max_model_len=settings.max_model_len,
        most_tokens=max(spec.max_context_tokens, settings.max_model_len),
    )


def _page_plans(
    spec: ModelSpec,
    engine: Engine,
    rows: ReplicaColumns,
    kv_format: str,
    settings: MemorySettings,
    batched_tokens: Ints,
) -> PagePlans:
    return lay_out_pages(
        spec,
        engine,
        rows,
        kv_format,
        batched_tokens,
        context_parallel=settings.decode_context_parallel,
        shared_tokens=settings.shared_prefix_tokens,
        guessed_tokens=settings.speculation.tokens if settings.speculation else 0,
    )


def _requests(
    engine: Engine, pages: PagePlans, blocks: Ints, settings: MemorySettings, max_num_seqs: Ints, fits_beside: Bools
) -> dict[str, Any]:
    """The columns that say what blocks hold, each of shape (rows, batches)."""
    free = blocks - engine.reserved_blocks
    longest = pages.needed(settings.max_model_len)[:, None]
    capacity = _capacity(pages, free, settings)
    starts = (free >= longest) & fits_beside
    return {
        "free_blocks": free,
        "reserved_blocks": engine.reserved_blocks,
        "requests_capacity": capacity,
        "starts": starts,
        "fits": starts & (capacity >= max_num_seqs),
    }


def as_started(spec: ModelSpec, settings: MemorySettings) -> ModelSpec:
    """The model as the options have it loaded: without its vision tower, with what guesses tokens."""
    loaded = replace(spec, vision=None) if settings.language_model_only and spec.vision is not None else spec
    return with_drafts(loaded, settings.speculation)


def _capacity(pages: PagePlans, free: Ints, settings: MemorySettings) -> Ints:
    if settings.lengths is not None:
        return pages.capacity_of(free, settings.lengths)
    return pages.capacity(free, settings.tokens_per_request)


@dataclass(frozen=True)
class Cards:
    """What the card and the engine's defaults say, shape (rows,)."""

    total: Ints
    context: Floats
    utilization: Floats
    budget: Ints
    batched_tokens: Ints
    largest_graph: Ints
    product_workspace: Floats


def _read_cards(spec: ModelSpec, engine: Engine, rows: ReplicaColumns, settings: MemorySettings) -> Cards:
    total = np.array([visible_bytes(gpu) for gpu in rows.gpus], dtype=np.int64)[rows.gpu]
    context = context_bytes(rows)
    batched = _batched_tokens(engine, rows, settings)
    asked = settings.memory_utilization
    share = engine.utilization(spec, rows, batched) if asked is None else np.full(rows.rows, asked)
    of = total if engine.accounting == "share_of_total" else total - context
    return Cards(
        total=total,
        context=context,
        utilization=share,
        budget=np.ceil(share * of).astype(np.int64),
        batched_tokens=batched,
        largest_graph=np.array([engine.largest_graph(gpu) for gpu in rows.gpus], dtype=np.int64)[rows.gpu],
        product_workspace=rows.gather([product_workspace_bytes(gpu) for gpu in rows.gpus]),
    )


def _batched_tokens(engine: Engine, rows: ReplicaColumns, settings: MemorySettings) -> Ints:
    if settings.max_batched_tokens is not None:
        return np.full(rows.rows, settings.max_batched_tokens, dtype=np.int64)
    defaults = [engine.default_max_batched_tokens(gpu, settings.max_model_len) for gpu in rows.gpus]
    return np.array(defaults, dtype=np.int64)[rows.gpu]


@dataclass(frozen=True)
class Loaded:
    """GPUs with the model loaded, before the KV pool is cut into blocks: the same for all formats of the KV cache.

    Attributes:
        cards: of the rows.
        stages: what the model puts on each stage.
        draft: (rows,) bytes of what guesses tokens, on the last stage.
        non_torch: (rows,) bytes.
        offloaded: (stages,) bytes in the host's memory.
        activation, graphs, pool: (stages, batches) bytes.
        fits_beside: (stages, batches) whether what lies beside the budget fits there.
    """

    cards: Cards
    stages: Stages
    draft: Ints
    non_torch: Floats
    offloaded: Ints
    activation: Floats
    graphs: Floats
    pool: Floats
    fits_beside: Bools


def load_model(
    spec: ModelSpec, engine: Engine, rows: ReplicaColumns, settings: MemorySettings, max_num_seqs: Ints
) -> Loaded:
    """What of the memory of every row does not depend on the format of the KV cache; see `measure_memory`."""
    spec = as_started(spec, settings)
    cards = _read_cards(spec, engine, rows, settings)
    stages = lay_out_stages(spec, engine, rows, settings.adapters)
    non_torch = non_torch_bytes(rows, engine.non_torch, quantized=spec.weight_format not in SIXTEEN_BIT)
    offloaded = np.minimum(stages.weight_bytes, settings.offload_bytes)
    stages = _with_buffers(spec, engine, rows, stages, cards, settings)
    ranks = rows.tensor_parallel[stages.row]
    activation = _activation(spec, engine, stages, cards, settings, max_num_seqs, ranks)
    if settings.offload_bytes:
        activation += np.where(offloaded > 0, stages.layer_bytes, 0)[:, None]
    graphs = np.zeros_like(activation)
    if not settings.enforce_eager:
        graphs = _graphs(engine.graph_law, stages, cards, max_num_seqs, ranks)
    kept = stages.weight_bytes - offloaded + stages.adapter_bytes + non_torch[stages.row]
    pool, beside = _pool_bytes(spec, engine, cards, stages, kept[:, None], activation, graphs, settings.occupied_bytes)
    draft = draft_weight_bytes(spec, engine, rows)
    return Loaded(cards, stages, draft, non_torch, offloaded, activation, graphs, pool, beside)


def _with_buffers(
    spec: ModelSpec, engine: Engine, rows: ReplicaColumns, stages: Stages, cards: Cards, settings: MemorySettings
) -> Stages:
    """The stages with what is allocated beside and around the weights while they load."""
    ranks, tokens = rows.tensor_parallel[stages.row], cards.batched_tokens[stages.row]
    buffers = loading_buffers(spec, engine, ranks, tokens, settings.max_model_len)
    return replace(stages, weight_bytes=stages.weight_bytes + stages.spare_bytes + buffers)


CHECKED_ROWS = 2
"""Rows of logits per sequence when a guess is checked: the guessed token's and the next one's."""


def _activation(
    spec: ModelSpec,
    engine: Engine,
    stages: Stages,
    cards: Cards,
    settings: MemorySettings,
    max_num_seqs: Ints,
    ranks: Ints,
) -> Floats:
    """The largest of what is profiled one after the other, shape (stages, batches)."""
    batched = cards.batched_tokens[stages.row]
    forward = stages.forward_bytes_per_token * batched
    encoder = stages.encoder_bytes_per_token * profiled_tokens(spec, batched)
    context = engine.latent_context_tokens(settings.max_model_len) * context_bytes_per_token(spec, ranks)
    indexed = 0 if sparse_latent(spec) is None else engine.sparse_logits_bytes
    attention = np.maximum(context, indexed) + stages.workspace_bytes_per_token * batched  # of the layer before
    alike = np.maximum(np.maximum(forward, attention), encoder)
    peaks = np.repeat(alike[:, None], len(max_num_seqs), axis=1)
    last = np.flatnonzero(stages.is_last)  # of each row one: only it samples, and only the sampler grows with sequences
    logits = np.minimum(max_num_seqs, batched[last, None]) * (CHECKED_ROWS if settings.speculation else 1)
    sampler = sampler_bytes(spec.vocabulary, logits, engine.sampler_bytes_per_logit(spec))
    peaks[last] = np.maximum(alike[last, None], sampler + _kept_beside_logits(spec, stages, cards, last)[:, None])
    return peaks


def _kept_beside_logits(spec: ModelSpec, stages: Stages, cards: Cards, last: Ints) -> Floats:
    """What the sampler's dummy run finds of the passes before it, on the stages `last`, in their shape.

    The step's hidden states, workspaces of experts and of matrix products, and the encoded images with their pixels.

    Source: vLLM 0.19.0 `vllm/v1/worker/gpu_model_runner.py`, `profile_run`. On an H100 with 1,024 sequences it profiles
    1.89 GiB for Llama 3.1 8B and 1.96 for Llama 3.3 70B, whose hidden states are twice as wide (0.06 GiB more).
    """
    batched = cards.batched_tokens[stages.row[last]]
    images = np.where(stages.encoder_bytes_per_token[last] > 0, profiled_tokens(spec, batched), 0)
    of_step = ACTIVATION_BYTES * spec.hidden_size + stages.workspace_bytes_per_token[last]
    kept = batched * of_step + images * kept_bytes_per_image_token(spec)
    return np.asarray(kept + cards.product_workspace[stages.row[last]])


def _graphs(law: GraphLaw, stages: Stages, cards: Cards, max_num_seqs: Ints, ranks: Ints) -> Floats:
    limits, which = np.unique(cards.largest_graph, return_inverse=True)
    sizes = captured_sizes(max_num_seqs[None, :], limits[:, None], law).astype(np.float64)
    return graph_bytes(stages.layers[:, None], sizes[which.reshape(-1)[stages.row]], ranks[:, None], law)


def _pool_bytes(
    spec: ModelSpec,
    engine: Engine,
    cards: Cards,
    stages: Stages,
    kept: Floats,
    activation: Floats,
    graphs: Floats,
    occupied: int,
) -> tuple[Floats, Bools]:
    """Bytes left for KV, and whether what lies beside the budget fits there; each of shape (stages, batches).

    share_of_total            pool = utilization * total - kept - activation - graphs charged;
                              beside it: the driver's context and graphs not charged
    share_of_free_at_start    pool = fraction * (total - context) - kept; beside it: activation and graphs
    share_of_free_after_load  pool = fraction * (total - context - kept - activation - graphs)

    What other processes hold counts as little free memory at start: vLLM refuses to start unless its share is free.

    Source: vLLM `determine_available_memory`; SGLang `memory_hook.py`; TensorRT-LLM `KvCacheConfig`.
    """
    total, context, budget, share = (
        np.asarray(column, dtype=np.float64)[stages.row][:, None]
        for column in (cards.total, cards.context, cards.budget, cards.utilization)
    )
    if engine.accounting == "share_of_free_after_load":
        pool = share * (total - occupied - context - kept - activation - graphs)
        return pool, pool > 0
    if engine.accounting == "share_of_free_at_start":
        static = budget - share * occupied
        return static - kept + 0 * graphs, total - occupied - context - static >= activation + graphs
    charged = graphs if engine.graphs_inside_budget(spec) else np.zeros_like(graphs)
    return budget - kept - activation - charged, total - occupied - budget >= context + graphs - charged
