"""The page that works every option by hand comes out as the calculator does."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "method" / "memory_options.md"


def test_every_sum_in_the_page_on_options_comes_out() -> None:
    failures, examples = doctest.testfile(str(PAGE), module_relative=False)
    assert examples > 30
    assert failures == 0
