#!/usr/bin/env python3
"""Random SIGKILLs for every kind of strategy and evaluator: `scripts/chaos`, once a composition.

    scripts/bench/kill_and_resume.py --kills 50 --results kills.jsonl NAME ...
    scripts/bench/kill_and_resume.py --kills 50 --results kills.jsonl --all

Runs of a second, on one core. Results are appended to the file, one JSON object a composition; those that
it has already are not repeated, so the same command goes on with an interrupted table. Prints the table; the
exit code is 0 if every run ended like the one that was never interrupted.
"""

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import results_file
from tabulate import tabulate

from nasmeta.search_spaces.nasbench201.architecture import EDGES, OPERATIONS, Nasbench201Cell

CHAOS = Path(__file__).parents[1] / "chaos"

ALL = [
    "device=cpu",
    "logger=none",
    "progress=false",
    "save_seconds=0",
    "task.meta_batch=2",
    "budget.search_iterations=3",
    "budget.final_candidates=2",
    "budget.final_iterations=4",
]
SINUSOID = [
    *ALL,
    "dataset=sinusoid",
    "search_space=mlp",
    "meta_learner=fomaml",
    "meta_learner.inner_lr=0.01",
    "task.shot=5",
    "task.query=5",
    "budget.trials=6",
    "budget.valid_tasks=20",
    "budget.final_tasks=20",
    "budget.test_tasks=20",
]
IMAGES = [
    *ALL,
    "dataset=strokes",
    "dataset.train_classes=12",
    "dataset.valid_classes=6",
    "dataset.test_classes=6",
    "dataset.size=16",
    "task.shot=1",
    "task.query=2",
    "budget.trials=4",
    "budget.valid_tasks=4",
    "budget.final_tasks=4",
    "budget.test_tasks=4",
]
CELLS = [*IMAGES, "search_space=nasbench201", "search_space.width=4", "search_space.stages=1"]
SHARED = [*SINUSOID, "evaluator=supernet", "search_space.widths=[16,24]", "search_space.max_layers=2"]
EVOLUTION = ["strategy=evolution", "strategy.population_size=2", "strategy.sample_size=2"]
GRADIENT = ["strategy.epoch_iterations=2", "strategy.architecture_lr=0.3"]

