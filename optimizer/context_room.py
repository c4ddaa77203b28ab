"""A word to those who named no context: what room for longer requests than the mean one costs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optimizer.requirements import Objective, Requirements
from optimizer.search import CONTEXT_STEP, Search
from optimizer.uniform import keep_limits, uniform_plans

LONG_TOKENS = 32_768
"""Below this the cache of one longest request decides about no machine."""
LEAST_SAVED_USD = 0.01


def price_of_room(
    search: Search, requirements: Requirements, max_model_len: int, cost_usd_per_hour: float
) -> Iterator[str]:
    """What a context of just one mean request would save; nothing where somebody chose the context, or it is short.

    Args:
        search: knows the model.
        requirements: the question.
        max_model_len: tokens that the plan's replicas accept.
        cost_usd_per_hour: of the plan.
    """
    work, choices = requirements.workload, requirements.choices
    enough = -(-work.longest_request // CONTEXT_STEP) * CONTEXT_STEP
    chosen = choices.max_model_len is not None or work.lengths or requirements.objective is not Objective.COST
    if chosen or max_model_len <= LONG_TOKENS or enough >= max_model_len:
        return
    shorter = requirements.model_copy(update={"choices": choices.model_copy(update={"max_model_len": enough})})
    plans = uniform_plans(search.columns(shorter), shorter)
    best = float(plans.cost_usd_per_hour[keep_limits(plans, shorter)].min(initial=np.inf))
    if best <= cost_usd_per_hour - LEAST_SAVED_USD:
        yield (
            f"max_model_len {max_model_len:,} has room for longer requests than the mean one: if none is longer than "
            f"{enough:,} tokens, --max-model-len {enough} gives a plan for {best:.2f} USD/h or less."
        )
