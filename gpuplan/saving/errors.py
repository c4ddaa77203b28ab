"""What can be wrong with a plan that was saved or a question that was shared.

GpuplanError
├── BadPlanFile       the file cannot be read as a plan, or may not be written (who made it, or named it)
└── BadLink           the text after # is no question of ours (who sent it)
"""

from __future__ import annotations

from gpuplan.errors import GpuplanError


class BadPlanFile(GpuplanError):
    """A file that is no plan; its text says why and what to do."""


class BadLink(GpuplanError):
    """A link that holds no question; its text says why and what to do."""
