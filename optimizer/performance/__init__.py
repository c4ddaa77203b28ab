"""How fast and how hot, with honest uncertainty.

From below:

    operations                    what GPUs have to do: products, cache reads, messages
    rates, collectives            how fast a GPU does each kind of work, and a group adds up vectors
    step, breakdown               one step of the engine; where its time goes
    serving, arrivals, shortcuts  a steady load; random arrivals; cached prefixes and guessed tokens
    power                         the watts that all this draws
    certainty                     how far off an estimate may be
    factors                       fitted factors, with the certificate of their birth
    estimate                      the door: a table of replicas -> speed, watts, certainty
"""
