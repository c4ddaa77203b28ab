"""What can go wrong when planning, and who can mend it.

OptimizerError
├── BadRequirements        the question contradicts itself (the asker)
├── EngineError            an engine that was asked for; see optimizer/engines/errors.py (the asker)
├── AuditFailed            a plan does not keep what it says (us)
└── SolverFailed           CP-SAT gave no answer (us, or more time)
"""

from __future__ import annotations


class OptimizerError(Exception):
    """Any error of this package; its text is one sentence for a person."""


class BadRequirements(OptimizerError):
    """The question contradicts itself or leaves out what it needs."""


class AuditFailed(OptimizerError):
    """A plan promises something that re-deriving it does not confirm."""


class SolverFailed(OptimizerError):
    """The solver ended without a plan and without a proof that there is none."""
