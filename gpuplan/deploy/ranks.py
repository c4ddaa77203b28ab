"""The number of a machine among those of its replica, put into its command when it is known."""

from __future__ import annotations

from collections.abc import Sequence


def rank_options(ranks: Sequence[tuple[str, int]], variable: str) -> str:
    """Options whose values are a shell's arithmetic on the machine's number.

    >>> rank_options([("--node-rank", 1), ("--data-parallel-start-rank", 8)], "NODE_RANK")
    '--node-rank "$((NODE_RANK * 1))" --data-parallel-start-rank "$((NODE_RANK * 8))"'
    """
    return " ".join(f'{name} "$(({variable} * {step}))"' for name, step in ranks)


def ranked_words(ranks: Sequence[tuple[str, int]], variable: str) -> tuple[str, ...]:
    """Words in front of an argv that add its rank options; the argv itself is never read by the shell."""
    if not ranks:
        return ()
    return "sh", "-c", f'exec "$@" {rank_options(ranks, variable)}', "sh"
