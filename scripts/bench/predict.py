#!/usr/bin/env python3
"""How long `nasmeta predict` takes, start included, to learn and label classes that a checkpoint never saw.

    OMP_NUM_THREADS=1 taskset -c 0 scripts/bench/predict.py --data FOLDER [--checkpoint symbols] [--repeats 5]

FOLDER holds icons/ and glyphs/, as scripts/datasets makes them. Of each, the first 2, 5 and 20 of the
checkpoint's test classes are learned from three images each, and two more of each are labelled. Every
measurement is a process of its own; beside them stands one that imports torch and does nothing.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from children import cpu_seconds
from tabulate import tabulate

from nasmeta.trained.ready import checkpoint_path
from nasmeta.training.trained_network import TrainedNetwork

WAYS, SHOT, QUERIES = (2, 5, 20), 3, 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="symbols")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    tested = TrainedNetwork.load(checkpoint_path(options.checkpoint), trusted=False).data["test"].classes
    rows: list[tuple[Any, ...]] = [("import torch", "", *seconds(["-c", "import torch"], options.repeats))]
    for data in ("icons", "glyphs"):
        folders = [folder for name in tested if (folder := options.data / data / name).is_dir()]
        for way in WAYS:
            with TemporaryDirectory() as work:
                arguments = ["predict", options.checkpoint, *laid_out(folders[:way], Path(work))]
                rows.append((data, way, *seconds(["-m", "nasmeta", *arguments], options.repeats)))
    print(tabulate(rows, ["", "classes", "wall, s", "slowest, s", "CPU, s"], floatfmt=".2f"))


def laid_out(classes: list[Path], work: Path) -> list[str]:
    """The options of `predict`; support and query images are links in `work`."""
    for folder in classes:
        images = [path.resolve() for path in sorted(folder.iterdir())[: SHOT + QUERIES]]
        (work / "support" / folder.name).mkdir(parents=True)
        for number, image in enumerate(images):
            place = work / "support" / folder.name if number < SHOT else work / "query" / folder.name
            place.mkdir(parents=True, exist_ok=True)
            (place / image.name).symlink_to(image)
    return ["--support", str(work / "support"), "--query", str(work / "query")]


def seconds(arguments: list[str], repeats: int) -> tuple[float, float, float]:
    """Median and longest wall time of a Python process, and the median of its CPU time."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # fills the disk's cache
    walls, works = [], []
    for _ in range(repeats):
        start, before = time.perf_counter(), cpu_seconds()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        walls.append(time.perf_counter() - start)
        works.append(cpu_seconds() - before)
    return statistics.median(walls), max(walls), statistics.median(works)


if __name__ == "__main__":
    main()
