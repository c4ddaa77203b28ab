"""The bundled facts, loaded once for the tests that ask real questions."""

from collections.abc import Callable

import pytest

from catalog.find import find_model
from gpu_db.load import load_gpus, load_offers
from optimizer.engines.find import ENGINES, find_engine
from optimizer.performance.factors import load_factors
from optimizer.search import Knowledge


@pytest.fixture(scope="session")
def knowledge_of() -> Callable[[str], Knowledge]:
    """What is known about a bundled model."""
    engines = {name: find_engine(name) for name in ENGINES}
    gpus, offers, factors = load_gpus(), load_offers(), load_factors()

    def known(model: str) -> Knowledge:
        return Knowledge(find_model(model), offers, gpus, engines, factors)

    return known
