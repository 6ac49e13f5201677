"""What `nasmeta bench` prints."""

from typing import Any

from tabulate import tabulate

from nasmeta.reporting.numbers import human


def benchmark_table(setting: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What `nasmeta bench` measured, and with which setting, as text."""
    headers = ["", "tasks/s", "slowest - fastest", "repeats", "FLOPs a task", "of matmul rate", "peak memory"]
    cells = [
        [
            row["what"],
            f"{row['tasks_per_second']:.1f}",
            f"{row['slowest']:.1f} - {row['fastest']:.1f}",
            row["repeats"],
            human(row["flops"]),
            f"{100 * row['share']:.0f} %",
            f"{row['peak_mib']:.0f} MiB",
        ]
        for row in rows
    ]
    what = (
        f"{setting['learner']}, {setting['way']}-way {setting['shot']}-shot, {setting['query']} queries, "
        f"{setting['meta_batch']} tasks a meta-batch, batch_norm {setting['batch_norm']}, "
        f"task_parallel {setting['task_parallel']}, kernels {setting['kernels']}, "
        f"precision {setting['precision']}"
    )
    machine = (
        f"{setting['device']}, {setting['threads']} threads, torch {setting['torch']}, "
        f"matrix products {setting['matmul_gflops']:.0f} GFLOP/s"
    )
    return "\n".join([setting["arch"], what, machine, "", tabulate(cells, headers, disable_numparse=True)])
