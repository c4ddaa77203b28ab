"""What one rank holds of a model as vLLM 0.32 divides it, for tests that compare with that engine's own classes."""

from __future__ import annotations

import numpy as np

from catalog.model import ModelSpec
from gpu_db.gpu import Gpu
from optimizer.engines.find import find_engine
from optimizer.memory.page_groups import plan_pages
from optimizer.memory.pipelines import pipelines
from optimizer.memory.weights import Division, weights_by_stage

VLLM = find_engine("vllm", "0.32.0")
CACHES = ("kv_bytes_per_token_full", "kv_bytes_per_token_window", "state_bytes_per_request")


def rank_weight_bytes(spec: ModelSpec, gpu: Gpu, tensor_parallel: int) -> int:
    """Weights of the first rank, before kernels repack them."""
    one = np.ones(1, dtype=np.int64)
    inner, hidden = VLLM.expert_padding(spec, gpu, served=False)
    division = Division(one * tensor_parallel, one, one, one * inner, one * hidden)
    return int(weights_by_stage(spec, division, pipelines(spec.layer_count, (1,)))[0, 0])


def rank_cache_bytes(spec: ModelSpec, gpu: Gpu, tensor_parallel: int) -> tuple[float, float, float]:
    """CACHES of one rank."""
    kv_format = spec.kv_cache_format or "bf16"
    plan = plan_pages(spec, tensor_parallel, kv_format, VLLM.block_rule(spec, gpu, kv_format))
    return plan.full_bytes_per_token, plan.window_bytes_per_token, plan.state_bytes_per_request
