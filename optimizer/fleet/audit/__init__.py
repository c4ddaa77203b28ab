"""Re-derives every promise of a fleet's plan from the plan and the file's words, without the solver and its program.

Each kind of replica is measured again as `optimizer.audit` measures one; replicas are counted on the machines that
carry them, machines against what their offers allow, demands, survival, spot shares, quotas, budget and power against
the question as it was asked, and sums are added up again. What explains a plan (worths, relaxations) is not looked at.

    audit     the door: everything that a plan says that is not so
    beside    a plan beside what it was made from
    machines  on offer as stated, as many as can be had, holding what they carry
    services  each kind of replica measured again, standing where it may
    demand    what was asked for beside what runs, also when a machine is lost
    limits    limits, sums, the proof
"""
