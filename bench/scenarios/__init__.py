"""Scenarios, and the rounds in which servers meet them.

    python -m bench.scenarios --rounds 7 --scenario connect --peers control fastws

scenarios   what is asked, as data: grids, sets, targets
servers     a server process on its own core: started, found ready, stopped
load        the load generator on another core: its command and its answer
quiet       who else uses these cores, and waiting until nobody does
runs        the record of a run, and the file that a run is appended to
rounds      the order of the runs, repeats, resuming
statistics  from runs to rows: medians, ratios per round, proofs, verdicts
machine     what it all ran on
"""
