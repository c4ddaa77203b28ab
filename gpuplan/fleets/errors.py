"""What can be wrong with a fleet file: one sentence for every problem in it, collected while it is read.

GpuplanError
└── BadFleetFile      the file cannot be planned with (who wrote it)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpuplan.errors import GpuplanError

MOST_PROBLEMS = 50
LONGEST_SHOWN = 60
LONGEST_SENTENCE = 600


class BadFleetFile(GpuplanError):
    """A fleet file that cannot be used; `problems` holds one sentence each, `sentences` those that are shown."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        left_out = len(self.problems) - MOST_PROBLEMS
        self.sentences = (*self.problems[:MOST_PROBLEMS], *([f"and {left_out} more"] if left_out > 0 else []))
        super().__init__("\n".join(self.sentences))


@dataclass
class Problems:
    """Sentences about one file, collected."""

    file: str
    sentences: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        """Note what is wrong at one place of the file; a very long sentence is cut."""
        place, said = f"{self.file}, {where}" if where else self.file, what.rstrip(".")
        cut = said if len(said) <= LONGEST_SENTENCE else f"{said[:LONGEST_SHOWN]}... ({len(said):,} characters)"
        self.sentences.append(f"{place}: {cut}{'' if cut.endswith('?') else '.'}")


def shown(value: object) -> str:
    """A value as a sentence can hold it.

    >>> shown("x" * 100)[-6:], shown([1, 2])
    ('xxx...', 'a list')
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
