"""The file that `plan --save` wrote, or `plan --json` printed -> Plan."""

from __future__ import annotations

import sys
from pathlib import Path

from gpuplan.deploy.errors import BadPlan
from optimizer.plan import Plan

LARGEST_BYTES = 64 << 20
"""Far above any plan: it holds one line for each kind of machine and replica."""


def read_plan(path: Path) -> Plan:
    """The plan in a file, whoever wrote it.

    Args:
        path: what `plan --save` wrote or `plan --json` printed; "-" reads it from stdin.

    Raises:
        BadPlan: it cannot be read, is no plan, or contradicts itself.
    """
    from gpuplan.saving.errors import BadPlanFile
    from gpuplan.saving.plan_file import parse_plan

    try:
        return parse_plan(text_of(path), repr(str(path))).plan
    except BadPlanFile as wrong:
        raise BadPlan(str(wrong)) from None


def text_of(path: Path) -> bytes:
    """What a file holds, if it is not too large.

    Raises:
        BadPlan: it cannot be read.
    """
    try:
        if str(path) == "-":
            text = sys.stdin.buffer.read(LARGEST_BYTES + 1)
        else:
            with path.open("rb") as file:
                text = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadPlan(f"{path} cannot be read: {reason}.") from None
    if len(text) > LARGEST_BYTES:
        raise BadPlan(f"{path} is larger than {LARGEST_BYTES >> 20} MiB, so it is no plan.")
    return text
