"""What an engine's own code computed from a model's config, without a GPU -> the same numbers from our model.

The columns are those of a run of vLLM's classes: weight bytes of rank 0, KV bytes per token by kind, state per request,
and the tokens that a pool of given size holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from catalog.model import Layers, Matrix, ModelSpec
from catalog.quantization import UNQUANTIZED
from gpu_db.errors import GpuDbError
from gpu_db.gpu import Gpu
from gpu_db.query import find_gpu
from gpuplan.measuring.cells import count, kv_format, number
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.names import named_model
from gpuplan.measuring.predict import MOST_GPUS, Prediction
from optimizer.engines.engine import Engine
from optimizer.engines.errors import UnknownEngine
from optimizer.engines.find import find_engine
from optimizer.memory.factors import GIB
from optimizer.memory.pipelines import Spans, pipelines
from optimizer.memory.weights import Division, weights_by_stage

WEIGHT_BYTES, FULL, WINDOW = "weight_bytes_rank0", "kv_bytes_per_token_full", "kv_bytes_per_token_window"
STATE, CAPACITY = "state_bytes_per_request", "kv_tokens_capacity"
VERSION = "0.32.0"
"""The vLLM whose classes such tables were made with; a column engine_version overrides it."""

PARTS = (WEIGHT_BYTES, FULL, WINDOW, STATE, CAPACITY)


def predict_truth(row: Mapping[str, str], configs_dir: Path | None = None) -> Prediction:
    """What the memory model says about one row."""
    said = Prediction(engine="vllm", gpu=row.get("gpu", "").strip())
    try:
        engine = find_engine("vllm", row.get("engine_version", "").strip() or VERSION)
        spec = _spec(row, configs_dir)
        gpu = _gpu(row)
        ranks = count(row, "tp", MOST_GPUS)
        if ranks is None:
            raise Unpredictable("its tensor parallelism is not stated")
        stored = kv_format(row.get("kv_cache_dtype", ""), spec.kv_cache_format)
    except (Unpredictable, UnknownEngine) as reason:
        said.reasons = dict.fromkeys(PARTS, str(reason))
        return said
    said.family, said.gpu = spec.family or spec.architecture, gpu.name
    said.values[WEIGHT_BYTES] = loaded_weight_bytes(spec, engine, gpu, ranks)
    _predict_cache(row, said, spec, engine, gpu, ranks, stored)
    return said


def _spec(row: Mapping[str, str], configs_dir: Path | None) -> ModelSpec:
    """The model as the row's engine read it: in 16 bit where its `quant` is empty."""
    spec = named_model({"model": row.get("model", "")}, configs_dir).spec
    if "quant" in row and not row["quant"].strip() and spec.weight_format not in UNQUANTIZED and row.get("dtype"):
        return _in_16_bit(spec)
    return spec


def _in_16_bit(spec: ModelSpec) -> ModelSpec:
    def plain(matrix: Matrix) -> Matrix:
        return matrix if matrix.stored_as in UNQUANTIZED else replace(matrix, stored_as="bf16")

    def group(layers: Layers) -> Layers:
        return replace(layers, matrices=tuple(map(plain, layers.matrices)))

    vision = spec.vision and replace(spec.vision, matrices=tuple(map(plain, spec.vision.matrices)))
    return replace(
        spec,
        layers=tuple(map(group, spec.layers)),
        outside=tuple(map(plain, spec.outside)),
        vision=vision,
        weight_format="bf16",
        quantization_method=None,
        kv_cache_format=None,
    )


def _gpu(row: Mapping[str, str]) -> Gpu:
    try:
        return find_gpu(row.get("gpu", ""))
    except GpuDbError as error:
        raise Unpredictable(str(error)) from error


def loaded_weight_bytes(spec: ModelSpec, engine: Engine, gpu: Gpu, tensor_parallel: int) -> int:
    """Bytes of the parameters that rank 0 allocates, before any kernel repacks them."""
    one = np.ones(1, dtype=np.int64)
    spec = _with_quantized_tower(spec) if engine.quantizes_tower(spec) else spec
    inner, hidden = engine.expert_padding(spec, gpu, served=False)
    division = Division(one * tensor_parallel, one, one, one * inner, one * hidden)
    return int(weights_by_stage(spec, division, _one_stage(spec))[0, 0])


def _with_quantized_tower(spec: ModelSpec) -> ModelSpec:
    """The same model with its tower's divided matrices in the scheme of the language model's."""
    if spec.vision is None:
        return spec
    stored = {matrix.stored_as for group in spec.layers for matrix in group.matrices} - UNQUANTIZED
    scheme = min(stored, default="bf16")
    matrices = tuple(
        replace(matrix, stored_as=scheme) if matrix.gemm and matrix.sharding in ("column", "row") else matrix
        for matrix in spec.vision.matrices
    )
    return replace(spec, vision=replace(spec.vision, matrices=matrices))


def _one_stage(spec: ModelSpec) -> Spans:
    return pipelines(spec.layer_count, (1,))


def _predict_cache(
    row: Mapping[str, str],
    said: Prediction,
    spec: ModelSpec,
    engine: Engine,
    gpu: Gpu,
    tensor_parallel: int,
    stored: str,
) -> None:
    """Rates of the cache, and what a pool of the row's size holds."""
    plan = engine.cache_plan(spec, tensor_parallel, stored, engine.block_rule(spec, gpu, stored))
    rates = plan.rates(_one_stage(spec))[:, 0]
    said.values |= dict(zip((FULL, WINDOW, STATE), map(float, rates), strict=True))
    try:
        pool_gib, length = number(row, "kv_gib", 0, 1 << 20), count(row, "max_model_len", 2**31)
        if pool_gib is None or length is None:
            raise Unpredictable("the size of its pool or its max_model_len is not stated")
    except Unpredictable as reason:
        said.reasons[CAPACITY] = str(reason)
        return
    block = int(plan.block_bytes(_one_stage(spec))[0])
    in_flight = engine.in_flight_tokens(np.array(1), np.array(engine.default_max_batched_tokens(gpu)))
    needed = int(plan.blocks(np.array(length), in_flight))
    blocks = int(pool_gib * GIB) // block if block else 0
    said.values[CAPACITY] = float(int(blocks / max(needed, 1) * length))
    said.kv_tokens_basis = "stated pool"
