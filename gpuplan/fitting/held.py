"""How long a benchmark's server holds new requests back on purpose, in decode steps: flags of its published scripts.

Some scripts tell the scheduler to look for new requests only now and then, or to gather several before their prompts
run. That is the benchmark's choice and not the engine's speed: it is known from the scripts (`held.json`), added to the
runs of that benchmark, and to no estimate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Served:
    """What the flags of a script depend on.

    Attributes:
        source, engine, model, weights, gpu: as in `Run`; the model without its owner.
        gpus, ranks: of the replica, and how many of them share out attention (DP).
        requests: in flight, over all ranks.
        input_tokens, output_tokens: nominal lengths.
    """

    source: str
    engine: str
    model: str
    weights: str
    gpu: str
    gpus: int
    ranks: int
    requests: float
    input_tokens: float
    output_tokens: float


SAME = ("source", "engine", "model", "weights", "gpu", "input_tokens", "output_tokens")
MOST = {"most_gpus": "gpus", "most_requests": "requests"}
LEAST = {"least_ranks": "ranks", "least_requests": "requests"}


def held_steps(served: Served) -> float:
    """Decode steps that a request waits, in the mean, because the script says so.

    `polls` every N steps: N / 2. `gathers` for at most N steps: the first waits N, those who come meanwhile, arriving
    evenly at `requests` per answer, N / 2:

        N (1 + a / 2) / (1 + a),   a = N requests / output_tokens

    >>> held_steps(Served("own", "sglang", "GLM-5", "nvfp4", "B200 SXM 180GB", 8, 1, 64.0, 1024.0, 1024.0))
    0.0
    """
    for rule in _rules():
        if _applies(rule, served):
            steps = float(rule["steps"])
            if rule["how"] == "polls":
                return steps / 2
            come = steps * served.requests / served.output_tokens
            return steps * (1 + come / 2) / (1 + come)
    return 0.0


def _applies(rule: Mapping[str, Any], served: Served) -> bool:
    return (
        all(rule[name] == getattr(served, name) for name in SAME if name in rule)
        and all(getattr(served, of) <= rule[name] for name, of in MOST.items() if name in rule)
        and all(getattr(served, of) >= rule[name] for name, of in LEAST.items() if name in rule)
    )


@cache
def _rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = json.loads((Path(__file__).parent / "held.json").read_text(encoding="utf-8"))
    return rules
