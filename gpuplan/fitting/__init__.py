"""Fitting: from measurements to factors as data. Offline work; the only place that uses scipy.

In reading order:

    runs, held, shapes            measured runs, one clean Run per usable row; the shapes of their models
    bench                         all runs side by side as one table, predicted in one call
    kernels, collectives, priors  what kernels and all-reduces measured alone say before any run is looked at
    serving, power                the fit itself; the two terms of a GPU's power
    intervals, halves, report     error bars from what the fit did not see; the tables of docs/method/latency.md
    own                           a user's own runs -> their factors
"""
