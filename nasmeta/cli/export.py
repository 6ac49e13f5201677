"""`nasmeta export`."""

import argparse
import logging
from pathlib import Path

from nasmeta.errors import ConfigError, DataError
from nasmeta.runtime import files
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.export.export import FORMATS, Int8, write
from nasmeta.trained.export.parts import check_parts, write_parts
from nasmeta.trained.meta_test import MetaTest
from nasmeta.trained.prediction import find_support, fit_files
from nasmeta.trained.ready import FOLDER

log = logging.getLogger(__name__)


def export(options: argparse.Namespace) -> int:
    """`nasmeta export CHECKPOINT [KEY=VALUE ...] [--support DIR] [--format FORMAT]`."""
    name, _, int8 = options.format.partition("-")
    format = FORMATS[name]
    if options.max_loss is not None and not int8:
        raise ConfigError(f"--max-loss: {options.format} loses nothing; use it with --format {name}-int8")
    format.check_installed()
    folder = options.checkpoint if options.checkpoint.is_dir() else options.checkpoint.parent
    folder = Path() if folder == FOLDER else folder
    what = "embedding" if options.support is None else "classifier"
    output: Path = options.output or folder / ("parts" if options.parts else f"{what}{format.suffix}")
    files.check_new(output)
    support = None if options.support is None else find_support(options.support)
    test = _meta_test(options) if int8 or options.overrides else None
    if test is None:
        classifier = FewShotClassifier.load(options.checkpoint, device="cpu", trusted=options.trust_code)
    else:
        classifier = FewShotClassifier.of(test.calibrated_network(), test.learner, test.state)
    if options.parts:
        check_parts(classifier)
    examples = [] if support is None else fit_files(classifier, support)
    max_loss = 1.0 if options.max_loss is None else options.max_loss
    quantization = Int8.of(test, classifier, examples, max_loss) if int8 else None
    if options.parts:
        write_parts(classifier, output, format, support or {}, quantization)
    else:
        write(classifier, output, format, examples, quantization)
    print(output)
    return 0


def _meta_test(options: argparse.Namespace) -> MetaTest | None:
    """The meta-test tasks; None, with a warning, if there are examples and the tasks are not at hand."""
    try:
        test = MetaTest.of(options.checkpoint, [*options.overrides, "device=cpu"], trusted=options.trust_code)
    except DataError as error:
        if options.support is None or options.overrides:
            raise
        log.warning("int8 is not checked on meta-test tasks: %s", error)
        return None
    test.warn()
    return test
