"""The same batch on a Ray cluster that is there: questions go to its processes, answers come back in order.

Each machine of the cluster has gpuplan installed, and own files (--offers, --factors) at the same path. A process reads
the data once; Ray asks again what a lost machine was asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from gpuplan.batch.answers import Answer
from gpuplan.batch.desk import Desk
from gpuplan.batch.errors import BadOutput
from gpuplan.batch.workers import Handed
from optimizer.requirements import Requirements


class Cluster:
    """A cluster that answers.

    Attributes:
        jobs: questions that it answers at a time.
    """

    def __init__(self, ray: Any, desk: Desk) -> None:
        self.jobs = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        self._ray = ray
        self._desk = ray.put(desk)
        self._answer = ray.remote(num_cpus=1, max_retries=3)(_answer)

    def hand(self, question: Requirements) -> Handed:
        """Give it to the cluster."""
        return _Far(self._ray, self._answer.remote(self._desk, question))


class _Far:
    """An answer that is being made elsewhere."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray = ray
        self._reference = reference

    def result(self) -> Answer:
        """The answer, as soon as it is there."""
        try:
            answer: Answer = self._ray.get(self._reference)
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1][:150] if str(error).strip() else type(error).__name__
            raise BadOutput(
                f"The Ray cluster gave no answer: {reason}; what is written is whole: --resume continues."
            ) from error
        return answer


@contextmanager
def cluster(desk: Desk, address: str) -> Iterator[Cluster]:
    """Connect to a cluster while a batch lasts.

    Raises:
        BadOutput: Ray is not installed here, or there is no cluster at this address.
    """
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise BadOutput("--ray needs Ray here too: pip install 'gpuplan[ray]', of the cluster's version.") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises many kinds for an address where no cluster is
        reason = " ".join(str(error).split())[:120]
        raise BadOutput(f"--ray {address!r}: no cluster answers there: {reason}.") from error
    try:
        yield Cluster(ray, desk)
    finally:
        ray.shutdown()


_DESKS: dict[Desk, Desk] = {}


def _answer(desk: Desk, question: Requirements) -> Answer:
    """Answer at the desk of this process that says the same; its data is read."""
    return _DESKS.setdefault(desk, desk).answer(question)
