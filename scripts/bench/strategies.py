#!/usr/bin/env python3
"""Strategies on a table that holds every architecture of a space: who finds what, in how many queries.

    scripts/bench/strategies.py --table ../shared/data/nasbench201_cifar10.csv --seeds 200 --jobs 2 \
        --results strategies.jsonl --plot regret.png random "evolution start=random" predictor

A strategy is an option of conf/strategy, with overrides of its keys behind it, quoted as one argument. It
sees the validation column alone, by ask and tell; queries are distinct architectures, and looking one up
again is free. It is judged by the test column of the best validated architecture that it has looked at.

A table with a column of budgets (`--budget`) has several rows of an architecture. A query is then a training
at the largest budget; a shorter one is its share of a query, and one that is continued pays for the rest.
Only what was trained at the largest budget counts as found:

    scripts/bench/strategies.py --table nasmeta/evaluators/tables/fewshot_conv.csv --space conv_small \
        --only learner=protonet dataset=omniglot-small --budget iterations --valid valid_accuracy \
        --test test_accuracy --at 10 20 40 --queries 40 random "hyperband min_share=0.3"

A strategy believes that it has `--trials` trials, repeated architectures included. It is ten times the
queries, so that repetitions do not end it early. For strategies that plan by their number of trials (halving,
`recursive`), type what the queries buy.

Prints the mean test accuracy with standard errors, the share of seeds that have found the table's best
validated architecture, and the strategy's own seconds a query, as a table in Markdown.

Each seed is a line of the results file; seeds that it has already are not run again, so an interrupted
benchmark goes on where it was. Without --results nothing is kept.
"""

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import results_file
from means import with_error
from tabulate import tabulate

from nasmeta.config.overrides import composed
from nasmeta.config.schema import Config, parse
from nasmeta.errors import ConfigError, NasmetaError
from nasmeta.testing.strategies import context, told

JUDGED_BY = ("table", "valid", "test", "budget", "only", "space", "trials")
"""The arguments besides strategy, seed and queries that an outcome depends on."""

ROUNDING = 1e-6
"""What sums of shares of a query may lack."""


@dataclass(frozen=True)
class Table:
    """Accuracies by architecture string and budget. The search sees `valid` and is judged by `test`."""

    valid: dict[tuple[str, int], float]
    test: dict[tuple[str, int], float]

    @cached_property
    def full(self) -> int:
        """The largest budget."""
        return max(budget for _, budget in self.valid)

    @cached_property
    def archs(self) -> frozenset[str]:
        """The architectures that have a row at the largest budget."""
        return frozenset(arch for arch, budget in self.valid if budget == self.full)

    @property
    def best_valid(self) -> float:
        return max(self.valid[arch, self.full] for arch in self.archs)

    @property
    def best_test(self) -> float:
        return max(self.test[arch, self.full] for arch in self.archs)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one seed.

    An improvement is (queries spent, validation accuracy, test accuracy) of a new best validated architecture
    at the largest budget. source: the table, the columns and the number of trials that it is of.
    """

    strategy: str
    seed: int
    queries: int
    improvements: list[tuple[float, float, float]]
    seconds: float
    source: str = ""

    def at(self, query: int, column: int) -> float:
        """Column 1 (validation) or 2 (test) of the best validated architecture after `query` queries.

        NaN if nothing was trained at the largest budget by then.
        """
        rows = [row for row in self.improvements if row[0] <= query + ROUNDING]
        return rows[-1][column] if rows else math.nan


@cache
def read_table(path: Path, valid: str, test: str, budget: str | None, only: tuple[str, ...]) -> Table:
    """Reads the rows for which every COLUMN=VALUE of `only` holds. Raises ConfigError if there are none."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [pair.partition("=")[::2] for pair in only]
    for column in ("arch", valid, test, *(name for name, _ in pairs), *([budget] if budget else [])):
        if not rows or column not in rows[0]:
            raise ConfigError(f"{path}: has no column {column!r}, but {list(rows[0]) if rows else 'no rows'}")
    rows = [row for row in rows if all(row[name] == value for name, value in pairs)]
    if not rows:
        raise ConfigError(f"{path}: no row has {' and '.join(only)}")
    keys = [(row["arch"], int(row[budget]) if budget else 1) for row in rows]
    return Table(
        dict(zip(keys, (float(row[valid]) for row in rows), strict=True)),
        dict(zip(keys, (float(row[test]) for row in rows), strict=True)),
    )


@cache
def configuration(space: str, strategy: str) -> Config:
    """The configuration of a strategy "name key=value ..." on a space. Raises ConfigError if invalid."""
    name, *overrides = strategy.split()
    keys = [f"strategy.{override}" for override in overrides]
    return parse(composed([f"search_space={space}", f"strategy={name}", *keys]), trusted=True)


