"""A running deployment out: from a plan to the files that start it, one platform one file in `platforms/`.

In reading order:

    read, deployment, placement, command
                        the plan; its replicas; where each stands; the command that starts it
    formats, platforms  which platforms there are; what each writes
    pods, balancer, ranks, clouds, facts, text
                        what several platforms are made of
    promise             what was promised beside what a benchmark measured
    errors              what can be wrong
"""
