"""The procurement report: a plan and what depends on it, said once and written in several formats.

In reading order:

    document                     the nouns: sections of paragraphs, tables and charts
    studies, assumptions         what a report asks beyond its plan, and what it assumes
    content, money, uncertainty  what the report of one plan says
    fleet, calendar              what the report of a fleet, of a calendar says
    sources                      where prices are from, in all of them
    write, markdown, page, workbook, formulas, charts, live_charts, words
                                 how it is written, format by format
    errors                       what can be wrong
"""
