"""What can be wrong with an engine that somebody asks for.

EngineError
└── UnknownEngine   no engine of that name, or no facts for that version
"""

from __future__ import annotations

from optimizer.errors import OptimizerError


class EngineError(OptimizerError):
    """Anything wrong with an engine; its text is one sentence for people."""


class UnknownEngine(EngineError):
    """No such engine, or a version that its data file does not reach."""
