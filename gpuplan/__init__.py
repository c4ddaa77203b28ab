"""What people touch: the Python face is `plan(Requirements(...)) -> Plan`; the command line is in `gpuplan.cli`.

Names are loaded when they are first asked for, so that `plan --help` never loads the thinkers.

>>> from gpuplan import Requirements
>>> Requirements(model="llama-3.3-70b").workload.input_tokens
1024
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuplan.planning import plan as plan
    from optimizer.plan import Plan as Plan
    from optimizer.requirements import Choices as Choices
    from optimizer.requirements import Demand as Demand
    from optimizer.requirements import Limits as Limits
    from optimizer.requirements import Objective as Objective
    from optimizer.requirements import Requirements as Requirements
    from optimizer.requirements import ServiceLevel as ServiceLevel
    from optimizer.requirements import Workload as Workload

__version__ = "0.1.0"
__all__ = ["Choices", "Demand", "Limits", "Objective", "Plan", "Requirements", "ServiceLevel", "Workload", "plan"]

_HOMES = {
    "plan": "gpuplan.planning",
    "Plan": "optimizer.plan",
    "Choices": "optimizer.requirements",
    "Demand": "optimizer.requirements",
    "Limits": "optimizer.requirements",
    "Objective": "optimizer.requirements",
    "Requirements": "optimizer.requirements",
    "ServiceLevel": "optimizer.requirements",
    "Workload": "optimizer.requirements",
}


def __getattr__(name: str) -> Any:
    """Load one public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gpuplan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
