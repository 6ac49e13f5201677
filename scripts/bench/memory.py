#!/usr/bin/env python3
"""Compares the memory that is counted with the arena of TensorFlow Lite for Microcontrollers.

    scripts/bench/memory.py [--count 10] [KEY=VALUE ...]

Draws random networks of a search space, the reference first, converts them to int8 .tflite files, and asks
the interpreter of tflite-micro for its arena. The arena has two parts: the activations, which correspond to
constraints.max_memory_kib, and the interpreter's own tables, which no limit counts. The size of the file,
which also describes tensors and operations, stands beside the counted flash.

It needs litert-torch and tflite-micro. Their weights are untrained, which changes no size.
"""

import argparse
import re
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from torch import nn

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.networks.cost import measure_cost
from nasmeta.networks.forward_pass import ForwardPass
from nasmeta.networks.layers import adopt, make_plain
from nasmeta.reporting.numbers import kib
from nasmeta.run.composition import Composition
from nasmeta.trained.export.format import quiet
from nasmeta.trained.export.tflite import ARENA


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("overrides", nargs="*", default=["target=mcu"])
    options = parser.parse_args()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    space, task = composition.space, composition.task
    rng = seeding.stream(composition.config.keys.seed, "bench", "memory")
    rows, ratios = [], []
    for arch in [space.reference(), *(space.sample(rng) for _ in range(options.count))]:
        model = int8(deployed(space.build(arch, task)), task.input_shape)
        activations, tables = arena(model)
        cost = measure_cost(space, arch, task, 8)
        assert cost.memory is not None
        ratios.append(activations / cost.memory)
        memory = kib(cost.memory), kib(activations), f"{100 * (ratios[-1] - 1):+.1f} %", kib(tables)
        rows.append((*memory, kib(cost.flash), kib(len(model)), str(arch)))
        print(f"{len(rows)} of {options.count + 1}", file=sys.stderr)
    headers = ["memory", "arena", "difference", "its tables", "flash", "file", "architecture"]
    print(tabulate(rows, headers, disable_numparse=True))
    within = sum(abs(ratio - 1) <= 0.15 for ratio in ratios)
    print(f"\nwithin 15 %: {within} of {len(ratios)}, median {100 * (statistics.median(ratios) - 1):+.1f} %")


def deployed(module: nn.Module) -> nn.Module:
    """The network in torch's own layers, with fixed moments in its batch norms."""
    adopt(module, ForwardPass())
    make_plain(module)
    return module.eval()


def int8(module: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The .tflite file of a network for images [channels, height, width], quantized on random images."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    image = torch.rand(1, *shape).permute(0, 2, 3, 1).contiguous()
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = str(Path(folder) / "network.tflite")
        nhwc = litert_torch.to_channel_last_io(module, args=[0]).eval()
        litert_torch.convert(nhwc, (image,)).export(path)
        quantized = quantizer.Quantizer(path)
        quantized.load_quantization_recipe(recipe.static_wi8_ai8())
        calibration = quantized.calibrate({"serving_default": [{"args_0": np.asarray(image)}]})
        return bytes(quantized.quantize(calibration).quantized_model)


def arena(model: bytes) -> tuple[int, int]:
    """The bytes of the activations in the interpreter's arena, and those of its own tables."""
    from tflite_micro.python.tflite_micro import runtime

    with quiet() as told:
        runtime.Interpreter.from_bytes(model, arena_size=ARENA).print_allocations()
        sizes = dict(re.findall(r"Arena allocation (head|tail) (\d+) bytes", told()))
    return int(sizes["head"]), int(sizes["tail"])


if __name__ == "__main__":
    main()
