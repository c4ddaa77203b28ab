"""The command line: one command, one file.

In reading order:

    app, options, words             finds and runs a command; options in typer's terms; what people type -> numbers
    commands                        one command, one file
    question, place, additions, configuration, length_table, saved
                                    options that several commands share -> nouns
    question_words, rows, together  a question -> its options; rows of a table -> questions
    console, plot, progress         how lines are printed
    plan_page, pareto_page, fleet_page, calendar_page, estimate_page, layout_page, comparison
                                    one answer, one page
"""
