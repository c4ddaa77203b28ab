"""Demand by month: when committing pays, what several scenarios share, and what certainty costs."""

import pytest

from gpuplan.fleets.errors import BadFleetFile
from gpuplan.fleets.file import read_demand
from gpuplan.fleets.planning import Effort, plan_calendar
from optimizer.errors import BadRequirements
from optimizer.fleet.market import TERM_MONTHS
from optimizer.fleet.services import Buying, Fleet, FleetLimits, MonthDemand, QuotaOn, Service
from optimizer.requirements import Choices, Demand, ServiceLevel

HOURS = 730
RENT, RESERVE = 1.00, 0.60
OFFERS = f"""provider,instance_type,gpu,gpu_count,price_usd_per_hour,billing,region,as_of
acme,one,L40S,1,{RENT},on-demand,eu,2026-11-01
acme,one,L40S,1,{RESERVE},reserved-1y,eu,2026-11-01
"""


@pytest.fixture
def offers(tmp_path):
    file = tmp_path / "offers.csv"
    file.write_text(OFFERS)
    return file


def fleet(by_month, *, scenario_of=None, quota=None, billings=("on-demand", "reserved-1y")):
    """One service that takes one L40S per 500 tokens per second or so; demand in machines by month."""
    service = Service(
        name="chat",
        models=("llama-3.1-8b",),
        demand=Demand(output_tokens_per_second=1.0),
        service_level=ServiceLevel(tpot_seconds=0.05),
        choices=Choices(gpus=("L40S",), providers=("acme",)),
    )
    rows = tuple(
        MonthDemand(
            month=str(month),
            service="chat",
            demand=Demand(output_tokens_per_second=tps) if tps else None,
            scenario=scenario,
        )
        for scenario, demands in ({"": by_month} if scenario_of is None else scenario_of).items()
        for month, tps in enumerate(demands, 1)
    )
    quotas = () if quota is None else (QuotaOn(kind="gpu", name="L40S", most=quota),)
    return Fleet(
        services=(service,), buying=Buying(billings=billings), limits=FleetLimits(quotas=quotas), demand_by_month=rows
    )


def calendar(asked, offers):
    return plan_calendar(asked, offers_file=offers, effort=Effort(gap=0.0))


ONE, TWO = 500.0, 20000.0  # tokens per second of one machine, and of more than one


def test_a_year_of_steady_demand_is_reserved(offers):
    plan = calendar(fleet([ONE] * 12), offers)
    assert plan.status == "optimal"
    assert [(entry.what, entry.count, entry.month, entry.until) for entry in plan.entries] == [
        ("reserve", 1, "1", "12")
    ]
    assert plan.cost_usd == pytest.approx(12 * HOURS * RESERVE)
    assert plan.rented_only_usd == pytest.approx(12 * HOURS * RENT)


@pytest.mark.parametrize(("months", "what"), [(7, "rent"), (8, "reserve")])
def test_a_commitment_is_paid_for_its_whole_term(months, what, offers):
    """Twelve months at 0.60 cost 7.2 months at 1.00: worth it from the eighth month on."""
    plan = calendar(fleet([ONE] * months), offers)
    assert [entry.what for entry in plan.entries] == [what]
    assert plan.cost_usd == pytest.approx(HOURS * (months * RENT if what == "rent" else 12 * RESERVE))


def test_peaks_are_rented_above_what_is_reserved(offers):
    steady = [ONE] * 12
    peak = [*steady[:5], TWO, *steady[6:]]
    plan = calendar(fleet(peak), offers)
    whats = {(entry.what, entry.month) for entry in plan.entries}
    assert ("reserve", "1") in whats
    assert ("rent", "6") in whats
    assert plan.months[5].machines > plan.months[4].machines == 1
    assert sum(month.cost_usd for month in plan.months) == pytest.approx(plan.cost_usd)


def test_months_without_demand_cost_nothing(offers):
    plan = calendar(fleet([ONE, 0, ONE]), offers)
    assert [month.machines for month in plan.months] == [1, 0, 1]
    assert plan.cost_usd == pytest.approx(2 * HOURS * RENT)


def test_the_worst_of_the_scenarios_is_planned_for_and_certainty_has_a_price(offers):
    scenarios = {"low": [ONE] * 12, "high": [ONE] * 6 + [TWO] * 6}
    plan = calendar(fleet(None, scenario_of=scenarios), offers)
    assert set(plan.alone_usd) == {"low", "high"}
    assert plan.cost_usd >= max(plan.alone_usd.values()) - 1
    assert plan.cost_usd <= sum(plan.alone_usd.values())
    low = [month for month in plan.months if month.scenario == "low"]
    high = [month for month in plan.months if month.scenario == "high"]
    assert all(a.machines <= b.machines for a, b in zip(low, high, strict=True))
    assert {entry.scenario for entry in plan.entries if entry.what == "rent"} <= {"low", "high"}


@pytest.mark.parametrize(("quota", "fits"), [(1, False), (100, True)])
def test_a_quota_holds_in_every_month(quota, fits, offers):
    plan = calendar(fleet([ONE, TWO], quota=quota), offers)
    assert plan.dropped == (() if fits else ("chat in 2",))


def test_demand_for_a_service_that_is_not_there_is_refused(offers):
    asked = fleet([ONE]).model_copy(update={"demand_by_month": (MonthDemand(month="1", service="x", demand=None),)})
    with pytest.raises(BadRequirements, match="'x', which is no service"):
        calendar(asked, offers)


def test_terms_are_a_year_and_three():
    assert TERM_MONTHS == {"reserved-1y": 12, "reserved-3y": 36}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("month,service,min_tps\n2027-01,a,x\n", "row 1, min_tps: 'x' is not a rate"),
        ("month,service,min_tps\nMay,a,1\n", "row 1: month: String should match"),
        ("month,service,min_tps\n1,a,1\n1,a,2\n", "month 1, service 'a': it stands twice"),
        ("month,service,tps\n1,a,1\n", "row 1: 'tps' is no word here. Did you mean 'min_tps'?"),
        ("month,service\n", "demand by month is a .csv with the columns"),
    ],
)
def test_bad_demand_is_refused_by_row(text, said, tmp_path):
    file = tmp_path / "demand.csv"
    file.write_text(text)
    with pytest.raises(BadFleetFile) as caught:
        read_demand(file)
    assert said in str(caught.value)
