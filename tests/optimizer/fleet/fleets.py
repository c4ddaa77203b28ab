"""Small random fleets, each rule switched on or off, and their optima by an independent route (HiGHS via MathOpt)."""

import numpy as np
from ortools.math_opt.python import mathopt

from optimizer.fleet.draft import FleetDraft
from optimizer.fleet.problem import SHARES, WORK

RULES = (
    "quota",
    "budget",
    "sharing",
    "commitment",
    "least",
    "copies",
    "on_demand_base",
    "survive",
    "lost_replicas",
    "buckets",
    "optional",
    "few",
    "months",
)


def random_fleet(seed, rules=(), services=None, heavy=1):
    """A fleet of a few services on a few kinds of machines; `rules` names what is switched on."""
    rng = np.random.default_rng(seed)
    draft = FleetDraft()
    kinds = int(rng.integers(1, 4))
    months = 2 if "months" in rules else 1
    pools = [[draft.add_resource(f"slots {kind} {month}") for kind in range(kinds)] for month in range(months)]
    budget = draft.add_resource("budget", int(rng.integers(20, 200)) * heavy) if "budget" in rules else None
    quotas = [draft.add_resource(f"quota {kind}", int(rng.integers(1, 5)) * heavy) for kind in range(kinds)]
    _add_supply(draft, rng, rules, pools, quotas, budget)
    for number in range(services or int(rng.integers(1, 4))):
        for month in range(months):
            _add_service(draft, rng, rules, f"{number} in {month}", pools[month], budget, heavy)
    return draft.build()


