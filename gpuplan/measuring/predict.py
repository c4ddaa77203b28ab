"""One measured row -> what the memory model says about it, part by part, with the reason where it says nothing.

A part is predicted when the row says all that it depends on. An engine's own default may stand in for a setting, and is
named in `assumed`. Everything else that is missing is a reason, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from catalog.model import LatentAttention, ModelSpec
from gpu_db.gpu import Gpu
from gpuplan.measuring.cards import Cards, any_card, named_cards, spread
from gpuplan.measuring.cells import GIB_PER_GPU, count, flag, kv_format, number, version
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.names import NamedModel, named_model
from gpuplan.measuring.releases import engine_of
from optimizer.engines.engine import Engine
from optimizer.engines.facts import parse_version
from optimizer.memory.cache_plan import CachePlan
from optimizer.memory.communication import visible_bytes
from optimizer.memory.factors import GIB, memory_factors
from optimizer.memory.kv_cache import PACKED_VECTORS
from optimizer.memory.page_groups import PagePlan
from optimizer.memory.pools import PagePlans, lay_out_pages
from optimizer.memory.speculation import Speculation, with_drafts
from optimizer.memory.stages import cut_pools
from optimizer.memory.token_pools import TokenPools
from optimizer.memory.vram import MemoryColumns, MemorySettings, measure_memory
from optimizer.replica_columns import Floats, ReplicaColumns

WEIGHTS, ACTIVATION, NON_TORCH = "weights_gib_per_gpu", "activation_peak_gib", "non_torch_gib"
AVAILABLE, TOKENS, GRAPHS = "available_kv_gib_per_gpu", "kv_tokens", "cudagraph_gib"
PARTS = (WEIGHTS, ACTIVATION, NON_TORCH, AVAILABLE, TOKENS, GRAPHS)
MOST_GPUS = 4096
MOST_TOKENS = 1e15
PRINTED_SHARE = 0.9


@dataclass
class Prediction:
    """What is said about one row.

    Attributes:
        values: by part; GiB per GPU, tokens.
        reasons: by part that has no value.
        assumed: what was taken from an engine's defaults, or from what several cards have in common.
        kv_tokens_basis: "measured pool" or "predicted pool".
        family, engine, gpu: what the row is grouped by.
        settings_known: whether the row itself names its model, its GPU or total, TP and utilization.
    """

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    kv_tokens_basis: str = ""
    family: str = ""
    engine: str = ""
    gpu: str = ""
    settings_known: bool = True


@dataclass(frozen=True)
class Start:
    """One start of a server as a row describes it; None = the row does not say."""

    model: NamedModel
    engine: Engine
    cards: Cards
    kv_format: str | None
    kv_reason: str
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    utilization: float | None
    max_model_len: int
    max_num_seqs: int | None
    max_batched_tokens: int | None
    enforce_eager: bool
    pool_bytes: float | None
    weights_stated: bool
    length_stated: bool
    prints_groups: bool
    assumed: tuple[str, ...]

    @property
    def spec(self) -> ModelSpec:
        """The model's shape."""
        return self.model.spec

    @property
    def speculation(self) -> Speculation | None:
        """How tokens are guessed; None = they are not."""
        return Speculation("mtp", self.model.guessed_tokens) if self.model.guessed_tokens else None

    @property
    def settings_known(self) -> bool:
        """Whether the row itself names its model, its GPU or total, TP and utilization."""
        card = self.cards.total_known and not self.cards.only_class
        return not self.model.inferred and card and self.utilization is not None


def predict(row: Mapping[str, str], configs_dir: Path | None = None) -> Prediction:
    """What the memory model says about one row."""
    said = Prediction(engine=row.get("engine", "").strip(), gpu=row.get("gpu", "").strip())
    try:
        start = read_start(row, configs_dir)
    except Unpredictable as reason:
        said.reasons = dict.fromkeys(PARTS, str(reason))
        return said
    said.family = start.spec.family or start.spec.architecture
    said.engine = start.engine.name
    said.settings_known = start.settings_known
    said.gpu = start.cards.candidates[0].name if len(start.cards.candidates) == 1 else said.gpu
    said.assumed = [*start.assumed, *([start.engine.uncalibrated] if start.engine.uncalibrated else [])]
    _predict_parts(start, said)
    doubt = _shares_memory(start) or _contradiction(row, start)
    if doubt and AVAILABLE in said.values:
        del said.values[AVAILABLE]
        said.reasons[AVAILABLE] = doubt
    return said


def _shares_memory(start: Start) -> str:
    """Why the pool of a machine whose GPU shares the host's memory is not predicted; "" for other cards."""
    shared = any(gpu.name.startswith(memory_factors().unified) for gpu in start.cards.candidates)
    return _UNIFIED if shared and start.cards.total_known and len(start.cards.candidates) == 1 else ""


