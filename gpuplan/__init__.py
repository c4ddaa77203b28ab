"""What people touch: the Python face is `plan(Requirements(...)) -> Plan`; the command line is in `gpuplan.cli`.

In reading order:

    planning                        look up the data, then solve: what every face calls
    cli                             the command line
    calculators                     one configuration: memory and speed
    batch, fleets, pareto, compare  tables of questions; many services; trade-offs; plans side by side
    reports, deploy, saving         for who signs; files that start a plan; plans on disk and in links
    measuring, fitting              how far our models are from measurements; measurements -> factors
    electricity, errors             where machines stand and what their watts cost; what can go wrong

Fleets, one configuration's memory and speed, and the front of all plans are asked for in the same way: docs/python.md.
Names are loaded when they are first asked for, so that `plan --help` never loads the thinkers.

>>> from gpuplan import Requirements
>>> Requirements(model="llama-3.3-70b").workload.input_tokens
1024
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuplan.calculators.configuration import Configuration as Configuration
    from gpuplan.calculators.configuration import WhatIf as WhatIf
    from gpuplan.calculators.memory import memory_of as memory_of
    from gpuplan.calculators.speed import estimate_of as estimate_of
    from gpuplan.errors import known_errors as known_errors
    from gpuplan.fleets.file import read_demand as read_demand
    from gpuplan.fleets.file import read_fleet as read_fleet
    from gpuplan.fleets.planning import plan_calendar as plan_calendar
    from gpuplan.fleets.planning import plan_fleet as plan_fleet
    from gpuplan.pareto import front_of as front_of
    from gpuplan.planning import answer as answer
    from gpuplan.planning import load_facts as load_facts
    from gpuplan.planning import plan as plan
    from optimizer.fleet.services import Buying as Buying
    from optimizer.fleet.services import Fleet as Fleet
    from optimizer.fleet.services import FleetLimits as FleetLimits
    from optimizer.fleet.services import Service as Service
    from optimizer.plan import Plan as Plan
    from optimizer.requirements import Choices as Choices
    from optimizer.requirements import Demand as Demand
    from optimizer.requirements import EngineOptions as EngineOptions
    from optimizer.requirements import Limits as Limits
    from optimizer.requirements import Objective as Objective
    from optimizer.requirements import Requirements as Requirements
    from optimizer.requirements import ServiceLevel as ServiceLevel
    from optimizer.requirements import Workload as Workload

__version__ = "0.1.0"
_ROOMS = {
    "gpuplan.planning": "answer load_facts plan",
    "gpuplan.fleets.planning": "plan_calendar plan_fleet",
    "gpuplan.fleets.file": "read_demand read_fleet",
    "gpuplan.calculators.configuration": "Configuration WhatIf",
    "gpuplan.calculators.memory": "memory_of",
    "gpuplan.calculators.speed": "estimate_of",
    "gpuplan.pareto": "front_of",
    "gpuplan.errors": "known_errors",
    "optimizer.fleet.services": "Buying Fleet FleetLimits Service",
    "optimizer.plan": "Plan",
    "optimizer.requirements": "Choices Demand EngineOptions Limits Objective Requirements ServiceLevel Workload",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load one public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gpuplan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
