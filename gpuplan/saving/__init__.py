"""A plan on disk and a question in a link: what they hold, and how they are read back from anybody's hands.

In reading order:

    plan_file, fleet_plan, fingerprints
            a plan as a file, of one question or a fleet; which facts it was made from
    link    a question as the end of an address
    errors  what can be wrong
"""
