"""`plan memory`: what one configuration needs of each GPU's memory."""

from __future__ import annotations

from gpuplan.calculators.answers import MemoryAnswer
from gpuplan.calculators.configuration import Configuration
from gpuplan.calculators.replica import ConfiguredReplica
from optimizer.cells import memory_at

SHORTEST_SHOWN = 1024


def memory_of(asked: Configuration) -> MemoryAnswer:
    """What one configuration needs of each GPU's memory.

    Raises:
        BadRequirements: the engine cannot run it, or lengths contradict each other.
        catalog.errors.CatalogError, gpu_db.errors.GpuDbError, OptimizerError: a name is unknown.
    """
    replica = ConfiguredReplica(asked, for_speed=False)
    columns = replica.memory(replica.max_num_seqs)
    return MemoryAnswer(
        layout=replica.layout(),
        memory=memory_at(columns).model_copy(update={"occupied_bytes": replica.settings.occupied_bytes}),
        workload=asked.workload,
        requests_by_context=tuple(replica.capacity(tokens) for tokens in _context_lengths(replica.max_model_len)),
        tokens_per_request=round(asked.workload.mean_length),
        longest_context=int(columns.longest_context[0, 0]),
        state_bytes_per_request=int(columns.state_bytes_per_request[0]),
        starts=bool(columns.starts[0, 0]),
        command=replica.engine.command(replica.launch()),
    )


def _context_lengths(most: int) -> list[int]:
    """Lengths worth showing: four times longer each, and the longest.

    >>> _context_lengths(131072)
    [2048, 8192, 32768, 131072]
    """
    lengths = [most]
    while lengths[0] // 4 >= SHORTEST_SHOWN:
        lengths.insert(0, lengths[0] // 4)
    return lengths
