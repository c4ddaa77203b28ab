"""What can be wrong with measurements that are handed in.

GpuplanError
└── BadTable          the file cannot be read as a table of measured rows (who wrote it)

Unpredictable         one row or one part of it cannot be predicted; counted with its reason, never raised to a person
"""

from __future__ import annotations

from gpuplan.errors import GpuplanError


class BadTable(GpuplanError):
    """A file that is no table of measurements; its text says what is missing."""


class Unpredictable(Exception):
    """Why a row, or a part of it, has no prediction; its text completes "not predicted: ...". Internal."""
