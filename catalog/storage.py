"""Reads how a checkpoint stores its weights: `quantization_config` in config.json, or ModelOpt's hf_quant_config.json.

The result answers one question: in which scheme is the matrix at this module path? Quantizers write their lists of
modules in four dialects (exact paths, path components, shell wildcards, "re:" expressions); all are understood.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from catalog.blocks import UNDECIDED
from catalog.errors import BadModelConfig, UnknownQuantization
from catalog.model import Matrix
from catalog.quantization import QUANTIZED_PARTS, SCHEMES
from catalog.reading import Fields

_ROOTS = frozenset({"model", "language_model", "text_model", "backbone", "transformer", "module", "llm"})
"""Leading components that differ between a checkpoint, its quantizer's list and the engine; they say nothing."""

_FUSED = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj")
_FUSED |= dict.fromkeys(("gate_proj", "up_proj"), "gate_up_proj")

_LONGEST_NAME = 300
_MOST_NAMES = 100_000
_MOST_WILDCARDS = 5_000
_MOST_EXPRESSIONS = 200
"""Published checkpoints list up to a few thousand names, a few hundred wildcards and a dozen expressions."""

_UNBOUNDED = re.compile(r"(?<!\\)[*+{]")
_NESTED = re.compile(r"[*+}?]\)[*+{]")

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "bf16", "float": "bf16"}
"""Engines serve an fp32 checkpoint in 16 bit unless told otherwise (vLLM's dtype "auto")."""


