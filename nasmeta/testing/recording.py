"""CUDA graphs without a GPU: a simulated one notes operations on the CPU, and replays them there.

What a CUDA graph freezes is frozen here too: numbers of Python, which operations there are, and the memory
that they read and write. So a step that would go wrong when it is replayed goes wrong here.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasmeta.training import cuda_graphs, optimizers

READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
"""Operations for which the host waits for a GPU."""


@contextlib.contextmanager
def simulated_graphs() -> Iterator[None]:
    """Recorded calls on the CPU become simulated graphs, and optimizers are one kernel there."""
    with (
        patch.object(cuda_graphs, "Graph", SimulatedGraph),
        patch.object(optimizers, "_has_one_kernel", lambda kind, _: "fused" in signature(kind).parameters),
    ):
        yield


class SimulatedGraph:
    """Stands for cuda_graphs.Graph: after `capturing`, the block has changed nothing, and can be replayed."""

    def __init__(self, device: torch.device) -> None:
        self._tape = _Tape()

    @contextlib.contextmanager
    def capturing(self) -> Iterator[None]:
        try:
            with self._tape:
                yield
        finally:
            self._tape.undo()

    def replay(self) -> None:
        with torch._C._AutoDispatchBelowAutograd():
            for operation in self._tape.operations:
                operation.again()


@dataclass(frozen=True)
class _Operation:
    """One operation, and the tensors that it wrote, which every replay writes again."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any

    def again(self) -> None:
        """Does it once more, into the memory of its first result."""
        result = self.function(*self.args, **self.kwargs)
        for old, new in zip(_tensors(self.result), _tensors(result), strict=True):
            if _memory(old) != _memory(new):  # neither a view nor written in place
                old.copy_(new)


class _Tape(TorchDispatchMode):
    """Notes operations. They are done at once, so `undo` restores what they changed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in READS:
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        named = kwargs or {}
        given = [*zip(func._schema.arguments, args, strict=False)]
        given += [(each, named[each.name]) for each in func._schema.arguments if each.name in named]
        for argument, value in given:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._before += [(tensor, tensor.clone()) for tensor in _tensors(value)]
        result = func(*args, **named)
        self.operations.append(_Operation(func, args, named, result))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        while self._before:
            tensor, value = self._before.pop()
            tensor.copy_(value)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
