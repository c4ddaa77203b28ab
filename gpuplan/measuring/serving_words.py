"""Words in rows of serving benchmarks -> the model, the card, the engine and the load that they mean.

What a word leaves open is refused with a sentence; what stands in for it is named in `assumed`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from catalog.errors import CatalogError
from catalog.model import ModelSpec
from catalog.quantization import SCHEMES, UNQUANTIZED, requantized, stored_in
from gpu_db.errors import GpuDbError
from gpu_db.gpu import Gpu
from gpu_db.query import find_gpu
from gpuplan.fitting.eras import era_of
from gpuplan.fitting.runs import GPU_NAMES
from gpuplan.fitting.shapes import find_measured_model
from gpuplan.measuring.cards import one_card
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.names import named_model

Kind = Literal["closed", "static", "offline", "rate"]
"""closed: so many requests always in flight. static: a batch that starts and ends together. offline: all requests at
once, as many in flight as memory holds. rate: so many requests per second arrive."""


@dataclass(frozen=True)
class Load:
    """How a server was loaded.

    Attributes:
        amount: requests in flight (closed, static), requests in all (offline; infinite when not stated), requests per
            second (rate).
    """

    kind: Kind
    amount: float


_IN_FLIGHT = (
    r"(?:max[ _-])?(?:concurrency|concurrent)(?:[ _-](?:requests|users))?|conc|users|clients|batch(?:[ _-]size)?|bs"
)
_RATE = r"(?:request[_ -])?(?:rate|qps|rps)\s*[=:]?\s*"
_OF_ALL = r"(?:\(\s*([\d,]+)\s*(?:requests|prompts)\s*\))?"
_LOADS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(rf"(?:{_IN_FLIGHT})\s*[=:]?\s*(\d+(?:\.\d+)?)"), "closed"),
    (re.compile(r"(\d+)\s*(?:concurrent|concurrency|users|clients)(?:[ _-](?:requests|users|clients))?"), "closed"),
    (re.compile(r"(1)\s*(?:request|prompt)\b.*"), "closed"),
    (re.compile(rf"(?:offline(?:/max)?|max|{_RATE}inf)\s*{_OF_ALL}"), "offline"),
    (re.compile(rf"{_RATE}(\d+(?:\.\d+)?)(?:\s*(?:req(?:uests)?)?/s)?"), "rate"),
    (re.compile(r"([\d,]+)\s*(?:requests|prompts)\b.*"), "offline"),
)
_STATIC = re.compile(r"\bstatic\b|benchmark_latency|\bbatch \d+, \d+ tokens generated", re.IGNORECASE)
_STATIC_BATCH = re.compile(r"(?:benchmark|session)[^;]*?, batch size (\d+)", re.IGNORECASE)


def load_of(text: str, note: str) -> Load:
    """The load that a cell names, with what the row's note adds.

    Raises:
        Unpredictable: it names none.

    >>> load_of("concurrency=64", ""), load_of("rate=inf (1000 requests)", "")
    (Load(kind='closed', amount=64.0), Load(kind='offline', amount=1000.0))
    >>> load_of("64 concurrent users", ""), load_of("QPS: 4", "")
    (Load(kind='closed', amount=64.0), Load(kind='rate', amount=4.0))
    >>> load_of("rate=4.5", ""), load_of("concurrency=8", "static batch of equal-length prompts").kind
    (Load(kind='rate', amount=4.5), 'static')
    """
    words = text.strip().lower()
    for pattern, kind in _LOADS:
        match = pattern.fullmatch(words)
        if match:
            amount = float(match[1].replace(",", "")) if match[1] else float("inf")
            if not amount > 0:
                raise Unpredictable(f"its load is {text[:40]!r}, which is none")
            return _noted(Load(kind, amount), note)
    raise Unpredictable(f"its load is {text[:40]!r}, which is not understood" if words else "its load is not stated")


def _noted(load: Load, note: str) -> Load:
    if load.kind == "closed" and _STATIC.search(note):
        return Load("static", load.amount)
    batch = _STATIC_BATCH.search(note)
    return Load("static", float(batch[1])) if batch and load.kind == "offline" else load


_ENGINES = (
    ("tensorrt-llm", re.compile(r"tensorrt|trt-?llm", re.IGNORECASE)),
    ("sglang", re.compile(r"sglang", re.IGNORECASE)),
    ("vllm", re.compile(r"vllm", re.IGNORECASE)),
)


def engine_of(name: str, version: str, date: str, vendor: str) -> str:
    """The engine in whatever words, and its era (see `era_of`).

    >>> engine_of("vllm", "0.11.1", "", "NVIDIA"), engine_of("TRT-LLM", "1.2.0rc6", "", "NVIDIA")
    ('vllm sync', 'tensorrt-llm')
    >>> engine_of("vLLM", "", "2024-11", "AMD"), engine_of("lmdeploy-turbomind", "0.2.0", "", "NVIDIA")
    ('vllm V0', 'lmdeploy-turbomind')
    """
    known = next((engine for engine, pattern in _ENGINES if pattern.search(name)), None)
    if known is None:
        if not re.search(r"[a-z]{3}", name, re.IGNORECASE) or name.upper().startswith("CUDA"):
            raise Unpredictable(f"its engine is {name[:40]!r}, which is none" if name else "its engine is not stated")
        return name.strip().lower()[:60]
    return era_of(known, version, date, vendor)


def gpu_of(text: str) -> tuple[Gpu, str]:
    """The card, and what was assumed about it.

    Raises:
        Unpredictable: no card, or several, have this name.

    >>> gpu_of("H100-SXM-80GB")[0].name, gpu_of("MI355X")[0].name, gpu_of("A100")[1]
    ('H100 SXM 80GB', 'MI355X 288GB', 'GPU A100 SXM 80GB')
    >>> gpu_of("8xA100-SXM-40G")[0].name
    'A100 SXM 40GB'
    """
    name = one_card(text)
    if not name:
        raise Unpredictable("its GPU is not stated")
    for choice in (
        _NAMES.get(name) or GPU_NAMES.get(name, name),
        name.replace("-", " "),
        re.sub(r"[-_ ](SXM\d?|OAM)\b", "", name),
    ):
        try:
            gpu = find_gpu(choice)
        except GpuDbError:
            continue
        form = "" if gpu.name.lower().replace(" ", "-") == name.lower() or name not in _OPEN else f"GPU {gpu.name}"
        return gpu, form
    raise Unpredictable(f"its GPU {name[:40]!r} is not known, or several have that name")


_NAMES = {
    "MI250X": "MI250X 128GB (2 GCD)",
    "GB300": "GB300 NVL72 (per GPU)",
    "GB200-NVL72": "GB200 NVL72 (per GPU)",
    "GB300-NVL72": "GB300 NVL72 (per GPU)",
    "B300-SXM": "B300 SXM 288GB",
    "B300": "B300 SXM 288GB",
    "GH200": "GH200 96GB",
    "GH200-96GB": "GH200 96GB",
    "GH200-144GB": "GH200 144GB",
    "H20": "H20 96GB",
    "A100-PCIe-40GB": "A100 PCIe 40GB",
    "A100-PCIe-80GB": "A100 PCIe 80GB",
    "A100-SXM-40GB": "A100 SXM 40GB",
    "TPU-v6e": "TPU v6e (Trillium)",
}
"""Names of benchmarks -> names of gpu_db."""

_OPEN = frozenset({"H100", "A100", "H200", "RTX-PRO-6000-Blackwell"})
"""Names that leave a card's form open."""