COMPOSITIONS = {
    "random": [*SINUSOID, "strategy=random"],
    "evolution": [*SINUSOID, *EVOLUTION],
    "local_search": [*SINUSOID, "strategy=local_search", "strategy.starts=2"],
    "reinforce": [*SINUSOID, "strategy=reinforce"],
    "predictor": [
        *SINUSOID,
        "strategy=predictor",
        "strategy.initial=3",
        "strategy.mutants=5",
    ],
    "astar": [*SINUSOID, "strategy=astar", "strategy.goal=1e9"],
    "iddfs": [*SINUSOID, "strategy=iddfs", "strategy.goal=1e9", "strategy.branch=2"],
    "hyperband": [*SINUSOID, "strategy=hyperband", "strategy.eta=2", "strategy.min_share=0.3"],
    "model_hyperband": [
        *SINUSOID,
        "strategy=model_hyperband",
        "strategy.eta=2",
        "strategy.min_share=0.3",
        "strategy.model_trials=2",
    ],
    "nsga2": [*SINUSOID, "strategy=nsga2", "strategy.population_size=3"],
    "recursive": [
        *SINUSOID,
        "strategy=recursive",
        "strategy.rounds=2",
        "strategy.inner.population_size=2",
        "strategy.inner.sample_size=2",
    ],
    "spos": [*SHARED, *EVOLUTION, "evaluator.sampling=fair"],
    "enas": [*SHARED, "strategy=reinforce", "evaluator.iterations_per_trial=2"],
    "zero_cost": [
        *SINUSOID,
        *EVOLUTION,
        "evaluator=zero_cost",
        "evaluator.proxy=vote",
        "evaluator.voters=[snip,naswot]",
        "evaluator.reference=4",
    ],
    "tabular": [*ALL, *EVOLUTION, "search_space=nasbench201", "evaluator=tabular", "budget.trials=300"],
    "darts": [*CELLS, "strategy=differentiable", *GRADIENT, "meta_learner=fomaml"],
    "gdas": [
        *CELLS,
        "strategy=differentiable",
        *GRADIENT,
        "strategy.edges=gumbel",
        "strategy.guard=eigenvalue",
        "meta_learner=fomaml",
    ],
    "tnas": [
        *CELLS,
        "strategy=meta_differentiable",
        "strategy.inner_scale=30",
        "strategy.temperature_end=0.5",
        "meta_learner=fomaml",
    ],
    "metanas": [
        *CELLS,
        "strategy=meta_differentiable",
        "meta_learner=reptile",
        "meta_learner.test_steps=3",
        "strategy.warmup=1",
        "strategy.prune_steps=1",
    ],
    "protonet, batch_norm=running": [
        *IMAGES,
        *EVOLUTION,
        "search_space=conv_small",
        "meta_learner=protonet",
        "batch_norm=running",
    ],
    "executor=process": [
        *SINUSOID,
        "strategy=hyperband",
        "strategy.eta=2",
        "strategy.min_share=0.3",
        "executor=process",
    ],
    "tune": [
        *SINUSOID,
        *EVOLUTION,
        "tune={meta_learner.inner_lr: {low: 0.001, high: 0.1, log: true}, optimizer.lr: [0.001, 0.01]}",
        "budget.reference_trials=2",
    ],
    "augment": [*IMAGES, *EVOLUTION, "search_space=conv_small", "augment=handwriting"],
    "keep=best": [
        *IMAGES,
        *EVOLUTION,
        "search_space=conv_small",
        "meta_learner=protonet",
        "budget.keep=best",
        "budget.judge_every=2",
    ],
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--all", action="store_true", help="every composition")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COMPOSITIONS)}")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in COMPOSITIONS]:
        parser.error(f"no composition {', '.join(unknown)}; they are {', '.join(COMPOSITIONS)}")
    if options.all == bool(options.names):
        parser.error("name compositions, or type --all")
    rows = []
    for name in options.names or COMPOSITIONS:
        overrides = [*COMPOSITIONS[name], *table_for(name, options.results)]
        asked = {"name": name, "kills": options.kills, "seed": options.seed, "overrides": overrides}
        known = [row for row in results_file.kept(options.results) if asked.items() <= row.items()]
        if known:
            rows.append(known[-1])
            continue
        print(name, file=sys.stderr)
        command = [str(CHAOS), "--kills", str(options.kills), "--seed", str(options.seed), "--", *overrides]
        told = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True).stdout
        if not told:
            return 2
        rows.append(asked | json.loads(told))
        results_file.append(options.results, rows[-1])
    print(as_text(rows))
    return 0 if all(row["same"] == row["runs"] for row in rows) else 1


def table_for(name: str, beside: Path) -> list[str]:
    """The override with a table of made-up accuracies for the whole space, if the composition needs one."""
    if name != "tabular":
        return []
    path = beside.with_suffix(".table.csv").absolute()
    cells = (Nasbench201Cell(ops) for ops in product(OPERATIONS, repeat=len(EDGES)))
    archs = [str(cell) for cell in cells]
    scores = [100 * ((7919 * number) % len(archs)) / len(archs) for number in range(len(archs))]  # percent
    rows = [f"{arch},{score},{score}" for arch, score in zip(archs, scores, strict=True)]
    path.write_text("\n".join(["arch,valid_acc_12,test_acc_200", *rows]) + "\n")
    return [f"evaluator.table={path}"]


def as_text(rows: list[dict[str, Any]]) -> str:
    def struck(row: dict[str, Any], *names: str) -> int:
        return sum(count for name, count in row["during"].items() if name.startswith(names))

    table = [
        [
            row["name"],
            row["kills"],
            f"{row['same']} of {row['runs']}",
            struck(row, "starting"),
            struck(row, "a trial", "asking"),
            struck(row, "writing"),
            struck(row, "the final", "the end"),
        ]
        for row in rows
    ]
    headers = ["composition", "kills", "runs that ended the same"]
    during = ["at start-up", "in or between trials", "in a write", "in the final trainings"]
    return tabulate(table, [*headers, *during], tablefmt="github")


if __name__ == "__main__":
    sys.exit(main())
