"""Many services that compete for the same machines: one integer program, its engines, a certificate per answer.

In the order in which a fleet passes through:

    services                           what is asked: services, shared limits, ways to pay
    market, gpu_parts, columns, replicas
                                       what may be had; what each service may run there, as columns
    problem, sparse, draft             the integer program in whole numbers, and how it is built piece by piece
    demands, places                    what a service asks of its program; where its replicas may stand
    fleet, calendar_program            a fleet of one month, of many months -> its program
    bounds, dominance, bundles, parts  what no cheapest plan needs; whole plans as columns; parts of a problem
    solve                              which engine answers, and what it is held to
    one_program, branching             small fleets: one program; branch and cut
    decomposition, prices, pricing, survival, master, branched_bound, whole, whole_plans
                                       large fleets: prices, plans at prices, machines bought whole, whole numbers
    relaxation, evaluate, solution     a quick bound; whether counts keep every rule; counts with their bound
    placement, answer, plan            from counts to machines and the FleetPlan
    calendar                           from counts to what to reserve, rent and buy when
    audit                              every promise of it, derived again
    variations, worth, unserved, other_gpus
                                       the problem changed and solved again: worth of limits, who is left out, why not
    errors                             what can go wrong
"""
