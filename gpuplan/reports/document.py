"""The nouns of a report: sections of paragraphs, tables and charts, without any format. Numbers stay numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from optimizer.cost import Ownership, Rent

Cell = str | float | int | None
Kind = Literal["text", "usd", "usd_per_hour", "share", "count", "quantity", "duration", "signed_usd"]
ChartKind = Literal["bars", "lines", "tornado"]


@dataclass(frozen=True)
class Column:
    """A column: its name with its unit, and what kind of number stands in it."""

    name: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Cells under columns; None = not known or does not apply.

    Attributes:
        title: what it shows, one line.
        note: a sentence under it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"A row of {self.title!r} has not {len(self.columns)} cells.")


@dataclass(frozen=True)
class Chart:
    """A picture of a table; the table is also what is read to those who do not see it.

    Attributes:
        kind: "bars": label, number. "lines": x, then one column per line. "tornado": what moves, number at its low
            end, number at its high end, words for each end.
        name: of its file where charts are files: "sensitivity".
        says: what one sees, in a sentence.
        unit: of the numbers.
        base: of a tornado: the number when nothing moves.
    """

    kind: ChartKind
    name: str
    table: Table
    says: str
    unit: str
    base: float = 0.0


@dataclass(frozen=True)
class Section:
    """One part of a report, in the order: paragraphs, charts, tables."""

    title: str
    paragraphs: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether anything stands under the title."""
        return bool(self.paragraphs or self.charts or any(table.rows for table in self.tables))


@dataclass(frozen=True)
class Calculation:
    """What a spreadsheet needs to compute rent against purchase anew when a number is changed.

    Attributes:
        rents: what is paid per hour, by how it is paid.
        owned: machines to buy; None when none can be bought that serve.
        provisioned_watts: of those machines, as they are billed.
        running_rate: USD per kW and year.
        running_says: how that rate came about.
        staff_usd_per_year: in `owned.running_usd_per_year` too.
        utilization, years: as assumed.
    """

    rents: tuple[tuple[str, Rent], ...]
    owned: Ownership | None
    provisioned_watts: float
    running_rate: float
    running_says: str
    staff_usd_per_year: float
    utilization: float
    years: float


@dataclass(frozen=True)
class Report:
    """What a report says, in every format the same.

    Attributes:
        title, subtitle: of the whole.
        made_on: the day of the report.
        parts: in their order; some may have nothing to say.
        calculation: None when there is no plan to pay for.
    """

    title: str
    subtitle: str
    made_on: date
    parts: tuple[Section, ...]
    calculation: Calculation | None

    @property
    def sections(self) -> tuple[Section, ...]:
        """The parts that say something: those that are shown."""
        return tuple(part for part in self.parts if part.says_something)
