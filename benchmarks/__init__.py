"""How fast is it, next to what one would write by hand: ``python -m benchmarks``.

    python -m benchmarks [SCENARIO ...] [--quick] [--rounds N] [--events N] [--json FILE] [--peers NAME,...]
    python -m benchmarks --list         what there is, and with which bar
    python -m benchmarks compare OLD.json NEW.json
    python -m benchmarks handover       for how long a partition has no owner
    python -m benchmarks scale          what grows with partitions, processors, workers, sizes
    python -m benchmarks budget         where the time of one event goes

scenarios/     the table of bars, one file for each group of rows; scenario.py says what a row is
contenders/    who takes part: loops by hand and runnel-trio, in processes of their own (child.py)
peers/         adapters for other frameworks, in environments of their own (environments.py)
workload.py    what all of them work on
rounds.py      contenders in turn → rows.py: medians, ratios, spreads → table.py, JSON → compare.py
machine.py     what it was measured on
"""
