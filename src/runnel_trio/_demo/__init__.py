"""What ``runnel-trio demo`` runs: real flights through two workers, and a check of the result.

    flights      the app, written as users write theirs
    _replay      a file of flights through it
    sample.*     the flights of a week, and the histories that must come of them

It is in the package so that it can run where only the wheel is installed. `examples/flights` says more.
"""
