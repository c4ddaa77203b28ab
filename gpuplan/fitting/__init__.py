"""Fitting: from measurements to factors as data. Offline work; the only place that uses scipy.

In reading order:

    runs, eras, held, shapes      measured runs, one clean Run per usable row; their engines and models
    bench                         all runs side by side as one table, predicted in one call
    kernels, collectives, priors  what kernels and all-reduces measured alone say before any run is looked at
    fit, power                    the fit itself; the two terms of a GPU's power
    left_out, halves, intervals   how far off it is where it did not see; error bars from that
    serving, report               all of it as data; as the tables of docs/method/latency.md
    own                           a user's own runs -> their factors
"""
