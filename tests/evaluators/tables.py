"""Small tables for tests."""

from collections.abc import Iterable
from pathlib import Path

HEADER = (
    "arch,learner,dataset,iterations,valid_accuracy,valid_ci95,test_accuracy,test_ci95,params,flops,seconds"
)


def few_shot_row(arch: str, number: int, learner: str = "protonet", iterations: int = 3) -> str:
    """A row whose validation accuracy is 0.<number> and whose test accuracy is 0.9<number>."""
    return f"{arch},{learner},strokes,{iterations},0.{number:03d},0.01,0.9{number:03d},,{number + 1},20,2.5"


def write_few_shot(path: Path, archs: Iterable[str], iterations: Iterable[int] = (3,)) -> Path:
    budgets = list(iterations)
    rows = [few_shot_row(arch, n, iterations=budget) for n, arch in enumerate(archs) for budget in budgets]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def write_benchmark(path: Path, rows: Iterable[tuple[str, float, float]], header: str = "") -> Path:
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join([header or "arch,valid_acc_12,test_acc_200", *lines]) + "\n")
    return path