def play(config: Config, table: Table, strategy: str, seed: int, queries: int, trials: int) -> Outcome:
    """Runs a strategy with `trials` trials until it has spent `queries`, or has no more to ask for."""
    began = time.perf_counter()
    known = context(
        space=config.build("search_space"),
        seed=seed,
        trials=trials,
        iterations=table.full,
        feasible=lambda arch: str(arch) in table.archs,
    )
    player: Any = config.build("strategy", context=known)
    missing = sorted(set(player.budgets) - {budget for _, budget in table.valid})
    if missing:
        raise ConfigError(f"{strategy}: asks for {missing[0]} iterations, and no row has so many")
    trained: dict[str, int] = {}
    spent = 0.0
    improvements: list[tuple[float, float, float]] = []
    while spent < queries - ROUNDING and (proposal := player.ask()) is not None:
        arch, budget = str(proposal.arch), proposal.iterations
        spent += max(budget - trained.get(arch, 0), 0) / table.full
        trained[arch] = max(budget, trained.get(arch, 0))
        valid = table.valid[arch, budget]
        if budget == table.full and (not improvements or valid > improvements[-1][1]):
            improvements.append((spent, valid, table.test[arch, budget]))
        player.tell(told(proposal, valid))
    return Outcome(strategy, seed, queries, improvements, time.perf_counter() - began)


def one(job: tuple[argparse.Namespace, str, int]) -> Outcome:
    options, strategy, seed = job
    table = read_table(options.table, options.valid, options.test, options.budget, options.only)
    config = configuration(options.space, strategy)
    return play(config, table, strategy, seed, options.queries, options.trials)


def run(options: argparse.Namespace) -> list[Outcome]:
    """The outcomes of every strategy with every seed. Runs those that the results file does not hold."""
    source = json.dumps([str(getattr(options, name)) for name in JUDGED_BY])
    known = [Outcome(**each) for each in results_file.kept(options.results)] if options.results else []
    known = [o for o in known if (o.queries, o.source) == (options.queries, source)]
    outcomes = {(o.strategy, o.seed): o for o in known}
    wanted = [(s, seed) for s in options.strategies for seed in range(options.seeds)]
    jobs = [(options, *key) for key in wanted if key not in outcomes]
    for done, found in enumerate(_each(jobs, options.jobs), start=1):
        outcome = replace(found, source=source)
        outcomes[outcome.strategy, outcome.seed] = outcome
        if options.results:
            results_file.append(options.results, asdict(outcome))
        if done % 10 == 0 or done == len(jobs):
            print(f"{done} of {len(jobs)} seeds", file=sys.stderr)
    return [outcomes[key] for key in wanted]


def _each(jobs: list[Any], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from map(one, jobs)
    else:
        with ProcessPoolExecutor(processes) as pool:
            yield from pool.map(one, jobs)


def summary(outcomes: list[Outcome], table: Table, at: list[int]) -> str:
    """The table that the module's docstring describes, with a row for each strategy."""
    rows = []
    for strategy in dict.fromkeys(o.strategy for o in outcomes):
        own = [o for o in outcomes if o.strategy == strategy]
        test = [with_error([o.at(query, 2) for o in own], 3) for query in at]
        found = [np.mean([o.at(query, 1) >= table.best_valid for o in own]) for query in at]
        seconds = sum(o.seconds for o in own) / sum(o.queries for o in own)
        rows.append([strategy, len(own), *test, *(f"{100 * f:.0f} %" for f in found), f"{seconds:.4f}"])
    headers = [
        "strategy",
        "seeds",
        *(f"test at {query}" for query in at),
        *(f"found at {query}" for query in at),
        "s/query",
    ]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def plot(outcomes: list[Outcome], table: Table, path: Path) -> None:
    """Plots the mean test regret with standard errors.

    The regret is the table's best test accuracy minus that of the best validated architecture so far.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for strategy in dict.fromkeys(o.strategy for o in outcomes):
        own = [o for o in outcomes if o.strategy == strategy]
        x = np.arange(1, own[0].queries + 1)
        regret = table.best_test - np.array([[o.at(int(query), 2) for query in x] for o in own])
        mean, error = regret.mean(axis=0), regret.std(axis=0, ddof=min(1, len(own) - 1)) / len(own) ** 0.5
        (line,) = axes.plot(x, mean, label=f"{strategy} ({len(own)} seeds)")
        axes.fill_between(x, mean - error, mean + error, color=line.get_color(), alpha=0.25, linewidth=0)
    axes.set(xlabel="queries", ylabel="test regret (points)", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("strategies", nargs="+", type=lambda text: " ".join(text.split()))
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--valid", default="valid_acc_12", help="the column that a search sees")
    parser.add_argument("--test", default="test_acc_200", help="the column that it is judged by")
    parser.add_argument("--budget", help="the column of budgets, in meta-iterations; without, all have one")
    parser.add_argument("--only", nargs="+", default=[], metavar="COLUMN=VALUE", help="the rows to use")
    parser.add_argument("--space", default="nasbench201", help="an option of conf/search_space")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--trials", type=int, help="that a strategy believes it has; without, ten a query")
    parser.add_argument("--at", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.only = tuple(options.only)
    options.trials = options.trials or 10 * options.queries
    options.at = [query for query in options.at if query <= options.queries]
    try:
        table = read_table(options.table, options.valid, options.test, options.budget, options.only)
        for strategy in options.strategies:
            configuration(options.space, strategy)
        outcomes = run(options)
    except NasmetaError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    print(summary(outcomes, table, options.at))
    if options.plot:
        plot(outcomes, table, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
