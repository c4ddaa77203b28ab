"""How one replica is started: everything that its engine must be told, whatever the engine's words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any

from catalog.model import ModelSpec
from optimizer.memory.adapters import Adapters
from optimizer.memory.speculation import Speculation

HEAD_ADDRESS = "HEAD_ADDRESS"
"""Stands in a command for the address of machine 0 until it is known."""


class NoSuchOption(ValueError):
    """The engine has no option for something that a launch asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One replica, as it is started; where None stands, the engine's own default holds.

    Attributes:
        spec: the checkpoint as published, before any online quantization.
        model: repository id or path of the checkpoint.
        weight_format: in which it is served; when not the checkpoint's own, the engine quantizes while loading.
        kv_format: of the KV cache.
        max_model_len: longest request in tokens.
        max_num_seqs: requests at once, per attention-DP rank.
        tensor_parallel, pipeline_parallel, data_parallel: its shape; data_parallel is attention-DP inside it.
        expert_parallel: whether whole experts are dealt out.
        decode_context_parallel: ranks that divide the tokens of a request among them.
        nodes: machines that it stands on.
        max_num_batched_tokens: per step.
        memory_utilization: share of memory that the engine may take, in the engine's own accounting.
        speculation: how tokens are guessed; None = they are not.
        adapters: LoRA adapters loaded at once; None = none.
        offload_bytes: of weights per GPU that are kept in the host's memory.
        prefix_caching: whether a prefix that requests share is kept once.
        language_model_only: a vision tower is not loaded.
        enforce_eager: no CUDA graphs.
    """

    spec: ModelSpec
    model: str
    weight_format: str
    kv_format: str
    max_model_len: int
    max_num_seqs: int
    tensor_parallel: int
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: bool = False
    decode_context_parallel: int = 1
    nodes: int = 1
    max_num_batched_tokens: int | None = None
    memory_utilization: float | None = None
    speculation: Speculation | None = None
    adapters: Adapters | None = None
    offload_bytes: int = 0
    prefix_caching: bool | None = None
    language_model_only: bool = False
    enforce_eager: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of the replica on all its machines."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def kv_cache_is_the_checkpoints(self) -> bool:
        """Whether the KV format is the checkpoint's own (16 bit unless it prescribes another), which is "auto"."""
        return self.kv_format == (self.spec.kv_cache_format or "bf16")


DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {field.name: field.default for field in fields(Launch) if field.default is not MISSING}
)
"""What every optional field of a Launch is when nothing is asked for."""
