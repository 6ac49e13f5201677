#!/usr/bin/env python3
"""Does a search pay? What it finds, against random search of equal cost and against the tuned reference.

    scripts/reproduce/searched.py --quick --data FOLDER --datasets icons --learners protonet

For each data set, learner and seed there are three runs of `nasmeta search` under the same settings
(searched.yaml), with at most the reference's parameters and FLOPs: the strategy; random search, which
spends as many meta-iterations; and the strategy in a space that holds the reference alone, which tunes its
settings for as long. All three are tested on the same tasks. Nothing is chosen on them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import page
from common import Data, Options, reference_of, settings, within
from runs import Run, command, in_parallel

CONTENDERS = ("searched", "random", "reference")
DATASETS = ("omniglot-small", "icons", "glyphs", "emoji")
CHOSEN = {"searched": "found", "reference": "untuned"}

TEXT = """
Three contenders learn the same tasks, {task}. *searched*: what the search found, with at most the
parameters and FLOPs of the reference. *random*: what random search of the same space found, for as many
meta-iterations. *reference*: 4-conv-64, whose settings the same strategy tuned for as long. Each run trains
its finalists and 4-conv-64, with its default settings, in full, and chooses one by validation: *chosen* says
whether it was found or is this untuned 4-conv-64. All are tested on the same tasks.
"""


@dataclass(frozen=True)
class Match:
    """The runs of the contenders for one data set, learner and seed."""

    data: str
    learner: str
    runs: dict[str, Run]


def main() -> int:
    fixed = {"meta_learner": "--learners"}
    options = Options.parsed("searched", __doc__, DATASETS, fixed, learners=("protonet", "maml"))
    units = options.units(match, "learners")
    return in_parallel(units, options.jobs, partial(write, options))


def match(options: Options, data: Data, learner: str, seed: int) -> Match:
    """Makes the three runs, and tests their networks on the same tasks."""
    has, form = settings(__file__), options.form
    shared = [*data.overrides, *has["all"], *has[learner], *has[form], *has[f"{learner}-{form}"]]
    shared += within(reference_of([*shared, *options.overrides])[1])
    strategy = [*has["searched"], *has[f"searched-{learner}-{form}"]]

    def run(options: Options, contender: str, overrides: Sequence[str], *fixed: str) -> Run:
        where = f"{data.name}/{learner}/{contender}"
        return options.search(where, overrides, seed=seed, fixed=fixed).make(options.threads)

    searched = run(options, "searched", [*shared, *strategy])
    as_many = f"budget.trials={random_trials(searched)}"
    random = run(options.without("strategy"), "random", shared, *has["random"], as_many)
    reference = run(options, "reference", [*shared, *strategy], *has["reference"], as_many)
    return Match(data.name, learner, {"searched": searched, "random": random, "reference": reference})


def random_trials(searched: Run) -> int:
    """How many trials of random search cost as many meta-iterations as the search has spent."""
    each: int = searched.config["budget"]["search_iterations"]
    return max(1, round(searched.iterations() / each))


def write(options: Options, matches: Sequence[Match]) -> None:
    rows, differences = [], []
    pairs = dict.fromkeys((each.data, each.learner) for each in matches)
    for data, learner in pairs:
        own = [each.runs for each in matches if (each.data, each.learner) == (data, learner)]
        tasks = {name: [runs[name].per_task() for runs in own] for name in CONTENDERS}
        for name in CONTENDERS:
            params = ", ".join(f"{runs[name].summary['best']['params'] / 1000:.1f} K" for runs in own)
            spent = ", ".join(f"{runs[name].iterations():,}" for runs in own)
            chosen = ", ".join(CHOSEN[runs[name].summary["chosen"]] for runs in own)
            rows.append([data, learner, name, *page.accuracy(tasks[name]), chosen, params, spent])
        for one, other in (("searched", "reference"), ("searched", "random"), ("random", "reference")):
            cells = page.compared(tasks[one], tasks[other])
            differences.append([data, learner, f"{one} - {other}", *cells])
    headers = ["data", "learner", "network", *page.ACCURACY, "chosen", "parameters", "search iterations"]
    compared = ["data", "learner", "compared", *page.COMPARED]
    tables = [page.table(headers, rows), page.table(compared, differences), page.HOW_COMPARED]
    runs = [run for each in matches for run in each.runs.values()]
    data_sets, learners = (", ".join(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    page.write(options, f"Searched, random and reference: {learners} on {data_sets}", TEXT, tables, runs)


if __name__ == "__main__":
    sys.exit(command(main))
