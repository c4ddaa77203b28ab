"""Measuring: what servers logged or benchmarks measured, and how far our models were from it.

In reading order:

    tables, cells, errors  a CSV from strangers -> rows; one cell -> a value in our words
    logs, signs            a server's start-up log -> a measured row; the lines by which servers say it
    names, cards, releases, predict, memory_check, report
                           memory: the model and cards that a row means, predictions, errors by part
    serving_rows, serving_words, shortcut_words, serving_predict, serving_check, serving_report
                           speed: the same
    truth                  what an engine's own code computed, beside our model
"""
