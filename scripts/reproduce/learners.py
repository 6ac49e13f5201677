#!/usr/bin/env python3
"""How well each meta-learner does with the hand-designed reference, 4-conv-64.

    scripts/reproduce/learners.py --quick --data FOLDER --datasets omniglot-small --learners protonet maml

For each data set, task, learner and seed, one run of `nasmeta train` (learners.yaml has the settings). For a
task all learners get as many meta-iterations, which is neither as much data nor as much time: the table has
both.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import page
from common import Data, Options, reference_of, settings
from runs import Run, command, in_parallel

DATASETS = ("omniglot-small", "icons", "glyphs", "emoji")
TASKS = ("5-way-1-shot", "5-way-5-shot", "20-way-1-shot")
LEARNERS = ("protonet", "ridge", "maml", "fomaml", "anil", "boil", "meta_sgd", "reptile", "finetune")

TEXT = """
The reference, 4-conv-64, meta-trained by each learner. For a task all learners have the same number of
meta-iterations. What a meta-iteration costs and how many tasks it sees differs, and some are far from
converged. Accuracies under different `batch_norm` do not compare: `transductive` uses the other queries of
a task.
"""

ENOUGH = (
    "*Enough*: after so many meta-iterations, validation accuracy was first within one point of its best; a "
    "mean over the seeds."
)


@dataclass(frozen=True)
class Trained:
    """One training of the reference."""

    data: str
    task: str
    learner: str
    run: Run


def main() -> int:
    fixed = dict.fromkeys(("meta_learner", "task.way", "task.shot"), "--learners and --tasks")
    options = Options.parsed("learners", __doc__, DATASETS, fixed, tasks=TASKS, learners=LEARNERS)
    units = options.units(trained, "tasks", "learners")
    return in_parallel(units, options.jobs, partial(write, options))


def trained(options: Options, data: Data, task: str, learner: str, seed: int) -> Trained:
    has, form = settings(__file__), options.form
    groups = ("all", task, form, f"{form}-{task}", learner)
    overrides = [*data.overrides, *(word for group in groups for word in has[group])]
    reference, _ = reference_of([*overrides, *options.overrides])
    run = options.train(f"{data.name}/{task}/{learner}", reference, overrides, seed=seed)
    run.make(options.threads)
    return Trained(data.name, task, learner, run)


def enough(runs: Sequence[Run]) -> str:
    """The mean meta-iterations until an iterate was within a point of the best; "" if none is judged."""
    judged = [run.judged() for run in runs]
    if not all(judged):
        return ""
    first = [min(at for at, value in each.items() if value >= max(each.values()) - 0.01) for each in judged]
    return f"{sum(first) / len(first):,.0f}"


def write(options: Options, trainings: Sequence[Trained]) -> None:
    rows = []
    for data, task, learner in dict.fromkeys((each.data, each.task, each.learner) for each in trainings):
        own = [t.run for t in trainings if (t.data, t.task, t.learner) == (data, task, learner)]
        config, summaries = own[0].config, [run.summary["best"] for run in own]
        iterations = fmean(best.get("ended_iteration") or best["iterations"] for best in summaries)
        rows.append(
            [
                data,
                task,
                learner,
                config["batch_norm"],
                f"{iterations:,.0f}",
                enough(own),
                f"{iterations * config['task']['meta_batch']:,.0f}",
                f"{sum(best['train_seconds'] for best in summaries) / len(own):.0f} s",
                *page.accuracy([run.per_task() for run in own]),
            ]
        )
    headers = ["data", "task", "learner", "batch_norm", "meta-iterations", "enough", "tasks seen", "training"]
    tables = [page.table([*headers, *page.ACCURACY], rows), ENOUGH]
    page.write(options, "Learners on the reference", TEXT, tables, [each.run for each in trainings])


if __name__ == "__main__":
    sys.exit(command(main))
