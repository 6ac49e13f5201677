#!/usr/bin/env python3
"""Does an architecture for every task pay? T-NAS and MetaNAS against one architecture for all.

    scripts/reproduce/per_task.py --quick --data FOLDER

Each recipe as it is, with ten times the meta-iterations, and so long with other inner rates or other pruning
(per_task.yaml). `nasmeta evaluate --control` then meta-trains its opponents by the same learner for as many
iterations: the one architecture that it stands for, a random one, and a 4-conv of equal size.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import page
from common import Data, Options, settings
from runs import Run, command, in_parallel

from nasmeta.reporting.read.statistics import Difference

RECIPES = ("tnas", "metanas")
VARIANTS = {
    "as it is": (),
    "10 times as long": ("long",),
    "10 times, other rates": ("long", "rates"),
    "10 times, other pruning": ("long", "pruning"),
}
"""The groups of overrides that a variant adds; those called long have the form's name too."""

DATASETS = ("omniglot-small",)
CONTROLS = {"checkpoint": "for every task", "for_all": "for all", "random": "random", "four_conv": "4-conv"}

TEXT = """
*For every task*: weights and architecture are meta-learned together, and both adapt to each test task. The
other networks are meta-trained by the same learner for as many iterations and tested on the same tasks.
*For all*: the one architecture that the meta-learned one stands for. *Random*: a random architecture of the
space. *4-conv*: of as many parameters.
"""


@dataclass(frozen=True)
class Outcome:
    """A run, and the rows of its control experiment by name."""

    data: str
    recipe: str
    variant: str
    run: Run
    rows: dict[str, dict[str, Any]]


def main() -> int:
    fixed = dict.fromkeys(("experiment", "meta_learner", "strategy"), "--recipes")
    options = Options.parsed("per_task", __doc__, DATASETS, fixed, recipes=RECIPES, variants=list(VARIANTS))
    units = options.units(outcome, "recipes", "variants")
    return in_parallel(units, options.jobs, partial(write, options))


def outcome(options: Options, data: Data, recipe: str, variant: str, seed: int) -> Outcome:
    has, form = settings(__file__), options.form
    overrides, fixed = [*data.overrides, *has[f"{recipe}-{form}"]], list[str]()
    for group in VARIANTS[variant]:
        fixed += has[f"{recipe}-{form}-{group}" if group == "long" else f"{recipe}-{group}"]
    where = f"{data.name}/{recipe}/{'-'.join(VARIANTS[variant]) or 'plain'}"
    run = options.search(where, overrides, seed=seed, fixed=fixed).make(options.threads)
    rows = run.evaluated("--control", threads=options.threads)["control"]["rows"]
    return Outcome(data.name, recipe, variant, run, {row["name"]: row for row in rows})


def write(options: Options, outcomes: Sequence[Outcome]) -> None:
    rows = []
    for key in dict.fromkeys((each.data, each.recipe, each.variant) for each in outcomes):
        own = [each.rows for each in outcomes if (each.data, each.recipe, each.variant) == key]
        means = [sum(row[name]["accuracy"] for row in own) / len(own) for name in CONTROLS]
        for_all = [row["for_all"] for row in own]
        found = Difference.of_seeds(
            [row["difference"] for row in for_all],
            [row["difference_ci95"] / 1.96 for row in for_all],
        )
        rows.append([*key, *(f"{100 * mean:.1f}" for mean in means), *page.difference(found)])
    headers = ["data", "recipe", "variant", *CONTROLS.values(), *page.DIFFERENCE]
    note = f"Differences: *for every task* minus *for all*. {page.HOW_DIFFERENCE}"
    tables = [page.table(headers, rows), note]
    page.write(options, "An architecture for every task", TEXT, tables, [each.run for each in outcomes])


if __name__ == "__main__":
    sys.exit(command(main))
