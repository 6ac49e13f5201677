"""The memory that a deployed network needs: RAM for its activations, flash for its parameters.

A network for one image is counted as runtimes deploy it, one operation after the other:

- A tensor lives from the operation that writes it to the last one that reads it. The peak is the largest sum
  of the tensors that live during an operation, its inputs and outputs among them. The image is the first
  tensor, and parameters are none.
- Convolutions, matrix products, additions, multiplications, concatenations, poolings and averages are
  operations that write a new tensor.
- Functions of single numbers are computed where their input is: activations, and batch norms, which have
  fixed moments and fold into the convolution before them. They write a new tensor only if their input is read
  again later.
- Group norm and layer norm read a whole image before they write it, so they are operations of their own: they
  cost their input and their output.
- A convolution of stride 2 whose map has an even height or width is two operations, since TensorFlow Lite
  pads such a map at the bottom and the right only: one that writes the padded map, and the convolution.
- Flattening and slicing copy nothing.
- A number takes 1 byte at 8 bits and 4 at 32.

The flash is `bits` for each weight, and 32 bits for each bias, scale and shift. A batch norm leaves one bias
for each channel.

What a runtime needs besides is not counted: its code, the descriptions of tensors and operations, buffers
within an operation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from nasmeta.search_spaces.count import IMAGE, Bits, Liveness, flash

# They keep the shape and count as no FLOPs. On the meta device, torch decomposes them, which is slow.
NORMS = frozenset({F.batch_norm, F.group_norm, F.layer_norm, F.instance_norm})

IN_PLACE = frozenset(
    {F.batch_norm, F.relu, F.relu6, F.hardtanh, F.gelu, F.silu, torch.relu, torch.sigmoid, torch.tanh}
)
"""The functions of single numbers. One that is missing here counts as an operation of its own."""


class Trace(TorchFunctionMode):
    """A context that records which tensors the operations of a network read and write.

    image: the network's input, on the meta device. Norms are recorded and not computed.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._kept = [image]  # so that no storage's address is used twice
        self._sizes = {_storage(image): image.numel()}
        self._calls: list[tuple[bool, list[int], int]] = []  # in place or not, storages read, storage written

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        inputs: Any = args, named
        if func in NORMS:
            result = torch.empty_like(args[0] if args else named["input"])
        else:
            result = func(*args, **named)
        if func is F.conv2d and (padding := _padding(*args, **named)):
            x = args[0] if args else named["input"]
            padded = F.pad(x, padding)
            self._record(False, x, padded)
            inputs = padded
        self._record(func in IN_PLACE, inputs, result)
        return result

    def _record(self, in_place: bool, inputs: Any, outputs: Any) -> None:
        """Records an operation, if it writes a tensor of its own."""
        reads = [place for place in _storages(inputs) if place in self._sizes]
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, Tensor) and _storage(tensor) not in self._sizes:
                self._kept.append(tensor)
                self._sizes[_storage(tensor)] = tensor.numel()
                self._calls.append((in_place, reads, _storage(tensor)))

    def peak(self) -> int:
        """The most numbers that live at the same time."""
        live = Liveness(self._sizes[_storage(self._kept[0])])
        tensors = {_storage(self._kept[0]): IMAGE}
        last_reads = {place: n for n, (_, reads, _) in enumerate(self._calls) for place in reads}
        for number, (in_place, reads, written) in enumerate(self._calls):
            if in_place and reads and last_reads[reads[0]] == number:
                tensors[written] = tensors[reads[0]]
            else:
                tensors[written] = live.write(self._sizes[written], *(tensors[place] for place in reads))
        return live.peak()


def _padding(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> list[int]:
    """How F.pad pads the map of a convolution before it; empty if that needs no operation of its own."""
    if isinstance(padding, str):  # "same" or "valid"
        return []
    pads: tuple[int, int] = _pair(padding)
    sides = zip(input.shape[2:], weight.shape[2:], _pair(stride), pads, _pair(dilation), strict=True)
    for size, kernel, step, pad, apart in sides:
        needed = (-(-size // step) - 1) * step + apart * (kernel - 1) + 1 - size
        if pad and 2 * pad != needed:
            return [pads[1], pads[1], pads[0], pads[0]]
    return []


def measure_flash(module: nn.Module, bits: Bits) -> int:
    """The bytes of the module's parameters where it is deployed."""
    sizes = [(parameter.dim() > 1, parameter.numel()) for parameter in module.parameters()]
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.affine]
    biases = sum(size for is_weight, size in sizes if not is_weight)
    folded = sum(norm.num_features for norm in norms)
    return flash(sum(size for is_weight, size in sizes if is_weight), biases - folded, bits)


def _storages(values: Any) -> list[int]:
    """The storages of all tensors in `values`, each once."""
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return list(dict.fromkeys(map(_storage, tensors)))


def _storage(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
