"""The report: docs/benchmarks.md and its charts, from the runs of bench.scenarios.

    python -m bench.report build/bench/runs.jsonl   stores the results and renders them
    python -m bench.report                          renders what is stored again

collect   from the file of runs to results: rows, servers, circumstances
figures   numbers as they stand in text
wire      what bench.wire found: bytes on the wire, memory kept
losses    where fastws is behind, in plain words
markdown  the page
svg       shapes and colours
charts    bars of one scenario; the overview of all
"""
