import csv
import io
import os
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_db.errors import OfferFileError
from gpu_db.load import load_offers, load_user_offers
from gpu_db.query import override_offers, select_offers, staleness_warnings
from gpu_db.user_offers import COLUMNS, REQUIRED_COLUMNS

HEADER = "provider,instance_type,gpu,gpu_count,price_usd_per_hour"


@pytest.fixture
def offer_file(tmp_path):
    def write(content):
        path = tmp_path / "offers.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def problems_of(path):
    with pytest.raises(OfferFileError) as caught:
        load_user_offers(path)
    assert repr(str(path)) in str(caught.value)
    return caught.value.problems


# What it reads.


def test_a_minimal_row_is_a_machine_with_the_links_of_its_gpu(offer_file):
    (own,) = load_user_offers(offer_file(f"{HEADER}\nbasement,old dgx,A100 SXM4 80GB,8,9.50\n"))
    assert (own.provider, own.gpu, own.gpu_count, own.price_usd_per_hour) == ("basement", "A100 SXM 80GB", 8, 9.5)
    assert (own.scaleup_domain_gpus, own.link_bytes_per_second) == (8, 300e9)
    assert own.internode_bytes_per_second is None, "nobody said that there is a network"
    assert (own.billing, own.region_classes, own.restrictions) == ("on-demand", ("any",), ())
    assert own.source == "offers.csv line 2"


def test_every_column_is_read(offer_file):
    rows = (
        f"{','.join(COLUMNS)}\nme,box,L40S,4,0,eu-west-1,OWNED,2026-11-01,3,1,64,512,2,100,12.5,invoice 7,two racks\n"
    )
    (own,) = load_user_offers(offer_file(rows))
    assert (own.billing, own.region, own.region_class, own.as_of) == ("owned", "eu-west-1", "eu", date(2026, 11, 1))
    assert (own.available_count, own.vcpus, own.memory_bytes) == (3, 64, 512 * 2**30)
    assert (own.scaleup_domain_gpus, own.link_bytes_per_second, own.internode_bytes_per_second) == (2, 100e9, 12.5e9)
    assert (own.source, own.notes) == ("invoice 7", "two racks")


def test_columns_may_stand_in_any_order_with_a_byte_order_mark_and_windows_line_ends(offer_file):
    text = "\ufeffPRICE_USD_PER_HOUR, gpu ,gpu_count,instance_type,provider\r\n3.20,h100,8,box,me\r\n\r\n"
    (own,) = load_user_offers(offer_file(text))
    assert (own.gpu, own.price_usd_per_hour) == ("H100 SXM 80GB", 3.2)


def test_a_price_without_a_date_is_as_old_as_the_file(offer_file):
    path = offer_file(f"{HEADER}\nme,box,H100,8,20\n")
    os.utime(path, (1767225600, 1767225600))  # 2026-01-01 00:00 UTC
    own = load_user_offers(path)
    assert own[0].as_of == date(2026, 1, 1)
    assert "2026-01-01" in staleness_warnings(own, date(2026, 11, 22))[0]


def test_a_machine_that_the_table_knows_keeps_its_network(offer_file):
    (own,) = load_user_offers(offer_file(f"{HEADER},vcpus\nAWS,p5.48xlarge,H100,8,40.00,\n"))
    assert own.internode_bytes_per_second == 50e9
    assert own.vcpus == 192


# What it does to the bundled offers.


def test_an_own_price_replaces_the_bundled_one_of_that_machine_and_no_other(offer_file):
    own = load_user_offers(offer_file(f"{HEADER},region\naws,p5.48xlarge,H100,8,40.00,us-east-1\n"))
    merged = override_offers(load_offers(), own)
    p5 = {offer.region: offer.price_usd_per_hour for offer in select_offers(merged, instance_types=["p5.48xlarge"])}
    assert p5 == {"us-east-1": 40.0, "eu-north-1": 58.8928, "eu-west-2": 71.552}
    assert len(merged) == len(load_offers())


