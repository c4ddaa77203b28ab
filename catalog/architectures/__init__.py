"""One model family, one file, found by this folder.

A file declares ARCHITECTURES (class names in config.json), MODEL_TYPES, and `read(config: Fields) -> Shape`, which puts
blocks of `catalog.blocks` and `catalog.mixers` together under the module names of published checkpoints. Storage is
not its concern: `catalog.read` applies the checkpoint's quantization by those names. A new family needs its file and
its rows in `tests/oracles/`.
"""
