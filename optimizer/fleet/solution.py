"""The answer to a fleet problem: counts, their cost, how far from the best they can be, what limits are worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from optimizer.replica_columns import Bools, Floats, Ints


class FleetStatus(StrEnum):
    """How far the proof went."""

    OPTIMAL = "optimal"
    """Proven: the served services are the best that can be served, and no plan of them costs less."""
    WITHIN_GAP = "within gap"
    """Proven to cost at most `gap` more than the best plan that serves the same, as was asked."""
    FEASIBLE = "feasible"
    """Keeps every rule; the proof did not get as far as asked."""
    INFEASIBLE = "infeasible"
    """Proven: the required services cannot all be served."""
    UNKNOWN = "unknown"
    """Neither a plan nor a proof within the limit."""


@dataclass(frozen=True)
class FleetSolution:
    """Counts per column with their certificate; the same problem, gap and seed give the same solution.

    Attributes:
        status: how far the proof went.
        counts: shape (columns,); all 0 without a plan.
        shares: shape (entries of `column_covers`,): 5,040ths of a bucket that run on the column, 0 for other
            covers.
        served: shape (services,).
        served_proven: no better choice of services (by priority, then weight) can be served.
        cost_micro_usd: of the counts, exact.
        lower_bound_micro_usd: no plan that serves as much costs less.
        resource_prices: shape (resources,): micro-dollars per unit that one more unit of the limit saves, at the
            margin of the relaxation; at least 0.
        engine: what found it: "compact", "decomposition", "both".
        seed: of the solver.
        time_ended: whether the wall clock, which does not repeat, had a say in the answer.
        seconds: of wall time; not part of the answer.
    """

    status: FleetStatus
    counts: Ints
    shares: Ints
    served: Bools
    served_proven: bool
    cost_micro_usd: int
    lower_bound_micro_usd: int
    resource_prices: Floats
    engine: str
    seed: int
    time_ended: bool = False
    seconds: float = field(default=0.0, compare=False)

    @property
    def gap(self) -> float:
        """(cost - bound) / cost: how much cheaper than this a plan could at most be.

        0 for a plan that costs nothing.
        """
        if self.cost_micro_usd <= 0:
            return 0.0
        return max(self.cost_micro_usd - self.lower_bound_micro_usd, 0) / self.cost_micro_usd

    def cautions(self) -> Iterator[str]:
        """What to know of how the search ended: a wall clock does not repeat."""
        if self.status is FleetStatus.FEASIBLE:
            yield (
                f"Time ended before the proof: a plan may be up to {self.gap:.1%} cheaper, and another run may find "
                "another; raise --time-limit."
            )
        elif self.time_ended:
            yield (
                "The time limit cut a part of the search short: the proof stands, but another run may find another "
                "plan within it; raise --time-limit."
            )

    def judged(self, gap: float) -> FleetSolution:
        """The same with the status that its bound gives it, where `gap` was asked."""
        if self.lower_bound_micro_usd >= self.cost_micro_usd:
            return replace(self, status=FleetStatus.OPTIMAL)
        if self.gap <= gap:
            return replace(self, status=FleetStatus.WITHIN_GAP)
        return replace(self, status=FleetStatus.FEASIBLE, time_ended=True)
