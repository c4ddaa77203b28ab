"""`plan estimate`: how fast one configuration is at a load, and what other loads would give."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from gpuplan.calculators.answers import EstimateAnswer
from gpuplan.calculators.configuration import Configuration, WhatIf
from gpuplan.calculators.loads import Sweep, usd_per_million
from gpuplan.calculators.replica import ConfiguredReplica
from gpuplan.calculators.step_times import step_times
from optimizer.cells import estimate_at
from optimizer.errors import BadRequirements
from optimizer.performance.factors import Factors, load_factors
from optimizer.promises import about_options, latency_risks
from optimizer.settings import shortcuts_of


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
    replica = ConfiguredReplica(asked, for_speed=True)
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


def _estimated(replica: ConfiguredReplica, sweep: Sweep, at: int, wanted: WhatIf, factors: Factors) -> EstimateAnswer:
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
        longest_context=int(replica.memory(per_rank).longest_context[0, 0]),
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
