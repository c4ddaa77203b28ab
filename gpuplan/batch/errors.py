"""What can be wrong with a table of questions, or with the place where its answers go.

GpuplanError
├── BadQuestions      the table cannot be read, or a column of it means nothing (who wrote it)
├── BadRow            one row asks for what cannot be read; it is reported in its own row (who wrote it)
└── BadOutput         the answers cannot go where they were asked to, or not be continued there (the asker)
"""

from __future__ import annotations

from gpuplan.errors import GpuplanError


class BadQuestions(GpuplanError):
    """A file that is no table of questions; its text says what is wrong with it."""


class BadRow(GpuplanError):
    """A row that cannot be asked; its text is its answer."""


class BadOutput(GpuplanError):
    """A place that answers cannot be written to."""
