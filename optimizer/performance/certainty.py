"""How far off an estimate may be: how near its case is to what was measured, and how cases as near as that scatter.

A model's kind is the set of matrix products and mixers that it runs (`parts_in_use`): two dense models in FP8 are of
one kind, however many layers they have. What matters for the error is whether the kind was measured at all, whether
anything was on this GPU, and whether it was this very model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from catalog.model import ModelSpec
from optimizer.performance.operations import KERNELS, Work
from optimizer.replica_columns import Bools, Ints

if TYPE_CHECKING:
    from optimizer.performance.rates import Datasheet

METRICS = ("tpot", "ttft", "throughput")

SAME = "this model fitted on this GPU"
FITTED = "fitted on this GPU"
SHARED = "shared factors"
NEITHER = "shared factors, no such model measured"
UNCALIBRATED = "uncalibrated"
FOREIGN = "uncalibrated vendor"
LEVELS = (SAME, FITTED, SHARED, NEITHER, UNCALIBRATED, FOREIGN)
"""How near an estimate is to what was measured, the nearest first: this shape of model in this format with this engine
on this GPU; other models of its kind, on this GPU among others; models of its kind on other GPUs; no model of its kind;
not this engine, or guessed
tokens; no GPU of this vendor."""

NOT_MEASURED = frozenset({UNCALIBRATED, FOREIGN})
"""Levels of what stands on the datasheet alone."""


@dataclass(frozen=True)
class Spread:
    """How measured / predicted scatters around 1, in logarithms alike on both sides unless `lower` is given.

    Attributes:
        coverages: shares of cases, from 0, rising.
        factors: a share `coverages[i]` of cases lies between 1 / factors[i] and factors[i]; rising from 1.
        lower: the same below 1, where it is another: a share `coverages[i]` lies between 1 / lower[i] and factors[i].
    """

    coverages: tuple[float, ...]
    factors: tuple[float, ...]
    lower: tuple[float, ...] = ()

    @property
    def most(self) -> float:
        """The highest probability of which something is known."""
        return (1 + self.coverages[-1]) / 2

    def at(self, probability: float) -> float:
        """The factor below which measured / predicted stays with this probability; NaN if nothing was learnt.

        >>> Spread((0.0, 0.8), (1.0, 2.0)).at(0.9), Spread((0.0, 0.8), (1.0, 2.0)).at(0.5)
        (2.0, 1.0)
        >>> Spread((0.0, 0.8), (1.0, 2.0), (1.0, 4.0)).at(0.1)
        0.25
        """
        factors = self._side(probability >= EVEN)
        reach = float(np.interp(abs(2 * probability - 1), self.coverages, np.log(factors)))
        return math.exp(math.copysign(reach, probability - 0.5))

    def below(self, factor: float) -> float:
        """The probability that measured / predicted is at most `factor`; never beyond what `coverages` knows.

        >>> round(Spread((0.0, 0.8), (1.0, 2.0)).below(2.0), 3)
        0.9
        """
        if not all(map(math.isfinite, self.factors)):
            return math.nan
        share = float(np.interp(abs(math.log(factor)), np.log(self._side(factor >= 1)), self.coverages))
        return (1 + math.copysign(share, math.log(factor))) / 2

    def _side(self, above: bool) -> tuple[float, ...]:
        return self.factors if above or not self.lower else self.lower


EVEN = 0.5
"""The probability of either side."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        cells: per GPU, what `cell_name` calls the models that ran on it.
        parts: every product and mixer that was part of a measured run.
    """

    cells: Mapping[str, frozenset[str]]
    parts: frozenset[str]

    def level(self, gpu: str, cell: str, parts: frozenset[str]) -> str:
        """How near a case is whose vendor and engine were measured."""
        if not parts <= self.parts:
            return NEITHER
        if gpu not in self.cells:
            return SHARED
        return SAME if cell in self.cells[gpu] else FITTED


PARTS = (*KERNELS, *(f"{kernel} experts" for kernel in KERNELS), "latent attention", "recurrent state")


def parts_in_use(work: Work, sheet: Datasheet, rows: Ints) -> Bools:
    """Which of PARTS these rows run, (rows, parts): a format that its GPU does not know counts as what unpacks it."""
    kernels = sheet.kernels[rows]
    dense, experts = (_run_as(stored[rows] > 0, kernels) for stored in (work.dense_bytes, work.expert_bytes))
    others = np.stack([work.latent_layers[rows] > 0, work.recurrent_layers[rows] > 0], axis=1)
    return np.concatenate([dense, experts, others], axis=1)


def _run_as(stored: Bools, kernels: Ints) -> Bools:
    """(rows, kernels): what runs where these formats are stored."""
    runs = np.zeros(stored.shape, dtype=np.bool_)
    rows = np.arange(len(stored))
    for kernel in range(stored.shape[1]):
        runs[rows, kernels[:, kernel]] |= stored[:, kernel]
    return runs


def names_of(used: Bools) -> frozenset[str]:
    """The names of one row of `parts_in_use`."""
    return _names(tuple(used.tolist()))


@cache
def _names(used: tuple[bool, ...]) -> frozenset[str]:
    """Asked for by every GPU of every variant, of few kinds."""
    return frozenset(name for name, use in zip(PARTS, used, strict=True) if use)


def shape_name(spec: ModelSpec) -> str:
    """What all checkpoints of one shape share, whatever they are called and however they are stored."""
    return f"{spec.layer_count}x{spec.hidden_size}x{spec.vocabulary}"


@cache
def cell_name(engine: str, shape: str, parts: frozenset[str]) -> str:
    """A model's shape as it ran: with which engine, and with which products.

    An engine that schedules while a step runs has the kernels of the one that did not.
    """
    return f"{engine.removesuffix(' sync')} {shape} {'+'.join(sorted(parts))}"
