"""What can be wrong with a model that somebody asks for; every message is one sentence that says the next step.

CatalogError
├── UnknownModel           no bundled model has that name: the user can pick a near one
├── UnknownArchitecture    a config of a family that is not described here: a new file in `architectures/`
├── BadModelConfig         a config.json that contradicts itself or is not one: whoever wrote it
├── UnknownQuantization    a weight format that is not known, or makes no sense for this checkpoint
└── HubError               the Hub gave no model
    ├── HubAway            it did not answer, or asked to wait, or must not be asked: whoever runs the network
    ├── HubRefuses         gated, private or disabled, or a wrong token: the asker needs access
    └── BadHubAnswer       what it sent is not what the protocol says, or too large
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


class HubError(CatalogError):
    """The Hub gave no model."""


class HubAway(HubError):
    """The Hub did not answer in time, asked to wait longer than the bound, or must not be asked (offline)."""


class HubRefuses(HubError):
    """The repository is gated, private or disabled, or the token is not accepted."""


class BadHubAnswer(HubError):
    """An answer that is larger than allowed, broken, or not what the Hub's protocol says."""
