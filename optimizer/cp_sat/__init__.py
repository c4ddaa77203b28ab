"""The only folder that imports ortools: the program, its rules and its goals.

In reading order:

    library, interruption, clock      the solver's Python face without pandas; Ctrl-C; whether time cut it short
    integers                          the scale of each unit, and which way it rounds
    program, constraints, objectives  one question: how many of what; one function per rule, one per goal
    fleet_compact, fleet_linear       fleets: the whole program; linear programs for bounds
"""
