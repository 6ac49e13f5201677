#!/usr/bin/env python3
"""What the runner itself costs: start-up, asking and telling, the journal, and the rest of a short run.

    scripts/bench/runner.py [--trials 10000] [KEY=VALUE ...]

The last row is a search of 20 short trials with the overrides given: its share is the wall time in which
nothing was meta-trained, evaluated or tested, start-up excluded. Run it on a quiet machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

from nasmeta.run.journal import Journal
from nasmeta.testing.strategies import made, told
from nasmeta.testing.toy_space import ToySpace, distance_score

SHORT = [
    "budget.trials=20",
    "budget.search_iterations=20",
    "budget.final_iterations=20",
    "budget.valid_tasks=100",
    "budget.final_tasks=100",
    "budget.test_tasks=100",
    "progress=false",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    rows = [
        ["nasmeta --help", f"{command('--help'):.2f} s"],
        ["nasmeta search --cfg job", f"{command('search', '--cfg', 'job'):.2f} s"],
        *(
            [
                f"{name}: an ask and a tell, the last tenth of {options.trials}",
                f"{asks(name, options.trials):.2f} ms",
            ]
            for name in ("random", "evolution")
        ),
        [f"opening a journal of {options.trials} trials", f"{journal(options.trials):.2f} s"],
        ["the runner's share of a run of 20 short trials", f"{100 * share(options.overrides):.2f} %"],
    ]
    print(tabulate(rows, disable_numparse=True))


def command(*arguments: str) -> float:
    """The median time of five runs of a command, in seconds."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "nasmeta", *arguments], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def asks(option: str, trials: int) -> float:
    """Milliseconds for an ask and a tell, over the last tenth of the trials."""
    strategy = made(option, space=ToySpace(length=10, base=6), trials=trials)
    start = 0.0
    for trial in range(trials):
        if trial == trials * 9 // 10:
            start = time.perf_counter()
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, distance_score(proposal.arch)))
    return 1000 * (time.perf_counter() - start) / (trials - trials * 9 // 10)


def journal(trials: int) -> float:
    """Seconds to open and check a journal of that many trials, with three events each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as written:
            written.durable = False
            for trial in range(trials):
                for event in ("asked", "measured", "finished"):
                    written.append(
                        event, trial=trial, arch="conv3-64.bn.relu.max_" * 4 + "flatten", score=0.5
                    )
        start = time.perf_counter()
        with Journal(path) as read:
            assert len(read.records) == 3 * trials
        return time.perf_counter() - start


def share(overrides: list[str]) -> float:
    """The share of a search's wall time that is not spent in its trials."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"hydra.run.dir={folder}/run"
        subprocess.run(
            [sys.executable, "-m", "nasmeta", "search", *SHORT, *overrides, place],
            check=True,
            capture_output=True,
        )
        records = [json.loads(line) for line in (Path(folder) / "run/journal.jsonl").read_text().splitlines()]
        finished = [record for record in records if record["event"] == "finished"]
        searched = next(record for record in records if record["event"] == "searched")
        first = next(r for r in records if r["event"] == "finished")
        # Counts from the end of the first trial to the end of the search: data is loaded before.
        phase = [r for r in finished if r["phase"] == "search"][1:]
        wall = searched["elapsed"] - first["elapsed"]
        return float(1 - sum(record["seconds"] for record in phase) / wall)


if __name__ == "__main__":
    main()