class Modules:
    """A set of module names as quantizers list them, asked by `holds`."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        names = tuple(entries)
        expressions = [name[3:] for name in names if name.startswith("re:")]
        others = {_without_roots(name) for name in names if not name.startswith("re:")}
        wildcards = {name for name in others if any(c in name for c in "*?[")}
        _refuse_absurd(names, wildcards, expressions)
        self._plain = others - wildcards
        self._expressions = [_expression(text) for text in expressions]
        # One expression for all: checkpoints list hundreds, one or several per layer.
        self._wildcards = re.compile("|".join(map(fnmatch.translate, sorted(wildcards)))) if wildcards else None

    def holds(self, path: str) -> bool:
        """Whether the list names this module, a module around it, or a component of its path."""
        return any(self._holds(spelling) for spelling in _spellings(path))

    def _holds(self, path: str) -> bool:
        parts = path.split(".")
        runs = {".".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)}
        if not runs.isdisjoint(self._plain):
            return True
        around = [".".join(parts[:b]) for b in range(1, len(parts) + 1)]
        if self._wildcards is not None and any(map(self._wildcards.match, around)):
            return True
        rooted = (
            f"{root}{p}" for p in around for root in ("", "model.", "language_model.model.", "model.language_model.")
        )
        return bool(self._expressions) and any(e.match(p) for p in rooted for e in self._expressions)


def _refuse_absurd(names: Sequence[str], wildcards: set[str], expressions: Sequence[str]) -> None:
    """Raise for lists that would take minutes to apply."""
    longest = max(names, key=len, default="")
    if len(longest) > _LONGEST_NAME:
        raise BadModelConfig(
            f"The quantization lists a module of more than {_LONGEST_NAME} characters: {longest[:60]!r}."
        )
    if len(names) > _MOST_NAMES or len(wildcards) > _MOST_WILDCARDS or len(expressions) > _MOST_EXPRESSIONS:
        raise BadModelConfig(
            f"The quantization lists {len(names)} modules, {len(wildcards)} of them wildcards and {len(expressions)} "
            f"expressions; at most {_MOST_NAMES}, {_MOST_WILDCARDS} and {_MOST_EXPRESSIONS} are read."
        )


def _expression(text: str) -> re.Pattern[str]:
    """A compiled "re:" entry; one that could take exponential time on a short name is refused."""
    if len(_UNBOUNDED.findall(text)) > 5 or _NESTED.search(text):
        raise BadModelConfig(f"The quantization's module pattern {text[:60]!r} repeats too often; list them by name.")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadModelConfig(f"The quantization's module pattern {text[:60]!r} is not a regular expression.") from error


def _without_roots(path: str) -> str:
    parts = path.split(".")
    while len(parts) > 1 and parts[0] in _ROOTS:
        parts.pop(0)
    return ".".join(parts)


def _spellings(path: str) -> list[str]:
    """The names that quantizers use for one module: with its fused name, and with the number of an expert."""
    path = _without_roots(path)
    head, _, last = path.rpartition(".")
    spellings = [path]
    if last in _FUSED:
        spellings.append(f"{head}.{_FUSED[last]}")
    spellings += [s.replace(".experts.", ".experts.0.") for s in spellings if ".experts." in s]
    return spellings


@dataclass(frozen=True, slots=True)
class Storage:
    """How a checkpoint stores its matrices.

    Attributes:
        method: the checkpoint's own word, such as "fp8", "awq", "modelopt_fp4"; None if not quantized.
        unquantized: scheme of everything that is not quantized.
        default: scheme of linear layers that no list names; `unquantized` when only listed ones are quantized.
        ignored: modules that stay unquantized.
        listed: modules with a scheme of their own, asked in order.
        quantizes_head: whether the LM head is quantized too.
        kv_cache_format: what the checkpoint prescribes for its KV cache, such as "fp8".
    """

    method: str | None
    unquantized: str
    default: str
    ignored: Modules = field(default_factory=Modules)
    listed: tuple[tuple[Modules, str], ...] = ()
    quantizes_head: bool = False
    kv_cache_format: str | None = None

    def scheme_of(self, matrix: Matrix, path: str) -> str:
        """The scheme of a matrix whose module lives at `path`, such as "model.layers.0.self_attn.q_proj"."""
        if matrix.stored_as != UNDECIDED:
            return matrix.stored_as
        if self.method is None or not self._may_quantize(matrix) or self.ignored.holds(path):
            return self.unquantized
        return next((scheme for modules, scheme in self.listed if modules.holds(path)), self.default)

    def _may_quantize(self, matrix: Matrix) -> bool:
        return (matrix.gemm and matrix.quantizable) and (
            matrix.part in QUANTIZED_PARTS or (self.quantizes_head and matrix.part == "lm_head")
        )


def read_storage(config: Fields, hf_quant_config: Fields | None = None) -> Storage:
    """How the checkpoint of this config stores its weights.

    Args:
        config: the whole config.json; a quantization inside its text_config counts too.
        hf_quant_config: ModelOpt's file beside it, if there is one.

    Raises:
        UnknownQuantization: a method that is not described here; it is never guessed.
    """
    unquantized = _dtype(config)
    quantization = _section(config)
    if hf_quant_config is not None and (quantization is None or _is_modelopt(quantization)):
        return _read_modelopt(hf_quant_config.section("quantization"), unquantized)
    if quantization is None:
        return Storage(None, unquantized, unquantized)
    if _is_modelopt(quantization):
        return _read_modelopt(quantization, unquantized)
    method = quantization.word("quant_method")
    reader = _READERS.get(str(method).lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise UnknownQuantization(f"The config's quant_method {str(method)[:40]!r} is not known; known are {known}.")
    return reader(quantization, unquantized)


def _section(config: Fields) -> Fields | None:
    for holder in (config, config.optional_section("text_config")):
        if holder is not None and "quantization_config" in holder:
            return holder.section("quantization_config")
    return None


def _dtype(config: Fields) -> str:
    text = config.optional_section("text_config")
    word = config.word("dtype", "torch_dtype", default=None)
    if word is None and text is not None:
        word = text.word("dtype", "torch_dtype", default=None)
    if word is None:
        return "bf16"  # transformers writes the key for every checkpoint; engines take 16 bit without it
    name = word.removeprefix("torch.")
    if name not in _DTYPES:
        raise UnknownQuantization(f"The config's dtype {word[:40]!r} is not known; known are {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def _is_modelopt(quantization: Fields) -> bool:
    """ModelOpt's dialect: its method name, or its `quant_algo` key whatever the method name says."""
    method = quantization.get("quant_method")
    return (isinstance(method, str) and method.startswith("modelopt")) or "quant_algo" in quantization


def _names(quantization: Fields, *keys: str) -> tuple[str, ...]:
    name = next((k for k in keys if k in quantization), None)
    return () if name is None else quantization.words(name)


def _read_fp8(quantization: Fields, unquantized: str) -> Storage:
    """DeepSeek's and the engines' own fp8: 128 x 128 blocks, or one scale per matrix."""
    ignored = Modules(_names(quantization, "modules_to_not_convert", "ignored_layers"))
    if "weight_block_size" in quantization:
        block = quantization.sizes("weight_block_size", length=2)
        if block == (1, 32):
            return Storage("fp8", unquantized, "mxfp8", ignored)
        quantization.require(block == (128, 128), "weight_block_size", "[128, 128]")
        return Storage("fp8", unquantized, "fp8_block128", ignored)
    static = quantization.word("activation_scheme", default="dynamic") == "static"
    return Storage("fp8", unquantized, "fp8_tensor_static" if static else "fp8_tensor", ignored)


