#!/usr/bin/env python3
"""Times convolutions of tasks with weights of their own: Triton's kernels, written-out windows, groups.

    scripts/bench/convolutions.py [--device cuda] [--precision tf32] [--seconds 0.2] [SHAPE ...]

A SHAPE is tasks x images x channels x size x outputs x kernel x stride, such as 32x5x64x28x64x3x1. Prints a
line for each: the milliseconds of the forward pass, of the derivative by the input and of that by the weight,
with Triton (kernels=triton), by windows (what kernels=torch does on a GPU) and as one grouped convolution
(what torch.vmap does by itself); then the fastest of the three by their sums.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor
from torch.utils.benchmark import Timer

from nasmeta.networks.kernels import stacked
from nasmeta.runtime import device

SHAPES = [
    *("32x5x1x28x64x3x1", "32x5x64x14x64x3x1", "32x5x64x7x64x3x1", "32x5x64x3x64x3x1"),  # 4-conv-64, 1-shot
    *("32x80x1x28x64x3x1", "32x80x64x14x64x3x1", "32x80x64x7x64x3x1"),  # with 15 queries a class
    *("4x80x64x14x64x3x1", "32x80x16x28x16x5x1", "32x80x32x28x64x3x2", "32x80x32x14x128x1x1"),
]
CALLS = 5
"""The calls of a recording."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each figure")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE")
    options = parser.parse_args()
    place = device.pick(options.device, options.precision)
    if place.type == "cpu":  # only to see that it runs
        os.environ["TRITON_INTERPRET"] = "1"
    else:
        torch.cuda.set_stream(torch.cuda.Stream())  # nothing can be recorded on the default stream
    from nasmeta.networks.kernels.triton import convolution

    ways = {"triton": convolution.convolve, "windows": stacked.convolve, "groups": grouped}
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    rows = []
    for shape in options.shapes or SHAPES:
        tasks, n, channels, size, outputs, kernel, stride = map(int, shape.split("x"))
        draw = torch.Generator(place).manual_seed(0)
        x = torch.randn(tasks, n, size, size, channels, generator=draw, device=place, dtype=dtype)
        weight = torch.randn(
            tasks, outputs, channels, kernel, kernel, generator=draw, device=place, dtype=dtype
        )
        images = x.movedim(-1, 2)
        times = {
            name: [
                milliseconds(call, options.seconds, recorded=place.type == "cuda")
                for call in operations(convolve, images, weight, stride, kernel // 2)
            ]
            for name, convolve in ways.items()
        }
        fastest = min(times, key=lambda name: sum(times[name]))
        rows.append([shape, *(" ".join(f"{ms:.3f}" for ms in each) for each in times.values()), fastest])
    print(f"{device.kind(place)}, {options.precision}; ms: forward, by input, by weight\n")
    print(tabulate(rows, ["shape", *ways, "fastest"], tablefmt="github", disable_numparse=True))


def operations(
    convolve: Callable[..., Tensor], x: Tensor, w: Tensor, stride: int, padding: int
) -> Iterator[Callable[[], object]]:
    """The three operations, one after the other."""
    yield lambda: convolve(x, w, stride, padding)
    for of_x in (True, False):
        images, weight = x.detach().requires_grad_(of_x), w.detach().requires_grad_(not of_x)
        y, place = convolve(images, weight, stride, padding), images if of_x else weight
        slope = torch.ones_like(y)
        yield partial(torch.autograd.grad, y, place, slope, retain_graph=True)


def milliseconds(call: Callable[[], object], seconds: float, *, recorded: bool) -> float:
    """The median time of a call; `recorded` as a CUDA graph, so that Python does not count."""
    job, calls = call, 1
    if recorded:
        call()
        graph, calls = torch.cuda.CUDAGraph(), CALLS
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            for _ in range(calls):
                call()
        job = graph.replay
    timer = Timer("job()", globals={"job": job})
    return float(1000 * timer.blocked_autorange(min_run_time=seconds).median / calls)


def grouped(x: Tensor, w: Tensor, stride: int, padding: int) -> Tensor:
    """A group of channels for each task."""
    images = x.transpose(0, 1).flatten(1, 2)
    y = F.conv2d(images, w.flatten(0, 1), None, stride, padding, groups=len(w))
    parts: Tensor = y.unflatten(1, w.shape[:2])
    return parts.transpose(0, 1)


if __name__ == "__main__":
    main()
