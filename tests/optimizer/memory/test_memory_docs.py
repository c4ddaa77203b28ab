import doctest
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "method" / "memory.md"


def test_every_sum_in_the_page_on_memory_comes_out():
    failures, examples = doctest.testfile(str(PAGE), module_relative=False)
    assert examples > 30
    assert failures == 0