def _read_mxfp4(quantization: Fields, unquantized: str) -> Storage:
    """gpt-oss: only the experts are in MXFP4."""
    listed = ((Modules(("experts",)), "mxfp4"),)
    ignored = Modules(_names(quantization, "modules_to_not_convert"))
    return Storage("mxfp4", unquantized, unquantized, ignored, listed)


def _read_awq(quantization: Fields, unquantized: str) -> Storage:
    bits, group = quantization.size("bits", "w_bit"), _group(quantization, "group_size", "q_group_size")
    zero = quantization.flag("zero_point", default=True)
    scheme = _integer_scheme(quantization, bits, group, symmetric=not zero)
    return Storage("awq", unquantized, scheme, Modules(_names(quantization, "modules_to_not_convert")))


def _read_gptq(quantization: Fields, unquantized: str) -> Storage:
    bits, group = quantization.size("bits"), _group(quantization, "group_size")
    scheme = _integer_scheme(quantization, bits, group, suffix="_gptq")
    ignored = Modules(_names(quantization, "modules_to_not_convert"))
    return Storage("gptq", unquantized, scheme, ignored, quantizes_head=quantization.flag("lm_head", default=False))


def _read_auto_round(quantization: Fields, unquantized: str) -> Storage:
    """Intel's AutoRound: GPTQ-like integers; zero points are stored even where they are symmetric."""
    bits, group = quantization.size("bits"), _group(quantization, "group_size")
    return Storage("auto-round", unquantized, _integer_scheme(quantization, bits, group))


def _read_fbgemm(quantization: Fields, unquantized: str) -> Storage:
    """Meta's fp8 checkpoints (Llama 3.1 405B FP8): one scale per output channel."""
    ignored = Modules(_names(quantization, "modules_to_not_convert"))
    return Storage("fbgemm_fp8", unquantized, "fp8_channel", ignored)


def _read_bitsandbytes(quantization: Fields, unquantized: str) -> Storage:
    four = quantization.flag("load_in_4bit", "_load_in_4bit", default=False)
    ignored = Modules(_names(quantization, "llm_int8_skip_modules"))
    return Storage("bitsandbytes", unquantized, "nf4_group64" if four else "int8_bitsandbytes", ignored)


def _group(quantization: Fields, *names: str) -> int:
    """Group size along the inputs; 0 for one group over all (written as -1)."""
    return 0 if quantization.get(*names) == -1 else quantization.size(*names, largest=2**14)


def _integer_scheme(q: Fields, bits: int, group: int, *, symmetric: bool = False, suffix: str = "") -> str:
    suffix = suffix or ("_symmetric" if symmetric else "")
    name = f"int{bits}_{f'group{group}' if group else 'channel_weight_only'}{suffix}"
    if name not in SCHEMES:
        raise UnknownQuantization(f"{q.where} asks for {bits}-bit integers in groups of {group}, which is not known.")
    return name


def _read_compressed_tensors(quantization: Fields, unquantized: str) -> Storage:
    """compressed-tensors: one or several groups, each with targets, and one list of ignored modules."""
    groups = quantization.section("config_groups")
    default, listed = unquantized, []
    for name in groups.values:
        group = groups.section(name)
        scheme = _compressed_scheme(group)
        targets = _names(group, "targets") or ("Linear",)
        if any(t in ("Linear", "re:.*") for t in targets):
            default = scheme
        else:
            listed.append((Modules(targets), scheme))
    return Storage(
        "compressed-tensors",
        unquantized,
        default,
        Modules(_names(quantization, "ignore")),
        tuple(listed),
        kv_cache_format=_kv_scheme(quantization),
    )


def _compressed_scheme(group: Fields) -> str:
    weights = group.section("weights")
    bits, kind = weights.size("num_bits", largest=64), weights.word("type", default="int")
    strategy = weights.word("strategy", default=None)
    size = weights.optional_size("group_size", largest=2**14)
    if kind == "float" and bits == 8:
        return _compressed_fp8(weights, strategy, size)
    if kind == "float" and bits == 4:
        weights.require(size in (16, 32), "group_size", "16 (NVFP4) or 32 (MXFP4)")
        if size == 32:
            return "mxfp4"
        return "nvfp4" if "input_activations" in group else "nvfp4_weight_only"
    if kind == "int" and bits == 8 and "input_activations" in group:
        return "int8_channel"
    symmetric = weights.flag("symmetric", default=True)
    return _integer_scheme(weights, bits, 0 if size is None else size, symmetric=symmetric)


