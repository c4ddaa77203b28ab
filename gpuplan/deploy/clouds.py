"""What tools that rent machines call the providers of a plan."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from gpuplan.deploy.command import DATA
from optimizer.plan import OfferedMachine

REGION = re.compile(r"[a-z]+(-[a-z]+)*-?[0-9]+")


@cache
def _clouds() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / "clouds.json").read_text(encoding="utf-8"))
    return loaded


def cloud(tool: str, offer: OfferedMachine) -> tuple[str | None, str | None]:
    """The cloud and region of an offer in a tool's words; None where the tool does not know them.

    Args:
        tool: "skypilot" or "dstack".
        offer: whose.
    """
    known = _clouds()[tool]
    name = known["names"].get(offer.provider.partition(":")[0])
    has_region = offer.provider in known["regions"] and REGION.fullmatch(offer.region) is not None
    return name, offer.region if has_region else None
