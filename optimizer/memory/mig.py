"""A slice that MIG cuts of a GPU, as a GPU of its own, by NVIDIA's name for it: "3g.40gb" of an 80 GB card."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from gpu_db.gpu import Gpu

MEMORY_SLICES = 8
COMPUTE_SLICES = 7
"""A GPU that MIG splits has eight slices of memory and seven of compute."""


class CannotShare(ValueError):
    """A way of sharing that the GPU does not have, or that does not add up."""


def mig_slice(
    gpu: Gpu, compute_slices: int, memory_slices: int, *, of: tuple[int, int] = (COMPUTE_SLICES, MEMORY_SLICES)
) -> Gpu:
    """A MIG instance as a GPU of its own, such as 3 and 4 for "3g.40gb" of an 80 GB card.

    Memory and bandwidth are cut in eighths, compute in sevenths; what a slice's driver shows is up to 0.3 GiB less.
    Slices have no links to each other.

    Args:
        gpu: a card that MIG can split.
        compute_slices: 1 to 7.
        memory_slices: 1 to 8.
        of: compute and memory slices of the whole card; small cards have four of each.

    Raises:
        CannotShare: the card cannot be split, or not so.

    Source: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles".
    """
    if not gpu.mig_capable:
        raise CannotShare(f"{gpu.name} cannot be split by MIG; processes can share it by utilization.")
    whole_compute, whole_memory = of
    if not 1 <= compute_slices <= whole_compute or not 1 <= memory_slices <= whole_memory:
        raise CannotShare(
            f"A slice of {compute_slices} compute and {memory_slices} memory; a GPU has {whole_compute} and "
            f"{whole_memory}."
        )
    bandwidth = gpu.memory_bandwidth_bytes_per_second
    return replace(
        gpu,
        name=f"{gpu.name} MIG {compute_slices}g of {memory_slices}/{whole_memory}",
        memory_bytes=None if gpu.memory_bytes is None else gpu.memory_bytes * memory_slices // whole_memory,
        memory_marketed_bytes=gpu.memory_marketed_bytes * memory_slices // whole_memory,
        memory_bandwidth_bytes_per_second=None if bandwidth is None else bandwidth * memory_slices / whole_memory,
        flop_per_second={name: rate * compute_slices / whole_compute for name, rate in gpu.flop_per_second.items()},
        link_bytes_per_second=None,
        scaleup_domain_gpus=1,
        mig_capable=False,
        aliases=(),
    )


GB = 1_000_000_000
NAMES_MAY_DIFFER = 0.1
"""Names round to whole GB, of what the driver has left for slices: "1g.34gb" is an eighth of a 288 GB card."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How MIG cuts a card: each profile's compute slices -> the memory slices that it can have.

    Attributes:
        compute_slices, memory_slices: of the whole card.
        profiles: pairs of compute and memory slices, as they are sold.
    """

    compute_slices: int
    memory_slices: int
    profiles: tuple[tuple[int, int], ...]


SEVENTHS = Geometry(7, 8, ((1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8)))
QUARTERS = Geometry(4, 4, ((1, 1), (2, 2), (4, 4)))
HALVES = Geometry(2, 2, ((1, 1), (2, 2)))
CUT_OTHERWISE = {"A30": QUARTERS, "RTX PRO 6000": QUARTERS, "RTX PRO 5000": HALVES, "RTX PRO 4500": HALVES}
"""Cards with four or two slices, by how their names begin; all others have seven.

Source: NVIDIA Multi-Instance GPU User Guide, "Supported GPUs" (four and two instances at most) and "Supported MIG
Profiles", docs.nvidia.com/datacenter/tesla/mig-user-guide, read 2026-11-22.
"""
PROFILES_UNKNOWN = ("Jetson", "Rubin")
"""Cards that MIG splits and whose profiles nobody has published."""

_PROFILE = re.compile(r"(\d)g\.(\d{1,3})gb", re.IGNORECASE | re.ASCII)


def mig_profile(gpu: Gpu, profile: str) -> Gpu:
    """One MIG instance as a GPU of its own.

    Args:
        gpu: a card that MIG can split.
        profile: "1g.10gb", "3g.40gb", ...

    Raises:
        CannotShare: the card cannot be split, or has no such profile.
    """
    geometry = geometry_of(gpu)
    for compute, memory in geometry.profiles:
        if _names(profile, gpu, geometry, compute, memory):
            part = mig_slice(gpu, compute, memory, of=(geometry.compute_slices, geometry.memory_slices))
            return replace(part, name=f"{gpu.name} MIG {profile.lower()}")
    raise CannotShare(f"{gpu.name} has no MIG profile {profile!r}; it has {', '.join(profile_names(gpu))}.")


def geometry_of(gpu: Gpu) -> Geometry:
    """How MIG cuts a card.

    Raises:
        CannotShare: it does not, or nobody has published how.
    """
    if not gpu.mig_capable or gpu.vendor != "NVIDIA":
        raise CannotShare(f"{gpu.name} cannot be split by MIG; processes can share it with --share.")
    if gpu.name.startswith(PROFILES_UNKNOWN):
        raise CannotShare(f"The MIG profiles of {gpu.name} are not published.")
    return next((cut for name, cut in CUT_OTHERWISE.items() if gpu.name.startswith(name)), SEVENTHS)


def profile_names(gpu: Gpu) -> tuple[str, ...]:
    """The profiles of a card, memory rounded to whole GB of what is sold; NVIDIA's own names may be a little lower.

    >>> from gpu_db.query import find_gpu
    >>> profile_names(find_gpu("H100 SXM 80GB"))
    ('1g.10gb', '1g.20gb', '2g.20gb', '3g.40gb', '4g.40gb', '7g.80gb')
    """
    geometry = geometry_of(gpu)
    return tuple(f"{compute}g.{_gb(gpu, geometry, memory):.0f}gb" for compute, memory in geometry.profiles)


def _gb(gpu: Gpu, geometry: Geometry, memory: int) -> float:
    return gpu.memory_marketed_bytes * memory / geometry.memory_slices / GB


def _names(profile: str, gpu: Gpu, geometry: Geometry, compute: int, memory: int) -> bool:
    found = _PROFILE.fullmatch(profile.strip())
    if found is None or int(found[1]) != compute:
        return False
    exact = _gb(gpu, geometry, memory)
    return abs(int(found[2]) - exact) <= max(NAMES_MAY_DIFFER * exact, 1)
