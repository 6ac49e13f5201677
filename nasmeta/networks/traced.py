"""Forward passes without Python between their operations, for threads that compute one task each.

Each operation that Python calls releases the interpreter lock and takes it back. If several threads compete
for the lock, each change of hands wakes a thread. That took a sixth of the time of MAML's evaluation on two
cores (4-conv-32). A pass that is traced to TorchScript takes the lock back only at its end. It performs the
same operations, so values are the same to the bit, and so are derivatives.

TorchScript is no longer developed (since torch 2.11), and torch.jit.trace never frees a megabyte per trace.
The two functions that it is built on free everything, but they are not public. If they are missing, or if a
network cannot be traced, passes are computed in the ordinary way.
"""

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Pass = Callable[..., Tensor]

OFTEN = 100
"""Number of passes after which a network is traced. Tracing takes as long as about ten passes."""


class Traces:
    """The traced forward passes of one network, one trace for each shape and dtype of its inputs."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[torch.Size, torch.dtype]] = Counter()
        self._traces: dict[tuple[torch.Size, torch.dtype], Pass | None] = {}
        self._lock = threading.Lock()

    def __call__(self, forward: Pass, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Returns forward(x, *parameters), by a trace once there is one.

        `forward` must perform the same operations at every call with an x of the same shape and dtype.
        """
        kind = x.shape, x.dtype
        if kind not in self._traces:
            self._calls[kind] += 1
            if self._calls[kind] < OFTEN:
                return forward(x, *parameters)
            with self._lock:
                if kind not in self._traces:
                    self._traces[kind] = _traced(forward, x, parameters)
        trace = self._traces[kind]
        return forward(x, *parameters) if trace is None else _run(trace, x, *parameters)


def _run(trace: Pass, *tensors: Tensor) -> Tensor:
    # Keeps TorchScript from fusing operations, and from differentiating them in its own way.
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        return trace(*tensors)


def _traced(forward: Pass, x: Tensor, parameters: Sequence[Tensor]) -> Pass | None:
    """The trace of forward(x, *parameters); None if it cannot be traced or if the trace's result differs."""
    example = [x.detach(), *(p.detach().requires_grad_(p.requires_grad) for p in parameters)]
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            get: Any = torch.jit._get_trace_graph  # type: ignore[attr-defined]
            graph, _ = get(forward, tuple(example))
        if any(_looks_at_values(warning) for warning in said):
            return None
        trace: Pass = torch._C._create_function_from_graph("forward", graph)
        return trace if torch.equal(_run(trace, *example), forward(*example)) else None
    except Exception:  # whatever the reason, an untraced pass gives the right result
        return None


def _looks_at_values(warning: warnings.WarningMessage) -> bool:
    """Whether a network's operations depend on a tensor's values; PyTorch's own layers only check shapes."""
    its_own = Path(torch.__file__).parent in Path(warning.filename).parents
    return warning.category.__name__ == "TracerWarning" and not its_own
