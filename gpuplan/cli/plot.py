"""Points on a small grid of characters, with the ends of both axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuplan.cli.console import Ink, Line, Styled, quantity

ROWS, MOST_COLUMNS = 10, 64
MARGIN = 9
"""Columns for the numbers beside the vertical axis."""


@dataclass(frozen=True)
class Point:
    """Where a mark stands; a later one in a list covers an earlier one."""

    across: float
    up: float
    stressed: bool = False


def plot(points: Sequence[Point], across: str, up: str, ink: Ink) -> list[Line]:
    """Points over two axes from 0 to the largest value.

    Args:
        points: at least one, nothing negative.
        across, up: what the axes are.
        ink: what the terminal can show.
    """
    columns = min(MOST_COLUMNS, ink.width - MARGIN - 4)
    right, top = max(point.across for point in points), max(point.up for point in points)
    grid = [[Styled(" ")] * columns for _ in range(ROWS)]
    for point in points:
        row = ROWS - 1 - _place(point.up, top, ROWS)
        grid[row][_place(point.across, right, columns)] = _mark(point, ink)
    side, corner, floor = ("│", "└", "─") if ink.blocks else ("|", "+", "-")
    ends = {0: quantity(top), ROWS - 1: "0"}
    lines: list[Line] = [(Styled(f"  {up}", "dim"),)]
    lines += [(f"{ends.get(number, ''):>{MARGIN}} {side}", *cells) for number, cells in enumerate(grid)]
    lines.append((f"{'':>{MARGIN}} {corner}{floor * columns}",))
    foot = f"0{quantity(right):>{columns - 1}}"
    return [*lines, (f"{'':>{MARGIN}}  {foot}",), (Styled(f"{'':>{MARGIN}}  {across:>{columns}}", "dim"),)]


def _place(value: float, most: float, cells: int) -> int:
    return min(cells - 1, int(value / most * cells)) if most > 0 else 0


def _mark(point: Point, ink: Ink) -> Styled:
    if point.stressed:
        return Styled("◆" if ink.blocks else "@", "bold")
    return Styled("•" if ink.blocks else "*", "cyan")
