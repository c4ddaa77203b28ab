"""Writes `gpuplan/measuring/data/default_configs.json`: what transformers' config classes say when given nothing.

    python tests/oracles/write_default_configs.py          (needs transformers; 5.19.0 wrote what is there)

Of every class whose architecture the catalog reads, the fields that its shape depends on are kept: a field without
which the catalog reads the same shape is left out. Classes that the catalog refuses are named on stderr.
"""

import json
import sys
from pathlib import Path

import transformers
from transformers.models.auto import configuration_auto, modeling_auto

from catalog.errors import CatalogError
from catalog.read import known_architectures, read_config

DATA = Path(__file__).parents[2] / "gpuplan" / "measuring" / "data" / "default_configs.json"
NOTE = "What the library's config classes say when they are given nothing; tables name them tfdefault/CLASS."
SOURCE = (
    f"transformers {transformers.__version__}: defaults of the fields that shapes depend on, written by "
    "tests/oracles/write_default_configs.py"
)
TEXT = ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",)
MORE = (
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
)


def main():
    configs = {}
    for model_type, name in configuration_auto.CONFIG_MAPPING_NAMES.items():
        try:
            config = defaults(model_type, name)
            if config:
                configs[name] = slim(config)
        except (CatalogError, ImportError, ValueError, AttributeError, TypeError) as error:
            print(f"left out {name}: {error}", file=sys.stderr)
    DATA.write_text(text_of(configs), encoding="utf-8")


def defaults(model_type, name):
    """The config that a class makes of nothing, with its architecture; None where the catalog does not read it."""
    mappings = [getattr(modeling_auto, each, {}).get(model_type) for each in (*MORE, *TEXT)]
    named = [n for each in mappings if each for n in ([each] if isinstance(each, str) else each)]
    read = [n for n in named if n in known_architectures()]
    if not read or not hasattr(transformers, name):
        return None
    config = json.loads(json.dumps(getattr(transformers, name)().to_dict(), default=str))
    whole = "text_config" in config or "thinker_config" in config
    return {**config, "architectures": [read[0] if whole else read[-1]]}


def slim(config):
    """The config without what its shape does not depend on."""
    wanted = read_config(config)

    def without(section, inside):
        for key in list(section):
            kept = section.pop(key)
            if same(config, wanted):
                continue
            section[key] = kept
            if isinstance(kept, dict) and inside < 3:
                without(kept, inside + 1)

    architectures = config["architectures"]
    without(config, 0)
    return {"architectures": architectures, **config}


def same(config, wanted):
    try:
        return read_config(config) == wanted
    except CatalogError:
        return False


def text_of(configs):
    """JSON with one config per line."""
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(configs.items()))
    head = json.dumps({"note": NOTE, "as_of": "2026-11-22", "source": SOURCE}, indent=2).removesuffix("\n}")
    return f'{head},\n  "configs": {{\n{lines}\n  }}\n}}\n'


if __name__ == "__main__":
    main()