def test_an_own_price_without_a_region_replaces_it_everywhere(offer_file):
    own = load_user_offers(offer_file(f"{HEADER}\naws,p5.48xlarge,H100,8,40.00\n"))
    chosen = select_offers(override_offers(load_offers(), own), instance_types=["p5.48xlarge"])
    assert [offer.price_usd_per_hour for offer in chosen] == [40.0]


def test_an_own_pod_replaces_its_size_only(offer_file):
    own = load_user_offers(offer_file(f"{HEADER}\nrunpod,pod secure,H100 SXM,8,20\n"))
    chosen = select_offers(override_offers(load_offers(), own), providers=["runpod"], gpus=["H100 SXM"])
    secure = {o.gpu_count: o.price_usd_per_hour for o in chosen if o.instance_type == "pod secure"}
    assert secure == {1: 3.99, 2: 7.98, 4: 15.96, 8: 20.0}


def test_owned_machines_are_offered_whatever_billing_is_asked(offer_file):
    own = load_user_offers(offer_file(f"{HEADER},billing\nme,box,H100,8,0,owned\n"))
    assert own[0] in select_offers(override_offers(load_offers(), own), billings=["spot"])
    assert staleness_warnings(own, date(2100, 1, 1)) == ()


# What it refuses: one sentence per problem.


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("$3.20/h", "is '$3.20/h'; write a plain number of US dollars per hour"),
        ("3,20 EUR", "plain number"),
        ("NaN", "plain number"),
        ("inf", "plain number"),
        ("-1", "plain number"),
        ("1e400", "plain number"),
        ("1_000", "plain number"),
        ("٣", "plain number"),
        ("999999999", "from 0 to 100,000"),
        ("0", 'only a machine with billing "owned" may cost nothing'),
        ("", "price_usd_per_hour is empty; it is required"),
    ],
)
def test_a_price_is_a_plain_number_of_dollars_per_hour(offer_file, cell, words):
    quoted = '"' + cell + '"'
    (problem,) = problems_of(offer_file(f"{HEADER}\nme,box,H100,8,{quoted}\n"))
    assert problem.startswith("Line 2: ")
    assert words in problem


@pytest.mark.parametrize("cell", ["0", "-8", "8.5", "0.1667", "1025", "eight", "9" * 5000, "8 "])
def test_a_machine_holds_a_whole_number_of_gpus(offer_file, cell):
    path = offer_file(f"{HEADER}\nme,box,H100,{cell},5\n")
    if cell.strip() == "8":
        assert load_user_offers(path)[0].gpu_count == 8
    else:
        assert "gpu_count" in problems_of(path)[0]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("provider", "=HYPERLINK(1)"),
        ("instance_type", "@SUM(A1)"),
        ("notes", "+cmd|' /C calc'!A0"),
        ("notes", "-1+1"),
        ("region", "us\x00east"),
        ("source", "a\x1bb"),
        ("notes", "x" * 501),
        ("billing", "monthly"),
        ("as_of", "yesterday"),
        ("as_of", "2026-02-30"),
        ("available_count", "many"),
        ("memory_gib", "1.9TB"),
        ("gpu", "H1000"),
        ("gpu", "neuron"),
    ],
)
def test_a_bad_cell_is_one_sentence_with_its_column(offer_file, column, cell):
    row = {"provider": "me", "instance_type": "box", "gpu": "H100", "gpu_count": "8", "price_usd_per_hour": "5"}
    row |= {column: cell}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row))
    writer.writeheader()
    writer.writerow(row)
    (problem,) = problems_of(offer_file(text.getvalue()))
    assert column in problem or "NUL" in problem
    assert len(problem) < 400


