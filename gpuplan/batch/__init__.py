"""Many questions in a table, one answer per row: read with care, solved on all cores, safe from a kill.

In reading order:

    tables, columns, cells        a table of any shape; what its columns mean; one cell -> the word that an option takes
    run                           the whole job: read, understood, solved, written
    desk, workers, on_ray         where questions are answered: one after another, on all cores, on a cluster
    answers, output, spreadsheet  a plan as a row; where rows go so that a kill loses none
    together                      all rows as one fleet
    errors                        what can be wrong
"""
