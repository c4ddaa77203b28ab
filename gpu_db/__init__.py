"""What machines are, and what they cost.

In reading order:

    gpu, offer            the two nouns: one accelerator; one machine with its price
    load, tables, errors  the bundled data files become nouns, or one sentence says what is wrong
    machines, regions     from a priced row to machines that one can rent, and where they stand
    query                 a word that a person types -> GPUs; the offers that choices leave
    user_offers           a person's own machines and prices, from a CSV that nobody has checked
    ownership             what servers, electricity, rooms and carbon cost: facts for buying
    price_sources         prices of other days, and of public catalogs
    import_tables, import_offers, describe
                          how the data files and the tables of docs/data.md are made
"""
