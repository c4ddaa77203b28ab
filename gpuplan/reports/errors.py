"""What can be wrong with a report that was asked for.

GpuplanError
└── BadReport         it cannot be written, or what it assumes contradicts itself (who asked for it)
"""

from __future__ import annotations

from gpuplan.errors import GpuplanError


class BadReport(GpuplanError):
    """A report that cannot be made; its text says why and what to do."""
