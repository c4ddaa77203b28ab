"""One configuration, nothing chosen: what it needs of each GPU's memory, and how fast it is at a concurrency."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from catalog.find import find_model
from catalog.quantization import requantized
from gpu_db.query import find_gpu
from gpuplan.electricity import Place, supply_at
from gpuplan.planning import cache_format, draft_of, engine_named, with_adapter
from gpuplan.what_if import LoadPoint, StepTime, Sweep, step_times, swept, usd_per_million
from optimizer.cells import estimate_at, memory_at
from optimizer.energy import Energy, NotNegative, energy_of
from optimizer.engines.engine import TENSOR_PARALLEL_ACROSS_MACHINES
from optimizer.engines.find import find_engine
from optimizer.errors import BadRequirements
from optimizer.memory.communication import context_bytes, visible_bytes
from optimizer.memory.mig import mig_profile
from optimizer.memory.pools import CannotDivide
from optimizer.memory.sharing import CannotShare
from optimizer.memory.vram import MemorySettings, measure_memory
from optimizer.open_loop import Overrun, estimate_at_rate
from optimizer.performance.estimate import estimate
from optimizer.performance.factors import load_factors
from optimizer.plan import Estimate, Memory, Risk
from optimizer.promises import about_options, latency_risks
from optimizer.replica_columns import Floats, Ints, ReplicaColumns
from optimizer.requirements import Count, EngineOptions, Frozen, Positive, ServiceLevel, Tokens, Workload
from optimizer.settings import launch_of, memory_settings, shortcuts_of

if TYPE_CHECKING:
    from catalog.model import ModelSpec
    from gpu_db.gpu import Gpu
    from optimizer.engines.engine import Engine
    from optimizer.engines.launch import Launch
    from optimizer.memory.vram import MemoryColumns
    from optimizer.performance.estimate import EstimateColumns
    from optimizer.performance.factors import Factors


SHORTEST_SHOWN = 1024
MOST_GPUS = 4096
"""Far above any replica that was ever measured; keeps products of hostile numbers small."""
MOST_BYTES = 1 << 50
MOST_NEIGHBOURS = 64

Share = Annotated[float, Field(gt=0, le=1)]


class Configuration(Frozen):
    """One replica as one would start it; None = what the checkpoint, the GPU or the engine has by default.

    Attributes:
        nodes: machines; None = as few as hold the GPUs.
        expert_parallel: whether whole experts are dealt out instead of dividing each.
        internode_bytes_per_second: one direction per GPU; needed for speed over several machines, not for memory.
        cpu_offload_bytes: of weights per GPU that lie in the host's memory.
        mig: the profile of a MIG slice that stands for the GPU, such as "3g.40gb".
        shares: of the card that other engines on it take, each as its gpu_memory_utilization.
        occupied_bytes: that other processes hold on every GPU.
        workload: the requests whose lengths are counted.
        options: speculation, LoRA adapters, decode context parallelism, language model only.
        revision: branch, tag or commit of the model's repository on the Hub.
        offline: whether the Hub may not be asked.
    """

    model: str
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    offline: bool = False
    gpu: str
    tensor_parallel: Count = 1
    pipeline_parallel: Count = 1
    data_parallel: Count = 1
    expert_parallel: bool = False
    nodes: Count | None = None
    internode_bytes_per_second: Positive | None = None
    weight_format: str | None = None
    kv_cache_format: str | None = None
    engine: str = "vllm"
    engine_version: str | None = None
    gpu_memory_utilization: Share | None = None
    max_model_len: Tokens | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Tokens | None = None
    enforce_eager: bool = False
    cpu_offload_bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)] = 0
    mig: str | None = None
    shares: Annotated[tuple[Share, ...], Field(max_length=MOST_NEIGHBOURS)] = ()
    occupied_bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)] = 0
    workload: Workload = Workload()
    options: EngineOptions = EngineOptions()


class Layout(Frozen):
    """The configuration with every default filled in.

    Attributes:
        model_revision: commit of the Hub repository that the model was read at; None for a bundled one or a folder.
        model_notes: what is odd about how the model was read, one sentence each.
    """

    model: str
    model_revision: str | None = None
    model_notes: tuple[str, ...] = ()
    gpu: str
    gpus: int
    nodes: int
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    weight_format: str
    kv_cache_format: str
    engine: str
    engine_version: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None
    enforce_eager: bool
    options: EngineOptions


class ContextCapacity(Frozen):
    """How many requests of so many tokens fit at once, per attention-DP rank."""

    tokens: int
    requests: int


class MemoryAnswer(Frozen):
    """Memory of one GPU of one replica, on its poorest rank; the JSON of `plan memory`.

    Attributes:
        memory: bytes part by part; `kv_cache_bytes` is negative by what is missing when the weights do not fit.
        longest_context: tokens of the longest single request that the KV cache holds; 0 when none.
        starts: whether the engine starts: one request of `max_model_len` fits.
        state_bytes_per_request: recurrent state of one request; 0 for plain attention.
        requests_by_context: for several lengths up to `max_model_len`, how many requests of that length fit at once.
        tokens_per_request: length of the mean request.
        command: what starts it.
    """

    schema_version: Literal["1"] = "1"
    layout: Layout
    memory: Memory
    workload: Workload
    requests_by_context: tuple[ContextCapacity, ...]
    tokens_per_request: int
    longest_context: int
    state_bytes_per_request: int
    starts: bool
    command: tuple[str, ...]


class WhatIf(Frozen):
    """What an estimate is asked beside its speed.

    Attributes:
        service_level: what the largest concurrency must keep, and with which confidence.
        requests_per_second: random arrivals on the replica; None = only a closed loop is looked at.
        usd_per_gpu_hour: what one GPU costs; None = no cost is shown.
        place: where the machines stand.
        factors_dir: a folder that `plan fit serving` wrote; None = the bundled factors.
    """

    service_level: ServiceLevel = ServiceLevel()
    requests_per_second: Positive | None = None
    usd_per_gpu_hour: NotNegative | None = None
    place: Place = Place()
    factors_dir: str | None = None


class EstimateAnswer(Frozen):
    """Speed of one replica at one concurrency; the JSON of `plan estimate`.

    Attributes:
        decode_step_seconds: one step with the whole batch decoding.
        prefill_seconds: one prompt beside a running batch, once it starts.
        fits: whether memory holds so many requests of the workload's length at once.
        decode: where the time of that decode step goes.
        prompt: where the time of a step goes that fills in a lone prompt, or the first chunk of a long one.
        energy: None when the power limit of the GPU is not known.
        usd_per_million_output_tokens: at the price that was given; None without one.
        loads: the same configuration at other concurrencies, up to the most that memory holds.
        largest_concurrency: the most that memory, max_num_seqs and the service level allow; None when none does.
        risks: the chance of missing each limit of the service level at the concurrency that was asked for.
        arrivals: what requests meet that come at random at the rate that was asked for; None without one.
        warnings: what memory counts and speed does not, and what speed rests on that nobody measured.
    """

    schema_version: Literal["1"] = "1"
    layout: Layout
    workload: Workload
    asked: WhatIf
    estimate: Estimate
    decode_step_seconds: float
    prefill_seconds: float
    fits: bool
    decode: StepTime
    prompt: StepTime
    energy: Energy | None
    usd_per_million_output_tokens: float | None
    loads: tuple[LoadPoint, ...]
    largest_concurrency: int | None
    risks: tuple[Risk, ...] = ()
    arrivals: Estimate | None = None
    warnings: tuple[str, ...] = ()


def _engine_of(asked: Configuration) -> Engine:
    """The engine, at the version that its name or the other option says ("vllm==0.12.0")."""
    if asked.engine_version is not None:
        return find_engine(asked.engine, asked.engine_version)
    return engine_named(asked.engine)


class _Replica:
    """A configuration with its nouns looked up; raises what a person can mend."""

    def __init__(self, asked: Configuration, *, for_speed: bool) -> None:
        self.asked = asked
        self.for_speed = for_speed
        self.published: ModelSpec = model_of(asked)
        self.options = with_adapter(asked.options, self.published)
        self.spec = requantized(self.published, asked.weight_format) if asked.weight_format else self.published
        self.draft: ModelSpec | None = draft_of(asked.options, offline=asked.offline)
        self.gpu: Gpu = self._gpu()
        self.engine: Engine = _engine_of(asked)
        self.kv_format = cache_format(asked.kv_cache_format or "auto", self.spec, (self.engine,))
        refused = self.engine.refuses(self.spec, self.gpu, self.kv_format)
        if refused:
            notes = "".join(f" {note}" for note in self.published.notes)
            raise BadRequirements(f"{self.engine.title} cannot serve this: {refused}.{notes}")
        self.rows = self._rows()
        reasons = [reason for _, reason in self.engine.refused_shapes(self.spec, self.rows)]
        if not for_speed:  # slow, but it runs, and what it takes is known
            reasons = [reason for reason in reasons if reason != TENSOR_PARALLEL_ACROSS_MACHINES]
        if reasons:
            raise BadRequirements(f"{self.engine.title} cannot serve this: {reasons[0]}.")
        self.max_model_len = asked.max_model_len or self.published.max_context_tokens
        self.max_num_seqs = asked.max_num_seqs or self.engine.default_max_num_seqs(self.gpu)
        self.settings = self._settings()
        refused = self.engine.refuses_launch(self.launch())
        if refused:
            raise BadRequirements(f"This cannot be started: {refused}.")

    def _gpu(self) -> Gpu:
        """The card, or the MIG slice that stands for it."""
        card, asked = find_gpu(self.asked.gpu), self.asked
        if asked.mig is None:
            return card
        if asked.tensor_parallel * asked.pipeline_parallel * asked.data_parallel > 1:
            raise BadRequirements("MIG slices cannot serve one model together: leave out --mig, TP, PP and DP.")
        try:
            return mig_profile(card, asked.mig)
        except CannotShare as wrong:
            raise BadRequirements(f"--mig {asked.mig}: {wrong}") from None

    def _settings(self) -> MemorySettings:
        asked, workload = self.asked, self.asked.workload
        common = memory_settings(self.spec, workload, self.options, self.max_model_len, self.draft)
        return replace(
            common,
            max_batched_tokens=asked.max_num_batched_tokens,
            memory_utilization=asked.gpu_memory_utilization,
            enforce_eager=asked.enforce_eager,
            offload_bytes=asked.cpu_offload_bytes,
            occupied_bytes=self._occupied_bytes(),
        )

    def _occupied_bytes(self) -> int:
        """What others hold on each GPU: other engines their shares of the card and a driver context each."""
        context = float(context_bytes(self.rows)[0])
        of_engines = sum(share * visible_bytes(self.gpu) + context for share in self.asked.shares)
        return self.asked.occupied_bytes + math.ceil(of_engines)

    def launch(self) -> Launch:
        """How it is started."""
        asked = self.asked
        return launch_of(
            self.published,
            self.engine,
            self.settings,
            weight_format=self.spec.weight_format,
            kv_format=self.kv_format,
            max_num_seqs=self.max_num_seqs,
            tensor_parallel=asked.tensor_parallel,
            pipeline_parallel=asked.pipeline_parallel,
            data_parallel=asked.data_parallel,
            expert_parallel=asked.expert_parallel,
            nodes=int(self.rows.nodes[0]),
        )

    def _rows(self) -> ReplicaColumns:
        """A table of one row."""
        asked, gpu = self.asked, self.gpu
        ranks = asked.tensor_parallel * asked.data_parallel
        size = ranks * asked.pipeline_parallel
        if size > MOST_GPUS:
            raise BadRequirements(f"TP x PP x DP is {size} GPUs; one replica has at most {MOST_GPUS}.")
        nodes = asked.nodes or math.ceil(size / (gpu.max_gpus_per_node or size))
        if size % nodes:
            raise BadRequirements(f"{size} GPUs cannot be spread evenly over {nodes} machines.")
        # memory does not depend on the network between machines; speed must be told it
        unknown = math.nan if self.for_speed else math.inf
        return ReplicaColumns(
            gpus=(gpu,),
            gpu=_whole(0),
            tensor_parallel=_whole(asked.tensor_parallel),
            pipeline_parallel=_whole(asked.pipeline_parallel),
            data_parallel=_whole(asked.data_parallel),
            expert_parallel=_whole(ranks if asked.expert_parallel else 1),
            nodes=_whole(nodes),
            gpus_per_node=_whole(size // nodes),
            link_bytes_per_second=_rate(gpu.link_bytes_per_second or gpu.pcie_bytes_per_second or math.nan),
            has_fast_links=np.asarray([gpu.scaleup_domain_gpus >= max(ranks, 2)]),
            internode_bytes_per_second=_rate(asked.internode_bytes_per_second or unknown),
        )

    def layout(self) -> Layout:
        """Every default filled in."""
        asked, rows, engine = self.asked, self.rows, self.engine
        return Layout(
            model=self.spec.repo_id,
            model_revision=self.published.revision or None,
            model_notes=self.published.notes,
            gpu=self.gpu.name,
            gpus=int(rows.gpu_count[0]),
            nodes=int(rows.nodes[0]),
            tensor_parallel=asked.tensor_parallel,
            pipeline_parallel=asked.pipeline_parallel,
            data_parallel=asked.data_parallel,
            expert_parallel=int(rows.expert_parallel[0]),
            weight_format=self.spec.weight_format,
            kv_cache_format=self.kv_format,
            engine=engine.name,
            engine_version=engine.version,
            max_model_len=self.max_model_len,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=asked.max_num_batched_tokens or engine.default_max_batched_tokens(self.gpu),
            gpu_memory_utilization=asked.gpu_memory_utilization or engine.memory_utilization,
            enforce_eager=asked.enforce_eager,
            options=self.options,
        )

    def memory(self, max_num_seqs: int | Ints, settings: MemorySettings | None = None) -> MemoryColumns:
        """One row, one or more batches; requests of the workload's lengths unless other settings say so."""
        batches = np.atleast_1d(np.asarray(max_num_seqs, dtype=np.int64))
        how = settings or self.settings
        try:
            return measure_memory(self.spec, self.engine, self.rows, self.kv_format, how, batches)
        except CannotDivide as wrong:
            raise BadRequirements(f"--decode-context-parallel: {wrong}") from None

    def capacity(self, tokens: int) -> ContextCapacity:
        """How many requests of so many tokens fit; a prefix is shared by longer ones."""
        shared = self.settings.shared_prefix_tokens
        settings = replace(
            self.settings,
            tokens_per_request=tokens,
            lengths=None,
            shared_prefix_tokens=shared if tokens > shared else 0,
        )
        columns = self.memory(self.max_num_seqs, settings)
        return ContextCapacity(tokens=tokens, requests=int(columns.requests_capacity[0, 0]))

    def speed(self, batches: Ints, factors: Factors) -> EstimateColumns:
        """One row at so many requests per attention-DP rank."""
        work, engine = self.asked.workload, self.engine.name
        lengths = work.input_tokens, work.output_tokens
        spared = shortcuts_of(work, self.options, self.settings)
        return estimate(self.spec, engine, self.rows, self.kv_format, batches, *lengths, factors, shortcuts=spared)

    def arrivals(self, sweep: Sweep, level: ServiceLevel, rate: float | None) -> Estimate | None:
        """What requests meet that come at random at this rate; None without a rate.

        Raises:
            BadRequirements: the replica cannot take so many.
        """
        if rate is None:
            return None
        slots = sweep.batches[sweep.fits & (sweep.batches <= self.max_num_seqs)]
        if not len(slots):
            raise BadRequirements("Not even one request fits in memory, so none can come; `plan memory` says why.")
        try:
            work = self.asked.workload
            return estimate_at_rate(sweep.speed, self.rows, sweep.batches, work, level, rate, int(slots[-1]))
        except Overrun as over:
            raise BadRequirements(
                f"{over.asked:g} requests/s are more than this replica takes: at most {over.most:.3g} with "
                f"{int(slots[-1])} slots per rank; lower --requests-per-second."
            ) from None

    def sweep(self, asked: int, factors: Factors) -> Sweep:
        """Speed at every number of requests per rank, and what memory holds of them."""
        batches = swept(asked)
        fits = self.memory(batches).fits[0]
        most = self.asked.max_num_seqs
        started = np.full(len(batches), True) if most is None else batches <= most
        return Sweep(self.rows, batches, self.speed(batches, factors), fits & started)

    def energy(self, sweep: Sweep, at: int, place: Place) -> Energy | None:
        """What one load draws; None when the power limit of the GPU is not known."""
        watts, limit = float(sweep.speed.power_watts[0, at]), self.gpu.power_watts
        if limit is None:
            return None
        count, idle = int(self.rows.gpu_count[0]), self.gpu.idle_watts
        rate = float(sweep.speed.output_tokens_per_second[0, at])
        return energy_of(watts, limit * count, rate, supply_at(place), None if idle is None else idle * count)


