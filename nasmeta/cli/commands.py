"""The commands, except `nasmeta search`: each takes its parsed arguments and returns an exit code.

A command imports what it needs when it is called, so that `nasmeta list` does not load torch.
"""

import argparse
import gc
import json
import logging
import sys
import time
from textwrap import indent
from typing import Any

from nasmeta.config.conf_dir import config_directory
from nasmeta.errors import RunFailed
from nasmeta.runtime.text import printable, some

log = logging.getLogger(__name__)


def resume(options: argparse.Namespace) -> int:
    """`nasmeta resume DIR [KEY=VALUE ...]`."""
    from nasmeta.cli.resume import resume

    return resume(options)


def evaluate(options: argparse.Namespace) -> int:
    """`nasmeta evaluate CHECKPOINT [KEY=VALUE ...]`."""
    from nasmeta.reporting.tables.evaluation import evaluation_line
    from nasmeta.runtime.allocator import keep_pages
    from nasmeta.trained.meta_test import meta_test

    keep_pages()
    result = meta_test(options.checkpoint, options.overrides, trusted=options.trust_code)
    if options.control:
        return _control(options, result)
    if options.json:
        print(json.dumps(result))
    else:
        names = ("accuracy", "ci95", "loss", "tasks", "way", "shot", "batch_norm", "calibration")
        print(evaluation_line(**{name: result[name] for name in names}))
    return 0


def _control(options: argparse.Namespace, result: dict[str, Any]) -> int:
    """`nasmeta evaluate CHECKPOINT --control`."""
    from nasmeta.reporting.tables.evaluation import control_table
    from nasmeta.runtime.signals import interruptible
    from nasmeta.trained.control import control

    with interruptible() as stop:
        compared = control(options.checkpoint, options.overrides, trusted=options.trust_code, stop=stop)
    print(json.dumps({**result, "control": compared}) if options.json else control_table(compared))
    return 0


def predict(options: argparse.Namespace) -> int:
    """`nasmeta predict CHECKPOINT --support DIR --query PATH...`."""
    gc.disable()  # what is imported is no garbage, and looking for some takes a tenth of the time
    from nasmeta.runtime import files
    from nasmeta.runtime.allocator import keep_pages
    from nasmeta.trained.classifier import FewShotClassifier
    from nasmeta.trained.prediction import (
        as_text,
        find_queries,
        find_support,
        fit_files,
        folder_accuracy,
        predictions,
    )

    gc.freeze()
    gc.enable()
    files.check_new(options.output)
    support = find_support(options.support)
    queries = find_queries(options.query)
    keep_pages()
    classifier = FewShotClassifier.load(
        options.checkpoint, device=options.device, trusted=options.trust_code, unknown=options.unknown
    )
    examples = fit_files(classifier, support)
    answers, unreadable = predictions(classifier, queries)
    text = as_text(answers, as_json=options.json, provisional=classifier.provisional)
    if options.output is None:
        sys.stdout.write(text)
    else:
        files.write_atomically(options.output, text.encode(errors="replace"))
    accuracy = folder_accuracy(answers, options.unknown)
    if accuracy is not None:
        shown = {file.resolve() for file in examples} & {file.resolve() for file in queries}
        warning = f"; {len(shown)} of them were among its examples" if shown else ""
        log.info("accuracy by the folders' names: %.1f %% of %d%s", 100 * accuracy, len(answers), warning)
    if unreadable:
        raise RunFailed(f"{len(unreadable)} of {len(queries)} images have no label: {some(unreadable)}")
    return 0


def export(options: argparse.Namespace) -> int:
    """`nasmeta export CHECKPOINT [KEY=VALUE ...]`."""
    from nasmeta.cli.export import export

    return export(options)


def bench(options: argparse.Namespace) -> int:
    """`nasmeta bench [KEY=VALUE ...]`."""
    from nasmeta.cli.bench import benchmark
    from nasmeta.config.overrides import composed
    from nasmeta.config.schema import parse
    from nasmeta.reporting.tables.bench import benchmark_table
    from nasmeta.run.composition import Composition
    from nasmeta.runtime.allocator import keep_pages

    keep_pages()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    composition.log_notices()
    setting, measured = benchmark(
        composition, options.arch, seconds=options.seconds, repeats=max(options.repeats, 1)
    )
    rows = [row.to_dict() for row in measured]
    if options.json:
        for row in rows:
            print(json.dumps({**setting, **row}))
    else:
        print(benchmark_table(setting, rows))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """`nasmeta doctor [KEY=VALUE ...]`: exit code 1 if something is wrong."""
    from nasmeta.cli.doctor import examine
    from nasmeta.runtime.allocator import keep_pages

    keep_pages()
    wrong = 0
    for finding in examine(options.overrides):
        wrong += finding.status == "wrong"
        line = f"{finding.status:6}{finding.what:15}{printable(finding.text)}"
        print(json.dumps(finding.to_dict()) if options.json else line, flush=True)
    return 1 if wrong else 0


def report(options: argparse.Namespace) -> int:
    """`nasmeta report DIR [--output FILE] [--watch [SECONDS]]`."""
    from nasmeta.reporting.pages.report import is_over, write_report

    directory, seconds = options.directory, options.watch
    while seconds is not None and not is_over(directory):
        print(
            write_report(directory, options.output, trusted=options.trust_code, refresh=seconds), flush=True
        )
        time.sleep(seconds)
    print(write_report(directory, options.output, trusted=options.trust_code))
    return 0


def show(options: argparse.Namespace) -> int:
    """`nasmeta show DIR`."""
    from nasmeta.reporting.tables.status import status

    print("\n".join(printable(line) for line in status(options.directory).split("\n")))
    return 0


def compare(options: argparse.Namespace) -> int:
    """`nasmeta compare DIR... [--json | --format FORMAT] [--sort KEY]`."""
    from nasmeta.reporting.read.rows import rows_of
    from nasmeta.reporting.tables.compare import comparison, warnings
    from nasmeta.reporting.tables.paper import paper_table

    rows = rows_of(options.directories, options.sort)
    if options.json:
        print("\n".join(json.dumps(row.to_dict()) for row in rows))
    else:
        text = paper_table(rows, options.format) if options.format else comparison(rows)
        print("\n".join(printable(line) for line in text.split("\n")))
    if options.json or options.format:
        for warning in warnings(rows):
            print(warning, file=sys.stderr)
    return 0


def list_options(options: argparse.Namespace) -> int:
    """`nasmeta list [GROUP]`."""
    from nasmeta.cli.catalogue import catalogue
    from nasmeta.trained.ready import listing

    if options.group == "checkpoints":
        print(listing())
        return 0
    print(catalogue([*options.config_dir, config_directory()], options.group, others=["checkpoints"]))
    if options.group is None:
        print(f"\ncheckpoints\n{indent(listing(), '  ')}")
    return 0


def completion(options: argparse.Namespace) -> int:
    """`nasmeta completion`."""
    from nasmeta.cli.completion import script

    print(script([*HANDLERS, "search", "train"]), end="")
    return 0


HANDLERS = {
    "resume": resume,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "bench": bench,
    "doctor": doctor,
    "report": report,
    "show": show,
    "compare": compare,
    "completion": completion,
    "list": list_options,
}
