"""What a replica need not compute one token at a time: prompts whose beginning is cached, and tokens that are guessed.

A step checks `tokens` guesses of each running request at once and keeps those up to the first wrong one, and one of its
own behind them. With each guess accepted alike and independently, of k guesses

    kept = (1 - a^(k + 1)) / (1 - a)

tokens are kept per step (Leviathan et al. 2023, arXiv:2211.17192, equation 1). The step costs k + 1 tokens of each
request, and k steps of what guesses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

from catalog.model import ModelSpec
from optimizer.memory.speculation import Speculation


@dataclass(frozen=True)
class Shortcuts:
    """What spares work.

    Attributes:
        prefix_hit_rate: share of the prompt's tokens whose keys and values are cached already.
        speculation: how tokens are guessed; None = they are not.
        acceptance_rate: share of guesses that are right, given that those before are; needed with `speculation`.
    """

    prefix_hit_rate: float = 0.0
    speculation: Speculation | None = None
    acceptance_rate: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.prefix_hit_rate <= 1:
            raise ValueError(f"A prefix hit rate lies between 0 and 1, not at {self.prefix_hit_rate}.")
        if self.speculation is not None and (self.acceptance_rate is None or not 0 <= self.acceptance_rate <= 1):
            raise ValueError(f"Guessing needs an acceptance rate between 0 and 1, not {self.acceptance_rate}.")

    @property
    def guesses(self) -> int:
        """Tokens that are guessed per step and request."""
        return 0 if self.speculation is None else self.speculation.tokens

    @property
    def tokens_per_step(self) -> float:
        """Output tokens of one request in one step."""
        return kept_tokens(self.acceptance_rate or 0.0, self.guesses)


NONE = Shortcuts()


def kept_tokens(acceptance_rate: float, guesses: int) -> float:
    """Tokens that one step gives one request on average.

    >>> kept_tokens(0.5, 2), kept_tokens(0.0, 4), kept_tokens(1.0, 4)
    (1.75, 1.0, 5.0)
    """
    return float(sum(acceptance_rate**place for place in range(guesses + 1)))


def guesser_of(spec: ModelSpec, speculation: Speculation | None) -> ModelSpec | None:
    """What runs once for each guess: the draft, or the checkpoint's own layers for it with the model's LM head.

    None for n-grams, whose look-up no GPU does. EAGLE heads that bring no LM head use the model's, which has the same
    shape for the same vocabulary.
    """
    if speculation is None or speculation.method == "ngram":
        return None
    if speculation.draft is not None:
        return speculation.draft
    own = tuple(replace(group, next_token_prediction=False) for group in spec.layers if group.next_token_prediction)
    return replace(spec, layers=own)


def published_acceptance(method: str) -> list[Mapping[str, object]]:
    """Acceptance rates that were published for a method: `low`, `high`, `what`, `source`, `as_of`."""
    text = resources.files("optimizer.performance").joinpath("data/acceptance.json").read_text(encoding="utf-8")
    return [fact for fact in json.loads(text) if fact["method"] == method]