def _whole(number: int) -> Ints:
    return np.asarray([number], dtype=np.int64)


def _rate(number: float) -> Floats:
    return np.asarray([number], dtype=np.float64)


def model_of(asked: Configuration) -> ModelSpec:
    """The model of a configuration, as published."""
    return find_model(asked.model, asked.revision, offline=asked.offline)


def memory_of(asked: Configuration) -> MemoryAnswer:
    """What one configuration needs of each GPU's memory.

    Raises:
        BadRequirements: the engine cannot run it, or lengths contradict each other.
        catalog.errors.CatalogError, gpu_db.errors.GpuDbError, OptimizerError: a name is unknown.
    """
    replica = _Replica(asked, for_speed=False)
    columns = replica.memory(replica.max_num_seqs)
    return MemoryAnswer(
        layout=replica.layout(),
        memory=memory_at(columns).model_copy(update={"occupied_bytes": replica.settings.occupied_bytes}),
        workload=asked.workload,
        requests_by_context=tuple(replica.capacity(tokens) for tokens in _context_lengths(replica.max_model_len)),
        tokens_per_request=round(asked.workload.mean_length),
        longest_context=int(columns.longest_context[0, 0]),
        state_bytes_per_request=int(columns.state_bytes_per_request[0]),
        starts=bool(columns.starts[0, 0]),
        command=replica.engine.command(replica.launch()),
    )


