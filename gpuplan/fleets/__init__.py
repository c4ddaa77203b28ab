"""Many services at once: what people write in a fleet file, the data it needs, and what explains its plan.

In reading order:

    file, vocabulary, plain, errors  a fleet file -> Fleet: its words, plain values, every problem in a sentence
    schema                           the same words as JSON schema
    planning                         look up the data, then solve
    explained, compare               why this plan; several plans side by side
"""
