"""A word -> an Engine."""

from __future__ import annotations

from optimizer.engines.engine import Engine
from optimizer.engines.errors import UnknownEngine
from optimizer.engines.facts import load_facts, parse_version
from optimizer.engines.sglang import Sglang
from optimizer.engines.tensorrt_llm import TensorRtLlm
from optimizer.engines.vllm import Vllm

_CLASSES: dict[str, type[Engine]] = {"vllm": Vllm, "sglang": Sglang, "tensorrt-llm": TensorRtLlm}
ENGINES: tuple[str, ...] = tuple(_CLASSES)
"""Names of the engines that are described here."""

_OTHER_NAMES = {"trtllm": "tensorrt-llm", "tensorrt_llm": "tensorrt-llm", "trt-llm": "tensorrt-llm"}


def find_engine(name: str, version: str | None = None) -> Engine:
    """An engine by its name, at its pinned version or an older one.

    Args:
        name: any of ENGINES, in any case.
        version: None = the version whose behaviour the data file describes.

    Raises:
        UnknownEngine: neither the name nor the version is known.

    >>> find_engine("vLLM").version
    '0.33.0'
    """
    key = _OTHER_NAMES.get(name.lower(), name.lower())
    if key not in _CLASSES:
        raise UnknownEngine(f"No engine is called {name!r}; known are {', '.join(ENGINES)}.")
    facts = load_facts(key.replace("-", "_"))
    asked = version or str(facts["version"])
    if not parse_version(asked):
        raise UnknownEngine(f"{version!r} is not a version of {key}; write it as {facts['version']}.")
    if parse_version(asked) > parse_version(str(facts["version"])):
        raise UnknownEngine(f"{key} {asked} is newer than {facts['version']}, the newest version described here.")
    return _CLASSES[key](key, asked, facts)
