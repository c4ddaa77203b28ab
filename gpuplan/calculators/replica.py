"""A configuration with its nouns looked up: what can be measured of it, and how it is started."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from catalog.find import find_model
from catalog.quantization import requantized
from gpu_db.machines import topology_of_gpu
from gpu_db.query import find_gpu
from gpuplan.calculators.answers import ContextCapacity, Layout
from gpuplan.calculators.loads import Sweep, swept
from gpuplan.electricity import Place, supply_at
from gpuplan.planning import cache_format, draft_of, engine_named, with_adapter
from optimizer.energy import Energy, energy_of
from optimizer.engines.find import find_engine
from optimizer.engines.shape_refusals import TENSOR_PARALLEL_ACROSS_MACHINES
from optimizer.errors import BadRequirements
from optimizer.memory.communication import context_bytes, visible_bytes
from optimizer.memory.mig import CannotShare, mig_profile
from optimizer.memory.pools import CannotDivide
from optimizer.memory.vram import MemorySettings, measure_memory
from optimizer.open_loop import Overrun, estimate_at_rate
from optimizer.performance.estimate import estimate
from optimizer.plan import Estimate
from optimizer.replica_columns import Floats, Ints, ReplicaColumns
from optimizer.requirements import ServiceLevel
from optimizer.settings import launch_of, memory_settings, shortcuts_of

if TYPE_CHECKING:
    from catalog.model import ModelSpec
    from gpu_db.gpu import Gpu
    from gpuplan.calculators.configuration import Configuration
    from optimizer.engines.engine import Engine
    from optimizer.engines.launch import Launch
    from optimizer.memory.vram import MemoryColumns
    from optimizer.performance.estimate import EstimateColumns
    from optimizer.performance.factors import Factors

MOST_GPUS = 4096
"""Far above any replica that was ever measured; keeps products of hostile numbers small."""


class ConfiguredReplica:
    """A configuration with its nouns looked up.

    Args:
        asked: the configuration.
        for_speed: whether speed is asked for, which needs the network between machines; memory does not.

    Raises:
        BadRequirements: the engine cannot run it, or settings contradict each other.
        catalog.errors.CatalogError, gpu_db.errors.GpuDbError, OptimizerError: a name is unknown.
    """

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
        self._check_engine()
        self.rows = self._rows()
        self._check_shape()
        self.max_model_len = asked.max_model_len or self.published.max_context_tokens
        self.max_num_seqs = asked.max_num_seqs or self.engine.default_max_num_seqs(self.gpu)
        self.settings = self._settings()
        self._check_launch()

    def _check_engine(self) -> None:
        refused = self.engine.refuses(self.spec, self.gpu, self.kv_format)
        if refused:
            notes = "".join(f" {note}" for note in self.published.notes)
            raise BadRequirements(f"{self.engine.title} cannot serve this: {refused}.{notes}")

    def _check_shape(self) -> None:
        reasons = [reason for _, reason in self.engine.refused_shapes(self.spec, self.rows)]
        if not self.for_speed:  # slow, but it runs, and what it takes is known
            reasons = [reason for reason in reasons if reason != TENSOR_PARALLEL_ACROSS_MACHINES]
        if reasons:
            raise BadRequirements(f"{self.engine.title} cannot serve this: {reasons[0]}.")

    def _check_launch(self) -> None:
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
        # as machines with this GPU are usually built; a group wider than its links reach talks over the slots
        machine = topology_of_gpu(gpu)
        fast = machine.scaleup_domain_gpus >= max(ranks, 2)
        bridged = machine.scaleup_domain_gpus > 1 and not fast
        link = gpu.pcie_bytes_per_second if bridged else machine.link_bytes_per_second
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
            link_bytes_per_second=_rate(link or math.nan),
            has_fast_links=np.asarray([fast]),
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


def model_of(asked: Configuration) -> ModelSpec:
    """The model of a configuration, as published."""
    return find_model(asked.model, asked.revision, offline=asked.offline)


def _engine_of(asked: Configuration) -> Engine:
    """The engine, at the version that its name or the other option says ("vllm==0.12.0")."""
    if asked.engine_version is not None:
        return find_engine(asked.engine, asked.engine_version)
    return engine_named(asked.engine)


def _whole(number: int) -> Ints:
    return np.asarray([number], dtype=np.int64)


def _rate(number: float) -> Floats:
    return np.asarray([number], dtype=np.float64)