_FORMATS = (
    ("int8 weights", re.compile(r"int8[-_]?(gptq|weight|wo|w8a16)|w8a16|gptq[-_]?(int8|8bit)")),
    ("int8", re.compile(r"int8|w8a8|smoothquant")),
    ("mxfp4", re.compile(r"mxfp4")),
    ("nvfp4", re.compile(r"nvfp4|fp4")),
    ("nf4", re.compile(r"nf4|bnb|bitsandbytes")),
    ("int4", re.compile(r"int4|awq|gptq|w4a16|4bit|autoround")),
    ("fp8", re.compile(r"fp8|f8")),
    ("bf16", re.compile(r"bf16|fp16|bfloat16|float16|half")),
)
_STORED = {
    "int8 weights": ("int8_group128_gptq", "gptq"),
    "nf4": ("nf4_group64", "bitsandbytes"),
    "mxfp4": ("mxfp4", "quark"),
}


def format_of(text: str) -> str | None:
    """The weight format that a cell names; None when it is empty.

    >>> format_of("int4-w4a16"), format_of("int8-gptq"), format_of("int8-w8a8"), format_of("")
    ('int4', 'int8 weights', 'int8', None)
    """
    words = text.strip().lower()
    if not words:
        return None
    for name, pattern in _FORMATS:
        if pattern.search(words):
            return name
    raise Unpredictable(f"its weights are stored as {text[:40]!r}, which is not described here")


