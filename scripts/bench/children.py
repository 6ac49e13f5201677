"""What the processes that a benchmark starts take."""

import resource


def cpu_seconds() -> float:
    """The CPU time of all child processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
