#!/usr/bin/env python3
"""What each lever of a search adds: the whole search, and the same with one of them left out.

    scripts/reproduce/levers.py --quick --data FOLDER

Searches as searched.py does with ProtoNet, on one data set (omniglot-small). levers.yaml says what leaving a
lever out means. The networks that are found are tested on the same tasks.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import page
import searched
from common import Data, Options, reference_of, settings, within
from runs import Run, command, in_parallel

WHOLE = "all levers"
LEVERS = [name.removesuffix(", quick") for name in settings(__file__) if not name.endswith(", full")]
DATASETS = ("omniglot-small",)

TEXT = """
A search by ProtoNet, {task}, and the same search with one lever left out: what it found is tested on
the same tasks. A negative difference means that the lever helps, by so many points.
"""


@dataclass(frozen=True)
class Search:
    """A search without one lever; `lever` is WHOLE if none is left out."""

    data: str
    lever: str
    run: Run


def main() -> int:
    fixed = {"meta_learner": "searched.py for other learners"}
    options = Options.parsed("levers", __doc__, DATASETS, fixed, levers=LEVERS)
    levers = dict.fromkeys([WHOLE, *options.chosen["levers"]])
    units = [
        partial(search, options, data, lever, seed)
        for data in options.data_sets()
        for seed in options.seeds
        for lever in levers
    ]
    return in_parallel(units, options.jobs, partial(write, options))


def search(options: Options, data: Data, lever: str, seed: int) -> Search:
    has, without, form = settings(searched.__file__), settings(__file__), options.form
    left_out = without[lever] if lever in without else without[f"{lever}, {form}"]
    groups = ("all", "protonet", form, f"protonet-{form}", "searched", f"searched-protonet-{form}")
    shared = [*data.overrides, *(word for group in groups for word in has[group])]
    limits = within(reference_of([*shared, *options.overrides])[1])
    where = f"{data.name}/{lever.replace(', ', ',').replace(' ', '-')}"
    run = options.search(where, [*shared, *limits], seed=seed, fixed=left_out).make(options.threads)
    return Search(data.name, lever, run)


def write(options: Options, searches: Sequence[Search]) -> None:
    rows = []
    for data, lever in dict.fromkeys((each.data, each.lever) for each in searches):
        own = {s.run.summary["seed"]: s.run for s in searches if (s.data, s.lever) == (data, lever)}
        whole = {s.run.summary["seed"]: s.run for s in searches if (s.data, s.lever) == (data, WHOLE)}
        both = sorted(own.keys() & whole.keys())
        compared = [""] * len(page.COMPARED)
        if lever != WHOLE and both:
            compared = page.compared(*([runs[seed].per_task() for seed in both] for runs in (own, whole)))
        rows.append([data, lever, *page.accuracy([own[seed].per_task() for seed in sorted(own)]), *compared])
    headers = ["data", "search", *page.ACCURACY, *page.COMPARED]
    tables = [page.table(headers, rows), f"Compared with *{WHOLE}*. {page.HOW_COMPARED}"]
    page.write(options, "What each lever adds", TEXT, tables, [each.run for each in searches])


if __name__ == "__main__":
    sys.exit(command(main))