def test_all_problems_of_a_file_are_listed(offer_file):
    rows = "me,box,H1000,8,5\nme,box2,H100,0,-5\nme,box3,H100,8,5,extra\nme,ok,H100,8,5\nme,OK,H100,8,6\n"
    problems = problems_of(offer_file(f"{HEADER}\n{rows}"))
    assert [problem.split(":")[0] for problem in problems[:4]] == ["Line 2", "Line 3", "Line 3", "Line 4"]
    assert "stands 2 times" in problems[4]


def test_a_thousand_problems_are_not_a_thousand_lines(offer_file):
    path = offer_file(HEADER + "\n" + "me,box,H100,zero,5\n" * 1000)
    with pytest.raises(OfferFileError, match="and 81 more problems") as caught:
        load_user_offers(path)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "Reading stopped at line 101, after 100 problems."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first line is empty"),
        (b"\n\n", "first line is empty"),
        (HEADER.encode() + b"\n\n", "a header and no rows"),
        (b"provider,gpu\nme,H100\n", "lacks the columns instance_type, gpu_count, price_usd_per_hour"),
        (HEADER.encode() + b",price_eur\nme,box,H100,8,5,6\n", "unknown column 'price_eur'"),
        (HEADER.encode() + b",avalable_count\nme,box,H100,8,5,6\n", "did you mean available_count"),
        (HEADER.encode() + b",gpu\nme,box,H100,8,5,H100\n", "The column gpu stands twice"),
        (HEADER.replace(",", ";").encode() + b"\nme;box;H100;8;5\n", "separated by semicolons"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (HEADER.encode() + b"\nme,b\xf6x,H100,8,5\n", "Byte 60 is not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        (HEADER.encode() + b'\nme,"box,H100,8,5\n', "is not CSV"),
        (HEADER.encode() + b"\nme," + b"x" * 200_000 + b",H100,8,5\n", "field larger than field limit"),
        (HEADER.encode() + b"\nme," + b"x" * 10_000_000 + b",H100,8,5\n", "at most 5,000,000 are read"),
        (b",".join(b"c%d" % i for i in range(100_000)) + b"\n", "100,000 columns"),
        (HEADER.encode() + b"\n" + b"me,box,H100,8,5\n" * 10_001, "more than 10,000 rows"),
    ],
)
def test_a_file_that_is_no_table_of_offers_is_one_sentence(offer_file, content, words):
    (problem,) = problems_of(offer_file(content))
    assert words in problem


def test_a_missing_file_and_a_folder_are_one_sentence(tmp_path):
    assert "No such file" in problems_of(tmp_path / "none.csv")[0]
    assert "cannot be read" in problems_of(tmp_path)[0]
    with pytest.raises(OfferFileError, match="not a path"):
        load_user_offers("a\0b")


cells = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "H100", "8", "3.2", "-1", "nan", "owned", "2026-01-01", "=1+1", "1e9", "aws", "neuron", "0"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(cells, min_size=1, max_size=8), max_size=4), st.booleans())
def test_whatever_the_rows_hold_only_our_error_escapes(tmp_path_factory, rows, full_width):
    path = tmp_path_factory.mktemp("rows") / "offers.csv"
    width = len(REQUIRED_COLUMNS)
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(REQUIRED_COLUMNS)
        writer.writerows([[*row, *["8"] * width][:width] if full_width else row for row in rows])
    try:
        offers = load_user_offers(path)
    except OfferFileError as error:
        assert error.problems  # noqa: PT017
    else:
        assert all(offer.price_usd_per_hour > 0 and offer.gpu_count >= 1 for offer in offers)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_whatever_the_bytes_are_only_our_error_escapes(tmp_path_factory, content, with_header):
    path = tmp_path_factory.mktemp("bytes") / "offers.csv"
    path.write_bytes((HEADER.encode() + b"\n" if with_header else b"") + content)
    with pytest.raises(OfferFileError) as caught:
        load_user_offers(path)
    assert all(problem.endswith((".", "?")) for problem in caught.value.problems)