def _context_lengths(most: int) -> list[int]:
    """Lengths worth showing: four times longer each, and the longest.

    >>> _context_lengths(131072)
    [2048, 8192, 32768, 131072]
    """
    lengths = [most]
    while lengths[0] // 4 >= SHORTEST_SHOWN:
        lengths.insert(0, lengths[0] // 4)
    return lengths


def estimate_of(asked: Configuration, concurrency: int, what_if: WhatIf | None = None) -> EstimateAnswer:
    """How fast one configuration is with `concurrency` requests always in flight, where its time goes, and what if.

    Args:
        asked: the configuration.
        concurrency: requests in flight on the whole replica; with attention-DP, the ranks share them evenly.
        what_if: service level, price, place and factors; None = none of them.

    Raises:
        BadRequirements: the engine cannot run it, or a rate that speed needs is not known.
    """
    wanted = what_if or WhatIf()
    replica = _Replica(asked, for_speed=True)
    factors = load_factors(Path(wanted.factors_dir) if wanted.factors_dir else None)
    per_rank = math.ceil(concurrency / asked.data_parallel)
    sweep = replica.sweep(per_rank, factors)
    at = int(np.searchsorted(sweep.batches, per_rank))
    if not math.isfinite(sweep.speed.tpot_seconds[0, at]):
        raise BadRequirements(
            f"The speed of {replica.gpu.name} in this layout cannot be estimated: its bandwidth, 16-bit rate or the "
            "links that the layout needs are not known."
        )
    return _estimated(replica, sweep, at, wanted, factors)


def _estimated(replica: _Replica, sweep: Sweep, at: int, wanted: WhatIf, factors: Factors) -> EstimateAnswer:
    """What is said of one load of a sweep."""
    work, price, speed = replica.asked.workload, wanted.usd_per_gpu_hour, sweep.speed
    per_rank, rate = int(sweep.batches[at]), float(speed.output_tokens_per_second[0, at])
    concurrency = per_rank * replica.asked.data_parallel
    made = estimate_at(speed, concurrency, 0, at, wanted.service_level.confidence)
    spared = shortcuts_of(work, replica.options, replica.settings)
    decode, prompt = step_times(
        replica.spec, replica.engine.name, replica.rows, replica.kv_format, per_rank, work, factors, spared
    )
    return EstimateAnswer(
        layout=replica.layout(),
        workload=work,
        asked=wanted,
        estimate=made,
        decode_step_seconds=float(speed.decode_step_seconds[0, at]),
        prefill_seconds=float(speed.prefill_seconds[0, at]),
        fits=bool(sweep.fits[at]),
        decode=decode,
        prompt=prompt,
        energy=replica.energy(sweep, at, wanted.place),
        usd_per_million_output_tokens=usd_per_million(price, int(replica.rows.gpu_count[0]), rate),
        loads=sweep.points(per_rank, wanted.service_level, price),
        largest_concurrency=sweep.largest(wanted.service_level),
        risks=tuple(latency_risks([made], wanted.service_level, factors.errors)),
        arrivals=replica.arrivals(sweep, wanted.service_level, wanted.requests_per_second),
        warnings=tuple(about_options(replica.options)),
    )