CONTRADICTS_GIB = 0.5
"""Far more than what rounded numbers leave."""


def _contradiction(row: Mapping[str, str], start: Start) -> str:
    """How a row's own parts exceed its own share of memory; "" when they do not, or do not say."""
    measured = [_measured(row, part) for part in (WEIGHTS, ACTIVATION, NON_TORCH, AVAILABLE)]
    weights, _, _, left = measured
    if weights is None or left is None or start.utilization is None or start.engine.accounting != "share_of_total":
        return ""
    total_gib = max(visible_bytes(gpu) for gpu in start.cards.candidates) / GIB
    beyond = sum(part or 0 for part in measured) - start.utilization * total_gib
    if not start.cards.total_known or beyond < CONTRADICTS_GIB:
        return ""
    return f"its parts exceed its share of memory, {start.utilization:g} x {total_gib:.2f} GiB, by {beyond:.2f} GiB"


def _measured(row: Mapping[str, str], part: str) -> float | None:
    """A measured part in GiB; None where the row does not say, or nothing that can be read."""
    try:
        return number(row, part, -GIB_PER_GPU, GIB_PER_GPU)
    except Unpredictable:
        return None


def read_start(row: Mapping[str, str], configs_dir: Path | None) -> Start:
    """A row's cells in our words.

    Raises:
        Unpredictable: the row does not name what every part depends on, or a cell cannot be read.
    """
    model = named_model(row, configs_dir)
    engine, taken = engine_of(row, model.spec.family)
    ranks = count(row, "tp", MOST_GPUS)
    if ranks is None:
        raise Unpredictable("its tensor parallelism is not stated")
    stages, replicas, experts = (count(row, name, MOST_GPUS) or 1 for name in ("pp", "dp", "ep"))
    if ranks * stages * replicas > MOST_GPUS:
        raise Unpredictable(f"TP x PP x DP is {ranks * stages * replicas:,} GPUs, more than {MOST_GPUS:,}")
    if engine.name == "sglang" and replicas > 1:
        ranks = max(ranks // replicas, 1)  # SGLang's TP counts the attention-DP ranks in
    if stages > model.spec.layer_count:
        raise Unpredictable(f"it has {stages} pipeline stages for {model.spec.layer_count} layers")
    stored, kv_reason = _kv_format(row, model.spec)
    cards = _cards(row)
    pool = number(row, AVAILABLE, -GIB_PER_GPU, GIB_PER_GPU)
    length = count(row, "max_model_len", 2**31)
    batched, doubted = _batched_tokens(row, engine)
    return Start(
        model=model,
        engine=engine,
        cards=cards,
        kv_format=stored,
        kv_reason=kv_reason,
        tensor_parallel=ranks,
        pipeline_parallel=stages,
        data_parallel=replicas,
        expert_parallel=ranks * replicas if experts > 1 else 1,
        utilization=number(row, "gpu_memory_utilization", 0.001, 1),
        max_model_len=length or model.spec.max_context_tokens,
        max_num_seqs=count(row, "max_num_seqs", 1e6),
        max_batched_tokens=batched,
        enforce_eager=flag(row, "enforce_eager") or False,
        pool_bytes=None if pool is None else pool * GIB,
        weights_stated=bool(row.get("weights_dtype_or_quant", "").strip()),
        length_stated=length is not None,
        prints_groups=_prints_groups(row, engine),
        assumed=tuple(each for each in (model.assumed, cards.assumed, *taken, doubted) if each),
    )


PRINTS_OWN_SCHEDULER = ((0, 11, 1), (0, 12))
"""vLLM releases, from the first to before the second, that print a step's tokens before they read their arguments.

Source: `vllm/engine/arg_utils.py` of 0.11.2 makes a default SchedulerConfig, which prints, to list its options; 0.12.0
makes it silently.
"""
OWN_SCHEDULER_TOKENS = 2048
_ASKED_TOKENS = re.compile(
    r"--max-num-batched-tokens|['\"]max_num_batched_tokens['\"] ?:|\bpid=[^/]*max_num_batched_tokens"
)


def _batched_tokens(row: Mapping[str, str], engine: Engine) -> tuple[int | None, str]:
    """Tokens per step as a row states them; where it quotes a log that prints others, None and what is taken."""
    stated, quote = count(row, "max_num_batched_tokens", 2**31), row.get("quote", "").strip()
    since, until = PRINTS_OWN_SCHEDULER
    prints_own = engine.name == "vllm" and since <= parse_version(engine.version) < until
    asked = _ASKED_TOKENS.search(f"{quote} ; {row.get('note', '')}")
    if stated != OWN_SCHEDULER_TOKENS or not (prints_own and quote) or asked:
        return stated, ""
    return None, f"{engine.title}'s default tokens per step, for it prints {stated:,} before it reads its arguments"


def _cards(row: Mapping[str, str]) -> Cards:
    """The cards of a row; when they are not known, every kind of card with the reason."""
    try:
        return named_cards(row)
    except Unpredictable as reason:
        return any_card(str(reason))


def _kv_format(row: Mapping[str, str], spec: ModelSpec) -> tuple[str | None, str]:
    try:
        stored = kv_format(row.get("kv_dtype", ""), spec.kv_cache_format)
        if stored in PACKED_VECTORS and any(isinstance(each, LatentAttention) for each in spec.mixers):
            raise Unpredictable(f"no engine stores latent attention's cache as {stored}")
        return stored, ""
    except Unpredictable as reason:
        return None, str(reason)


PRINTS_CONCURRENCY_SINCE = (0, 21)


def _prints_groups(row: Mapping[str, str], engine: Engine) -> bool:
    """Whether "GPU KV cache size" is blocks // groups * block size: for hybrid models a fraction of what requests keep.

    vLLM printed that up to 0.20, and maximum concurrency times max_model_len since (#43308). A log without version
    tells by whether its two numbers are one, and counts as the version that is assumed for it when it lacks them.
    """
    if engine.name != "vllm":
        return False
    if version(row.get("engine_version", "")).number is not None:
        return parse_version(engine.version) < PRINTS_CONCURRENCY_SINCE
    factors = [number(row, name, 0, MOST_TOKENS) for name in ("max_concurrency", "max_model_len", TOKENS)]
    if None in factors:
        return parse_version(engine.version) < PRINTS_CONCURRENCY_SINCE
    concurrency, length, printed = (float(each or 0) for each in factors)
    return printed < PRINTED_SHARE * concurrency * length


def replicas_on(cards: tuple[Gpu, ...], start: Start) -> ReplicaColumns:
    """The row's replica on each card that it may have run on, shape (cards,)."""
    ranks, ones = start.tensor_parallel * start.data_parallel, np.ones(len(cards), dtype=np.int64)
    return ReplicaColumns(
        gpus=cards,
        gpu=np.arange(len(cards)),
        tensor_parallel=ones * start.tensor_parallel,
        pipeline_parallel=ones * start.pipeline_parallel,
        data_parallel=ones * start.data_parallel,
        expert_parallel=ones * start.expert_parallel,
        nodes=ones,
        gpus_per_node=ones * ranks * start.pipeline_parallel,
        link_bytes_per_second=np.full(len(cards), np.inf),
        has_fast_links=np.asarray([gpu.scaleup_domain_gpus >= max(ranks, 2) for gpu in cards]),
        internode_bytes_per_second=np.full(len(cards), np.inf),
    )


def _predict_parts(start: Start, said: Prediction) -> None:
    cards = start.cards.candidates
    rows = replicas_on(cards, start)
    sequences = [start.max_num_seqs or start.engine.default_max_num_seqs(gpu) for gpu in cards]
    batches = sorted(set(sequences))
    mine = np.asarray([batches.index(each) for each in sequences])
    settings = MemorySettings(
        max_model_len=start.max_model_len,
        tokens_per_request=start.max_model_len,
        max_batched_tokens=start.max_batched_tokens,
        memory_utilization=start.utilization,
        enforce_eager=start.enforce_eager,
        speculation=start.speculation,
        offload_bytes=start.model.offload_bytes,
    )
    stored = start.kv_format or "bf16"
    columns = measure_memory(start.spec, start.engine, rows, stored, settings, np.asarray(batches))
    if not start.weights_stated and start.cards.total_known and (columns.weight_bytes > columns.total_bytes).all():
        start = replace(start, model=replace(start.model, weights_reason=_TOO_HEAVY.format(start.spec.weight_format)))
    _fill(said, start, _by_part(columns, mine, printed_with_graphs=start.engine.counts_graphs_in_peak(start.spec)))
    if start.kv_format is None:
        said.values.pop(TOKENS, None)
        said.reasons[TOKENS] = start.kv_reason
    elif start.pool_bytes is not None:
        said.values.pop(TOKENS, None)
        said.reasons.pop(TOKENS, None)
        said.kv_tokens_basis = "measured pool"
        tokens = tokens_in_pool(start, rows, start.pool_bytes)
        shorter = replace(start, max_model_len=min(SHORT_LENGTH, start.max_model_len))
        if not start.length_stated and spread([*tokens, *tokens_in_pool(shorter, rows, start.pool_bytes)], AGREES):
            said.reasons[TOKENS] = _NO_LENGTH
        else:
            _agree(said, start, TOKENS, tokens)
    else:
        said.kv_tokens_basis = "predicted pool"


def _by_part(
    columns: MemoryColumns, mine: np.ndarray[tuple[int], np.dtype[np.int64]], *, printed_with_graphs: bool
) -> dict[str, Floats]:
    """Each part on each card, shape (cards,), as the engine prints it: GiB, and tokens."""
    card = np.arange(len(mine))
    peak = columns.activation_bytes + (columns.graph_bytes if printed_with_graphs else 0)
    return {
        WEIGHTS: columns.weight_bytes / GIB,
        ACTIVATION: peak[card, mine] / GIB,
        NON_TORCH: columns.non_torch_bytes / GIB,
        AVAILABLE: columns.kv_pool_bytes[card, mine] / GIB * _printed_share(columns.pages),
        TOKENS: columns.kv_tokens[card, mine].astype(np.float64),
        GRAPHS: columns.graph_bytes[card, mine] / GIB,
    }


def _fill(said: Prediction, start: Start, values: Mapping[str, Floats]) -> None:
    """Take over what is known well enough."""
    for part, on_cards in values.items():
        if part in (WEIGHTS, AVAILABLE, TOKENS) and start.model.weights_reason:
            said.reasons[part] = start.model.weights_reason
        elif part in (AVAILABLE, TOKENS) and not start.cards.total_known:
            said.reasons[part] = start.cards.reason
        else:
            _agree(said, start, part, on_cards)
    if start.max_num_seqs is None and start.cards.total_known:
        said.assumed.append(f"{start.engine.title}'s default max_num_seqs")
    if start.utilization is None and start.engine.memory_utilization is not None and AVAILABLE in said.values:
        said.assumed.append(f"{start.engine.title}'s default utilization {start.engine.memory_utilization:g}")


SHORT_LENGTH = 8192
"""A length at which windows, states and fixed parts weigh otherwise than at a model's longest."""
_UNIFIED = (
    "its GPU shares the host's memory, of which the engine counts cached pages as taken, and nothing says how many"
)
_NO_LENGTH = "its max_model_len is not stated, on which the tokens of windows, states and fixed parts depend"
_TOO_HEAVY = "its weights do not fit in {}, and no other format is stated"
AGREES = 0.001


def _agree(said: Prediction, start: Start, part: str, on_cards: Floats) -> None:
    """A part on which all cards agree; where the total is known, the middle one of those that differ."""
    values = sorted(float(value) for value in on_cards)
    if not spread(values, AGREES):
        said.values[part] = values[0]
    elif start.cards.total_known:
        said.values[part] = values[(len(values) - 1) // 2]
        said.assumed.append(f"{part}: the middle of {len(values)} cards of that memory")
    else:
        said.reasons[part] = "it depends on the GPU, which is not stated"


def tokens_in_pool(start: Start, rows: ReplicaColumns, pool_bytes: float) -> Floats:
    """Tokens that a pool of so many bytes per GPU holds in requests of max_model_len, shape (cards,).

    Tests bytes per token, blocks and their rounding, without the parts that the pool is what is left of.
    """
    batched = np.asarray(
        [
            start.max_batched_tokens or start.engine.default_max_batched_tokens(gpu, start.max_model_len)
            for gpu in rows.gpus
        ],
        dtype=np.int64,
    )
    spec, guessed = with_drafts(start.spec, start.speculation), start.model.guessed_tokens
    pages = lay_out_pages(spec, start.engine, rows, start.kv_format or "bf16", batched, guessed_tokens=guessed)
    stages = cut_pools(spec, rows, pages)
    pool = (pool_bytes / _printed_share(pages))[stages.row][:, None]
    blocks = stages.minimum(stages.blocks(pool))[:, 0]
    if start.prints_groups:
        return np.maximum(blocks, 0) * _printed_tokens_per_block(pages)
    longest = pages.needed(start.max_model_len)
    tokens: Floats = np.floor(np.maximum(blocks, 0) / longest * start.max_model_len)
    return tokens


def _printed_share(pages: PagePlans) -> Floats:
    """Share of its pools that an engine prints as its KV cache, shape (rows,): SGLang prints states beside it."""
    shares = [plan.kv_share if isinstance(plan, TokenPools) else 1 for plan in pages.plans]
    return np.asarray(shares, dtype=np.float64)[pages.plan]


def _printed_tokens_per_block(pages: PagePlans) -> Floats:
    """Tokens per block as old versions counted them: the smallest block's, divided by the groups; shape (cards,)."""
    return np.asarray([_group_share(pages.plans[plan]) for plan in pages.plan])


def _group_share(plan: CachePlan) -> float:
    if not isinstance(plan, PagePlan):
        raise TypeError(f"vLLM's pages are planned by {type(plan).__name__}; a PagePlan was expected.")
    return min(group.block_tokens for group in plan.groups) / len(plan.groups)
