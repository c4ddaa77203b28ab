"""CP-SAT's Python face, loaded without pandas.

`ortools.sat.python.cp_model` imports pandas for its index and series functions, which nothing here uses; pandas is more
than half of its start-up time (0.35 of 0.6 s) and the greatest part of the whole `plan` process. Here a stand-in takes
its place while `cp_model` is imported. The stand-in forwards to the real pandas when somebody does use those functions,
and a pandas that is already loaded is left as it is.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["SOLVER_VERSION", "cp_model"]


class _Later(type):
    """A class of pandas that loads pandas when it is first called."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Nothing is of a class of pandas before pandas is loaded."""
        pandas = sys.modules.get("pandas")
        return pandas is not None and isinstance(instance, getattr(pandas, cls.__name__))

    def __call__(cls, *args: Any, **named: Any) -> Any:
        """An instance of the real class."""
        import pandas

        return getattr(pandas, cls.__name__)(*args, **named)


def _stand_in() -> ModuleType:
    module = ModuleType("pandas")
    for name in ("Index", "Series"):
        setattr(module, name, _Later(name, (), {}))
    return module


def _load() -> ModuleType:
    name = "ortools.sat.python.cp_model"
    if "pandas" in sys.modules or name in sys.modules:
        return import_module(name)
    sys.modules["pandas"] = _stand_in()
    try:
        return import_module(name)
    except AttributeError:  # another version of OR-Tools wants more of pandas: give it the real one
        sys.modules.pop(name, None)
        del sys.modules["pandas"]
        return import_module(name)
    finally:
        if isinstance(getattr(sys.modules.get("pandas"), "Index", None), _Later):
            del sys.modules["pandas"]


SOLVER_VERSION = str(import_module("ortools").__version__)

if TYPE_CHECKING:
    from ortools.sat.python import cp_model
else:
    cp_model = _load()
