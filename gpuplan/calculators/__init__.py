"""One configuration, nothing chosen: what it needs of each GPU's memory, how fast it is, and what would mend it.

In reading order:

    configuration, answers    what is asked, and what is answered
    replica                   the configuration with its nouns looked up
    memory                    `plan memory`
    speed, loads, step_times  `plan estimate`: one load, other loads, where a step's time goes
    contradictions, remedies  settings that do not go together; changes that make it start
"""