_NAME = re.compile(r"[\w.-]{1,128}(/[\w.-]{1,128})?", re.ASCII)


def model_of(text: str, weights: str | None, configs_dir: Path | None) -> ModelSpec:
    """The model in the weight format that was served; its own when the row does not say.

    Raises:
        Unpredictable: it is not known, or cannot be stored that way.
    """
    name = re.sub(r"\s*\(.*\)\s*$", "", text.strip())
    if not _NAME.fullmatch(name) or Path(name).exists():
        raise Unpredictable(f"{name[:60]!r} is no model's name" if name else "its model is not named")
    found = _spec(name, weights, configs_dir)
    if isinstance(found, str):
        raise Unpredictable(found)
    return found


@lru_cache(maxsize=4096)
def _spec(name: str, weights: str | None, configs_dir: Path | None) -> ModelSpec | str:
    """The spec, or why there is none."""
    if configs_dir is None or not _in_folder(name, configs_dir):
        try:
            return find_measured_model(name, weights or "bf16")
        except (CatalogError, LookupError):
            pass  # a quantizer's or a lab's own name: below
    try:
        return _stored(_shape(name, configs_dir), weights)
    except Unpredictable as reason:
        return str(reason)
    except (CatalogError, LookupError) as reason:
        return f"{name} is not known as {weights}: {reason}"[:300]


def _in_folder(name: str, folder: Path) -> bool:
    places = (name.replace("/", "--"), name.rsplit("/", maxsplit=1)[-1])
    return any((folder / place / "config.json").is_file() for place in places)


_QUANTIZERS = re.compile(
    r"[-_.](awq|gptq|autoround|int4|int8|4bit|8bit|fp8|kv|fp4|nvfp4|mxfp4|w4a16|w8a8|bnb|dynamic|quantized|preview)(?=[-_.]|$)",
    re.IGNORECASE,
)


def _shape(name: str, configs_dir: Path | None) -> ModelSpec:
    """The model of that name, or of the name without its quantizer's words and its owner."""
    reason: Unpredictable | None = None
    stem = _QUANTIZERS.sub("", name)
    for choice in dict.fromkeys(
        (name, stem, re.sub(r"(?i)-(instruct|chat|base|it|hf)\b", "", stem), stem.replace("Meta-", ""))
    ):
        try:
            return named_model({"model": choice}, configs_dir).spec
        except Unpredictable as wrong:
            reason = reason or wrong
        try:
            return find_measured_model(_owned(choice), "bf16")
        except (CatalogError, LookupError):
            continue
    raise reason or Unpredictable(f"{name} is not known")


def _owned(name: str) -> str:
    """A name under the owner under whom its shape is known, if it is."""
    return _owners().get(name.rsplit("/", maxsplit=1)[-1].lower(), name)


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, str]:
    from gpuplan.fitting.shapes import known_names

    return {name.rsplit("/", maxsplit=1)[-1].lower(): name for name in known_names()}


def _stored(spec: ModelSpec, weights: str | None) -> ModelSpec:
    """The same shape in a weight format."""
    if weights is None or weights == spec.weight_format or {weights, spec.weight_format} <= UNQUANTIZED:
        return spec
    if weights in UNQUANTIZED and spec.weight_format not in UNQUANTIZED:
        return _unpacked(spec)
    if weights in _STORED:
        scheme, method = _STORED[weights]
        return stored_in(spec, scheme, method)
    if any(SCHEMES[m.stored_as].format == weights for group in spec.layers for m in group.matrices):
        return spec
    if spec.weight_format not in UNQUANTIZED:
        spec = _unpacked(spec)
    return requantized(spec, weights)


def _unpacked(spec: ModelSpec) -> ModelSpec:
    return stored_in(spec, "bf16", "")