def _add_supply(draft, rng, rules, pools, quotas, budget):
    if "sharing" not in rules:
        return
    for month in pools:
        for kind, slots in enumerate(month):
            price = int(rng.integers(1, 20))
            uses = {quotas[kind]: 1} if "quota" in rules else {}
            if budget is not None:
                uses[budget] = price
            least = int(rng.integers(1, 4)) if "least" in rules else 1
            draft.add_supply(
                price_micro_usd=price, gives={slots: 4}, uses=uses, most=int(rng.integers(1, 30)), least=least
            )
            if "few" in rules:
                draft.add_supply(price_micro_usd=price // 2, gives={slots: 4}, most=int(rng.integers(0, 2)))
    if "commitment" in rules:
        for kind in range(len(quotas)):
            gives = {month[kind]: 4 for month in pools}
            draft.add_supply(price_micro_usd=int(rng.integers(1, 25)), gives=gives, most=int(rng.integers(0, 5)))


def _add_service(draft, rng, rules, name, pools, budget, heavy):
    required = "optional" not in rules or rng.random() < 0.2
    service = draft.add_service(
        name, required=required, priority=int(rng.integers(0, 3)), weight=int(rng.integers(1, 4))
    )
    columns = int(rng.integers(1, 5))
    survives = "survive" in rules and rng.random() < 0.7
    covers = {}
    if "buckets" in rules and rng.random() < 0.7:
        for _ in range(int(rng.integers(2, 4))):
            cover = draft.add_cover(service, int(rng.integers(0, 30)) * heavy, bucket=True, survives=survives)
            covers[cover] = rng.integers(0, 15, columns)
    else:
        cover = draft.add_cover(service, int(rng.integers(1, 60)) * heavy, survives=survives)
        covers[cover] = rng.integers(1, 40, columns)
        if "on_demand_base" in rules:
            covers[draft.add_cover(service, int(rng.integers(0, 30)))] = rng.integers(0, 2, columns) * covers[cover]
    if "copies" in rules:
        covers[draft.add_cover(service, int(rng.integers(1, 4)))] = np.ones(columns, dtype=int)
    price = rng.integers(0 if "sharing" in rules else 1, 12, columns)
    most = rng.integers(0, 4, columns) if "few" in rules else 100 * heavy
    least = rng.integers(1, 4, columns) if "least" in rules else 1
    lost = rng.integers(1, 3, columns) if "lost_replicas" in rules else 1
    pool = rng.integers(0, len(pools), columns)
    for number in range(columns):
        uses = {pools[pool[number]]: int(rng.integers(1, 5))} if "sharing" in rules else {}
        if "quota" in rules and "sharing" not in rules:
            uses[1 + len(pools) if budget is not None else len(pools)] = 1
        if budget is not None and price[number]:
            uses[budget] = int(price[number])
        draft.add_columns(
            service,
            price_micro_usd=[price[number]],
            covers={cover: [given[number]] for cover, given in covers.items()},
            uses=uses,
            most=np.broadcast_to(most, columns)[number],
            least=np.broadcast_to(least, columns)[number],
            lost_replicas=np.broadcast_to(lost, columns)[number],
        )


def mip_optimum(problem):
    """(served weights by falling priority, cost) of the best plan, or None; HiGHS, every rule written out again."""
    levels = sorted(set(problem.priority[~problem.required].tolist()), reverse=True)
    held = []
    for level in levels:
        found = _solve(problem, held, level)
        if found is None:
            return None
        held.append((level, found))
    cost = _solve(problem, held, None)
    return None if cost is None else ([weight for _, weight in held], cost)


def _solve(problem, held, level):
    model = mathopt.Model()
    most = problem.column_most.tolist()
    counts = [model.add_integer_variable(lb=0, ub=top) for top in most]
    plain = [
        least == 1 and (service < 0 or problem.required[service])
        for least, service in zip(problem.column_least.tolist(), problem.column_service.tolist(), strict=True)
    ]
    used = [None if simple else model.add_binary_variable() for simple in plain]
    served = [model.add_binary_variable() if not must else 1 for must in problem.required.tolist()]
    entries = list(
        zip(
            *map(
                np.ndarray.tolist, (problem.column_covers.row, problem.column_covers.index, problem.column_covers.value)
            ),
            strict=True,
        )
    )
    for column, least in enumerate(problem.column_least.tolist()):
        service = int(problem.column_service[column])
        if plain[column]:
            continue
        model.add_linear_constraint(counts[column] <= most[column] * used[column])
        model.add_linear_constraint(counts[column] >= least * used[column])
        if service >= 0:
            model.add_linear_constraint(used[column] <= served[service])
    gone = {}
    for column, lost in enumerate(problem.column_lost_replicas.tolist() if problem.cover_survives.any() else ()):
        # at least min(lost, count): either `lost` of it, or all of it
        gone[column] = model.add_integer_variable(lb=0, ub=lost)
        many = model.add_binary_variable()
        model.add_linear_constraint(gone[column] >= lost * many)
        model.add_linear_constraint(gone[column] >= counts[column] - max(most[column], 1) * many)
    shares = {}
    for cover in range(problem.covers):
        mine = [(column, value) for column, place, value in entries if place == cover]
        demand, on = int(problem.cover_demand[cover]), served[int(problem.cover_service[cover])]
        if problem.cover_is_bucket[cover]:
            for column, value in mine:
                shares[cover, column] = (model.add_integer_variable(lb=0, ub=SHARES), -(-demand * WORK // value) / WORK)
                if problem.cover_survives[cover]:
                    spare = shares.setdefault(column, model.add_binary_variable())
                    model.add_linear_constraint(shares[cover, column][0] <= SHARES * spare)
            model.add_linear_constraint(mathopt.fast_sum([shares[cover, c][0] for c, _ in mine]) == SHARES * on)
            continue
        given = mathopt.fast_sum([value * counts[column] for column, value in mine])
        model.add_linear_constraint(given >= demand * on)
        if problem.cover_survives[cover]:
            for column, value in mine:
                model.add_linear_constraint(given - value * gone[column] >= demand * on)
    for column, count in enumerate(counts):
        busy = [
            one[0] * (one[1] / SHARES) for key, one in shares.items() if isinstance(key, tuple) and key[1] == column
        ]
        if busy:
            spare = shares.get(column, 0) * int(problem.column_lost_replicas[column])
            model.add_linear_constraint(mathopt.fast_sum(busy) <= count - spare)
    taken = [[] for _ in range(problem.resources)]
    for column, resource, value in zip(
        *map(np.ndarray.tolist, (problem.column_uses.row, problem.column_uses.index, problem.column_uses.value)),
        strict=True,
    ):
        taken[resource].append(value * counts[column])
    for parts, limit in zip(taken, problem.resource_limit.tolist(), strict=True):
        model.add_linear_constraint(mathopt.fast_sum(parts) <= limit)

    def weight_of(one):
        chosen = np.flatnonzero((problem.priority == one) & ~problem.required).tolist()
        return mathopt.fast_sum([int(problem.weight[service]) * served[service] for service in chosen])

    for one, value in held:
        model.add_linear_constraint(weight_of(one) >= value)
    if level is None:
        model.minimize(
            mathopt.fast_sum([p * c for p, c in zip(problem.column_price_micro_usd.tolist(), counts, strict=True)])
        )
    else:
        model.maximize(weight_of(level))
    parameters = mathopt.SolveParameters(relative_gap_tolerance=0.0, absolute_gap_tolerance=0.0)
    result = mathopt.solve(model, mathopt.SolverType.HIGHS, params=parameters)
    if result.termination.reason != mathopt.TerminationReason.OPTIMAL:
        assert result.termination.reason in (
            mathopt.TerminationReason.INFEASIBLE,
            mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED,
        ), result.termination
        return None
    return round(result.objective_value())
