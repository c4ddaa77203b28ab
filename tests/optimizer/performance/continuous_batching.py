"""A small discrete-event simulation of an engine with continuous batching: an independent route to what arrivals meet.

Each step decodes one token of every running request whose prompt is done and fills in prompts, first come first served,
up to a budget of tokens. A step takes `step + per_request x decoding + per_token x prompt tokens` seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Request:
    arrived: float
    prompt: int
    answer: int
    left: int = field(init=False)
    tokens: int = 0
    first: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.prompt


@dataclass(frozen=True)
class Engine:
    step: float
    per_request: float
    per_token: float
    slots: int
    budget: int


def simulate(engine: Engine, rate: float, prompt: int, answer: int, requests: int, seed: int, *, even: bool = True):
    """TTFT and TPOT of every request after a warm-up, and the mean number in flight.

    Args:
        engine: what steps cost, and its limits.
        rate: arrivals per second, Poisson.
        prompt, answer: tokens; answers are all equally long, or geometric with that mean when not `even`.
        requests: how many arrive.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / rate, requests))
    answers = np.full(requests, answer) if even else random.geometric(1 / answer, requests).clip(2)
    coming = deque(Request(float(a), prompt, int(n)) for a, n in zip(arrivals, answers, strict=True))
    waiting: deque[Request] = deque()
    running: list[Request] = []
    done: list[tuple[float, float]] = []
    now, area, begun = 0.0, 0.0, float(arrivals[requests // 5])
    while coming or waiting or running:
        if not waiting and not running:
            now = max(now, coming[0].arrived)
        while coming and coming[0].arrived <= now:
            waiting.append(coming.popleft())
        while waiting and len(running) < engine.slots:
            running.append(waiting.popleft())
        budget, filling = engine.budget, []
        decoding = [r for r in running if r.left == 0]
        for request in running:
            if request.left and budget:
                taken = min(request.left, budget)
                budget -= taken
                filling.append((request, taken))
        tokens = sum(taken for _, taken in filling)
        took = engine.step + engine.per_request * len(decoding) + engine.per_token * tokens
        if coming and now >= begun:
            area += took * (len(running) + len(waiting))
        now += took
        for request in decoding:
            request.tokens += 1
        for request, taken in filling:
            request.left -= taken
            if not request.left:
                request.tokens, request.first = 1, now
        for request in [r for r in running if r.left == 0 and r.tokens >= r.answer]:
            running.remove(request)
            if request.arrived >= begun:
                done.append((request.first - request.arrived, (now - request.first) / (request.answer - 1)))
    ttft, tpot = np.array(done).T
    return ttft, tpot, area / (float(arrivals[-1]) - begun)
