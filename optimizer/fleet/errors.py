"""What can go wrong with a fleet, and who can mend it.

OptimizerError
└── BadFleetProblem    numbers that contradict each other, or are too large to be counted (who built the problem)
"""

from __future__ import annotations

from optimizer.errors import OptimizerError


class BadFleetProblem(OptimizerError):
    """A fleet problem whose parts do not fit together or whose sums leave 64 bits."""
