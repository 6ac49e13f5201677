"""Forward passes without Python between their operations, for threads that compute a task each.

An operation that Python calls gives its lock up and takes it back. Where threads take turns at it, every turn
wakes one of them: a sixth of the time of MAML's evaluation on two cores (4-conv-32). A pass that is traced to
TorchScript asks for the lock at its end only. It is the same operations: the same bits, and derivatives.

TorchScript is no longer developed (since torch 2.11), and torch.jit.trace keeps a megabyte of every trace for
good. The two functions below it keep nothing, but are not public: without them, and for networks that cannot
be traced, passes are computed as ever.
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
"""Passes from which a network is traced; it takes as long as some ten of them."""


class Traces:
    """The traced forward passes of one network, a trace for every shape and type of its inputs."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[torch.Size, torch.dtype]] = Counter()
        self._traces: dict[tuple[torch.Size, torch.dtype], Pass | None] = {}
        self._lock = threading.Lock()

    def __call__(self, forward: Pass, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """forward(x, *parameters), the same operations at every call with inputs of one shape and type."""
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
    # No operation is fused with another, or differentiated anew.
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        return trace(*tensors)


def _traced(forward: Pass, x: Tensor, parameters: Sequence[Tensor]) -> Pass | None:
    """The trace of forward(x, *parameters); None where there is none, or it gives anything else."""
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
    except Exception:  # whatever the reason, an untraced pass is right
        return None


def _looks_at_values(warning: warnings.WarningMessage) -> bool:
    """Whether a network decides by a tensor what it does; PyTorch's own layers only check shapes."""
    its_own = Path(torch.__file__).parent in Path(warning.filename).parents
    return warning.category.__name__ == "TracerWarning" and not its_own