def _compressed_fp8(weights: Fields, strategy: str | None, size: int | None) -> str:
    if strategy == "block":
        block = weights.sizes("block_structure", length=2)
        weights.require(block == (128, 128), "block_structure", "[128, 128]")
        return "fp8_block128"
    if size == 32:
        return "mxfp8"
    return "fp8_channel" if strategy == "channel" else "fp8_tensor"


def _kv_scheme(quantization: Fields) -> str | None:
    """The KV-cache format that a checkpoint prescribes: None, or 8-bit float by any of its spellings."""
    value = quantization.get("kv_cache_scheme", "kv_cache_quant_algo")
    if value is None:
        return None
    if isinstance(value, str):
        word = value
    else:
        scheme = Fields(value, "kv_cache_scheme")
        word = f"{scheme.word('type', default='float')}{scheme.size('num_bits', largest=64)}"
    formats = {"fp8": "fp8", "float8": "fp8", "nvfp4": "nvfp4", "int8": "int8"}
    if word.lower() not in formats:
        raise UnknownQuantization(f"The checkpoint's KV-cache scheme {word[:40]!r} is not known; fp8 is.")
    return formats[word.lower()]


_MODELOPT_ALGORITHMS = {
    "FP8": "fp8_tensor_static",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8_channel",
    "FP8_PB_WO": "fp8_block128",
    "FP8_BLOCK_SCALES": "fp8_block128",
    "MXFP8": "mxfp8",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4_weight_only",
    "MXFP4": "mxfp4",
    "W4A16_AWQ": "int4_group128_symmetric",
    "INT4_AWQ": "int4_group128_symmetric",
    "W4A8_AWQ": "int4_group128_symmetric",
    "INT8_SQ": "int8_channel",
}


def _read_modelopt(quantization: Fields, unquantized: str) -> Storage:
    """ModelOpt: one algorithm with exclusions, or MIXED_PRECISION with one algorithm per listed module."""
    word = quantization.word("quant_algo", "quantization_algorithm")
    ignored = Modules(_names(quantization, "exclude_modules", "ignore"))
    kv_format = _kv_scheme(quantization)
    if word != "MIXED_PRECISION":
        scheme = _modelopt_scheme(word)
        return Storage(_modelopt_method(scheme), unquantized, scheme, ignored, kv_cache_format=kv_format)
    listed = _modelopt_layers(quantization.section("quantized_layers"))
    return Storage("modelopt_mixed", unquantized, unquantized, ignored, listed, True, kv_format)


def _modelopt_scheme(word: str | None) -> str:
    if word is None or word.upper() not in _MODELOPT_ALGORITHMS:
        known = ", ".join(_MODELOPT_ALGORITHMS)
        raise UnknownQuantization(f"ModelOpt's quant_algo {str(word)[:40]!r} is not known; known are {known}.")
    return _MODELOPT_ALGORITHMS[word.upper()]


def _modelopt_method(scheme: str) -> str:
    return "modelopt_fp4" if SCHEMES[scheme].bits_per_weight == 4 else "modelopt"


def _modelopt_layers(layers: Fields) -> tuple[tuple[Modules, str], ...]:
    by_scheme: dict[str, list[str]] = {}
    for module in layers.values:
        scheme = _modelopt_scheme(layers.section(module).word("quant_algo"))
        by_scheme.setdefault(scheme, []).append(module)
    return tuple((Modules(modules), scheme) for scheme, modules in by_scheme.items())


_READERS: dict[str, Callable[[Fields, str], Storage]] = {
    "fp8": _read_fp8,
    "mxfp4": _read_mxfp4,
    "awq": _read_awq,
    "gptq": _read_gptq,
    "bitsandbytes": _read_bitsandbytes,
    "compressed-tensors": _read_compressed_tensors,
    "fbgemm_fp8": _read_fbgemm,
    "auto-round": _read_auto_round,
}


def dominant_format(matrices: Sequence[tuple[Matrix, int]]) -> str:
    """The format of most weights, as people call a checkpoint: "bf16", "fp8", "int4", ...

    Args:
        matrices: each with how many times it is stored.
    """
    sizes: dict[str, int] = {}
    for matrix, times in matrices:
        word = SCHEMES[matrix.stored_as].format
        sizes[word] = sizes.get(word, 0) + matrix.parameters * times
    return max(sizes, key=lambda word: sizes[word])
