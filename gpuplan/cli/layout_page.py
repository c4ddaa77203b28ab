"""How one configuration is named on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplan.cli.console import Line, Styled

if TYPE_CHECKING:
    from gpuplan.calculators import Layout


def heading(layout: Layout) -> list[Line]:
    """The model, then where and how it runs."""
    degrees = [
        ("TP", layout.tensor_parallel),
        ("PP", layout.pipeline_parallel),
        ("DP", layout.data_parallel),
        ("EP", layout.expert_parallel),
    ]
    shape = " ".join(f"{name} {degree}" for name, degree in degrees if degree > 1 or name == "TP")
    machines = f" in {layout.nodes} machines" if layout.nodes > 1 else ""
    where = (
        f"{layout.gpus} x {layout.gpu}{machines}: {shape}, {layout.weight_format} weights, "
        f"{layout.kv_cache_format} KV cache, {layout.engine} {layout.engine_version}"
    )
    utilization = layout.gpu_memory_utilization
    limits = (
        f"max_model_len {layout.max_model_len:,}, max_num_seqs {layout.max_num_seqs:,}, "
        f"max_num_batched_tokens {layout.max_num_batched_tokens:,}"
        + (f", gpu_memory_utilization {utilization:g}" if utilization is not None else "")
    )
    return [(Styled(layout.model, "bold"),), (where,), (Styled(limits, "dim"),), ()]
