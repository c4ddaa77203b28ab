"""What to buy: how much memory, how fast, which machines and how many.

The rooms, in the order in which a question passes through them:

    solve                              requirements, model, offers, factors -> Plan: the story in one screen
    requirements                       what is asked: work, promises, limits, choices
    settings, shapes, replica_columns  how engines are started; every way to lay out a replica, as columns
    engines, memory, performance       what runs, whether it fits, how fast it is
    candidates, cells                  the table of all replicas that could serve; one cell of it as a record
    open_loop, promises                what they keep under random arrivals; which end of an error bar is promised
    pruning, uniform                   which of them the solver must see
    cp_sat, search                     how many of each: the integer program; the same for questions next to this one
    packing, answer, plan              from counts to machines and the Plan
    audit                              every promise of it, derived again
    explain, relaxations, patience, context_room, frontier
                                       why not otherwise; why nothing fits; what else would give
    cost, energy                       arithmetic of owning and of watts
    fleet                              many services under shared limits
    errors                             what can go wrong
"""
