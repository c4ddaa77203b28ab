import re
from pathlib import Path

import pytest

from gpu_db.describe import with_tables
from gpu_db.load import load_user_offers
from gpu_db.offer import RESTRICTIONS
from gpu_db.user_offers import COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_tables_of_the_page_are_those_of_the_data():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run python -m gpu_db.describe docs/data.md"


def test_the_page_names_every_column_and_every_restriction():
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in page] == []
    assert [word for word in RESTRICTIONS if not re.search(rf"\b{word}\b", page)] == []


def test_the_example_of_the_page_is_a_file_that_loads(tmp_path):
    lines = re.findall(r"^    ((?:provider|basement|aws),.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    path = tmp_path / "offers.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    basement, p5 = load_user_offers(path)
    assert (basement.billing, basement.price_usd_per_hour, basement.internode_bytes_per_second) == ("owned", 0, 25e9)
    assert (p5.billing, p5.internode_bytes_per_second) == ("reserved-1y", 50e9)


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="counts"):
        with_tables("# empty")
