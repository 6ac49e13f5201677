#!/usr/bin/env python3
"""Does a search find a network for a small device that is as accurate as 4-conv-64, and what does int8 cost?

    scripts/reproduce/small_devices.py --quick --data FOLDER --datasets icons glyphs
    scripts/reproduce/small_devices.py --quick --data FOLDER --networks 4-conv-64    # int8 on four data sets

For each data set and seed there is one run of `nasmeta search` under each limit on memory, and one of
`nasmeta train` of 4-conv-64, which has no limit (small_devices.yaml). Every network is quantized in every
format and run by the format's own runtime, on 100 of the test tasks: this needs the extras of --formats.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
import page
from common import Data, Options, reference_of, settings
from runs import Run, command, composing, in_parallel

from nasmeta.reporting.read.statistics import Difference
from nasmeta.runtime import files
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.export.export import FORMATS, Int8, int8_accuracies
from nasmeta.trained.meta_test import MetaTest

DESCRIBED = ["memory in int8, KiB", "flash, KiB", "architecture of each seed"]
LOSS = ["float, %", "int8, %", "int8 minus float, points", "of each seed"]
DATASETS = ("icons", "glyphs", "emoji", "omniglot-small")
REFERENCE = "4-conv-64"
NETWORKS = (REFERENCE, "64-KiB", "32-KiB")

TEXT = """
ProtoNet, {task}. *4-conv-64* is trained for as long as the finalists of a search, whatever its memory.
*64-KiB* and *32-KiB*: what a search of `conv_mcu` found, with at most so much memory for the activations of
an image in int8, and at most 100 KiB of flash. *scaled*: the widest 4-conv within the limits. It is trained
in full in each search, competes there, and is what was found if nothing beat it on validation. All are
tested on the same tasks. int8 is compared with float on 100 of them. Nothing is chosen on these tasks.
"""


@dataclass(frozen=True)
class Network:
    """A network of one run. int8: by format, the accuracies [2, tasks] in float and in int8."""

    data: str
    name: str
    run: Run
    int8: dict[str, np.ndarray]

    @property
    def seed(self) -> int:
        return int(self.run.summary["seed"])


def main() -> int:
    fixed = {"meta_learner": "searched.py for other learners"}
    options = Options.parsed(
        "small_devices", __doc__, DATASETS, fixed, networks=NETWORKS, formats=tuple(FORMATS)
    )
    for name in options.chosen["formats"]:
        FORMATS[name].check_installed()
    units = options.units(network, "networks")
    return in_parallel(units, options.jobs, partial(write, options))


def network(options: Options, data: Data, name: str, seed: int) -> Network:
    """Searches or trains the network, and quantizes it."""
    has, form, where = settings(__file__), options.form, f"{data.name}/{name}"
    shared = [*data.overrides, *has["all"], *has[form]]
    if name == REFERENCE:
        reference, _ = reference_of([*shared, *options.overrides])
        run = options.train(where, reference, shared, seed=seed)
    else:
        searched = [*shared, *has["searched"], *has[f"searched-{form}"]]
        run = options.search(where, searched, seed=seed, fixed=has[name])
    run.make(options.threads)
    return Network(data.name, name, run, {each: quantized(run, each) for each in options.chosen["formats"]})


def quantized(run: Run, format: str) -> np.ndarray:
    """The accuracies [2, tasks] in float and in int8, computed once."""
    stored = run.directory.with_name(f"{run.directory.name}.{format}.npy")
    if not stored.exists():
        with composing:
            test = MetaTest.of(run.directory / "best.pt", ["device=cpu"], trusted=False)
        classifier = FewShotClassifier.of(test.stored, test.learner, test.state)
        found = int8_accuracies(classifier, FORMATS[format], Int8.of(test, classifier, [], inf))
        with files.replacing(stored) as file:
            np.save(file, np.stack([found.full.numpy(), found.int8.numpy()]))
    accuracies: np.ndarray = np.load(stored)
    return accuracies


def write(options: Options, networks: Sequence[Network]) -> None:
    rows, differences, losses = [], [], []
    for data, name in dict.fromkeys((each.data, each.name) for each in networks):
        own = [each for each in networks if (each.data, each.name) == (data, name)]
        tasks = [each.run.per_task() for each in own]
        rows.append([data, name, *page.accuracy(tasks), *described(own, "best")])
        losses += [[data, name, format, *loss(own, format)] for format in options.chosen["formats"]]
        if name == REFERENCE:
            continue
        scaled = [each.run.per_task_of_reference() for each in own]
        rows.append([data, f"{name}, scaled", *page.accuracy(scaled), *described(own, "reference")])
        differences.append([data, f"{name} - scaled", *page.compared(tasks, scaled)])
        others = {n.seed: n.run.per_task() for n in networks if (n.data, n.name) == (data, REFERENCE)}
        pairs = [(n.run.per_task(), others[n.seed]) for n in own if n.seed in others]
        if pairs:
            differences.append([data, f"{name} - {REFERENCE}", *page.compared(*zip(*pairs, strict=True))])
    tables = [page.table(["data", "network", *page.ACCURACY, *DESCRIBED], rows)]
    if differences:
        tables += [page.table(["data", "compared", *page.COMPARED], differences), page.HOW_COMPARED]
    tables += [page.table(["data", "network", "format", *LOSS], losses)]
    page.write(options, "Networks for small devices", TEXT, tables, [each.run for each in networks])


def described(networks: Sequence[Network], side: str) -> list[str]:
    """Cells for the columns DESCRIBED: of each seed's chosen network or reference."""
    made = [each.run.summary[side] for each in networks]
    kibs = [", ".join(f"{each[cost] / 1024:.1f}" for each in made) for cost in ("memory", "flash")]
    return [*kibs, " ".join(f"`{each['arch']}`" for each in made)]


def loss(networks: Sequence[Network], format: str) -> list[str]:
    """Cells for the columns LOSS."""
    full, int8 = zip(*(each.int8[format] for each in networks), strict=True)
    differences = [a - b for a, b in zip(int8, full, strict=True)]
    means = [100 * float(each.mean()) for each in differences]
    *_, over_tasks, _ = page.difference(Difference.of(int8, full))
    return [page.accuracy(full)[0], page.accuracy(int8)[0], over_tasks, ", ".join(f"{m:+.1f}" for m in means)]


if __name__ == "__main__":
    sys.exit(command(main))
