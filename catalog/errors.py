"""What can be wrong with a model that somebody asks for; every message is one sentence that says the next step.

CatalogError
├── UnknownModel           no bundled model has that name: the user can pick a near one
├── UnknownArchitecture    a config of a family that is not described here: a new file in `architectures/`
├── BadModelConfig         a config.json that contradicts itself or is not one: whoever wrote it
└── UnknownQuantization    a weight format that is not known, or makes no sense for this checkpoint
"""

from __future__ import annotations


class CatalogError(Exception):
    """Anything wrong with a model; its text is one sentence for people."""


class UnknownModel(CatalogError):
    """No model of that name. `nearest` holds the closest known names, best first."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class UnknownArchitecture(CatalogError):
    """The config names an architecture that no file in `catalog/architectures/` describes."""


class BadModelConfig(CatalogError):
    """A value of the config is missing, of the wrong type or absurd."""


class UnknownQuantization(CatalogError):
    """A quantization that is not known, or that cannot be applied to this checkpoint."""
