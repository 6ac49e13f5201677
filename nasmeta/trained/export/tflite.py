"""TFLite, by litert-torch; int8 by ai-edge-quantizer; run by ai-edge-litert, as phones and boards run it."""

import math
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nasmeta.errors import ConfigError
from nasmeta.trained.export.format import NO_INT8, Format, Session, quiet
from nasmeta.trained.export.pixels import OfPixels

INPUT, SIGNATURE = "serving_default_args_0", "serving_default"
HEAD = "Head_head"
"""What the converter names the tensors of OfPixels.head by. The softmax has the name of the first output."""

ARENA = 1 << 24
"""More bytes than a microcontroller's arena takes."""


class TfLite(Format):
    """TFLite files. The input is one image [1, H, W, C]: float32 from 0 to 255, or int8, pixel minus 128.

    The file has no names of layers, which a board would store for nothing; an entry `nasmeta` of its metadata
    is a JSON object of what is said of it.
    """

    extra, needs, suffix = "tflite", ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"), ".tflite"

    def converted(self, module: OfPixels, pixels: Tensor, metadata: dict[str, str]) -> bytes:
        try:
            with quiet():
                litert: Any = import_module("litert_torch")
                channels_last = litert.to_channel_last_io(module, args=[0]).eval()
                return bytes(
                    litert.convert(channels_last, (_channels_last(pixels[:1]).float(),)).model_content()
                )
        except Exception as error:  # the converter's passes raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ConfigError(f"--format tflite: the network cannot be converted ({reason})") from error

    def quantized(self, data: bytes, pixels: Tensor) -> bytes:
        try:
            with quiet():
                quantizer = self._quantizer(data)
                ranges = quantizer.calibrate(_samples(pixels))
                limits = {"min": 0.0, "max": 255.0}
                ranges[INPUT] = {name: np.full((1, 1, 1, 1), x, np.float32) for name, x in limits.items()}
                quantized = bytes(quantizer.quantize(ranges).quantized_model)
                missing = _in_float(quantized)
                self.session(quantized)
        except Exception as error:  # group norm, for one, makes the quantizer or the interpreter fail
            raise ConfigError(f"--format tflite-int8: an operation {NO_INT8} ({error})") from error
        if missing:
            raise ConfigError(f"--format tflite-int8: {', '.join(missing)} {NO_INT8}")
        return quantized

    def session(self, data: bytes) -> Session:
        with quiet():
            interpreter: Any = import_module("ai_edge_litert.interpreter").Interpreter(model_content=data)
            interpreter.allocate_tensors()
        source, targets = interpreter.get_input_details()[0], interpreter.get_output_details()

        def run(pixels: Tensor) -> list[NDArray[np.float32]]:
            images = _channels_last(pixels).numpy()
            if source["dtype"] is np.int8:
                images = (images.astype(np.int16) - 128).astype(np.int8)
            answers: list[list[Any]] = [[] for _ in targets]
            for image in images.astype(source["dtype"]):
                interpreter.set_tensor(source["index"], image[None])
                interpreter.invoke()
                for target, answer in zip(targets, answers, strict=True):
                    answer.append(_real(interpreter.get_tensor(target["index"]), target))
            return [np.concatenate(answer) for answer in answers]

        return run

    def scale(self, data: bytes) -> tuple[float, int]:
        with quiet():
            interpreter: Any = import_module("ai_edge_litert.interpreter").Interpreter(model_content=data)
        scale, zero = interpreter.get_output_details()[-1]["quantization"]
        return (float(scale), int(zero)) if scale else super().scale(data)

    def deviations(self, data: bytes, quantized: bytes, pixels: Tensor) -> dict[str, float]:
        with quiet():
            metric: Any = import_module("ai_edge_quantizer.utils.validation_utils").ValidationErrorMetric.SNR
            compared = self._quantizer(data, quantized).validate(_samples(pixels), [metric])
        return {
            _layer(name): 10 * math.log10(found["snr"] + 1e-12)
            for name, found in compared.get_all_tensor_results().items()
        }

    def _quantizer(self, data: bytes, quantized: bytes | None = None) -> Any:
        library: Any = import_module("ai_edge_quantizer.quantizer")
        recipe: Any = import_module("ai_edge_quantizer.recipe")
        quantizer = library.Quantizer(bytearray(data), recipe.static_wi8_ai8(), quantized)
        if HEAD.encode() in data:
            quantizer.update_quantization_recipe(
                regex=f"{HEAD}|{SIGNATURE}_output_0",
                operation_name=recipe.TFLOperationName.ALL_SUPPORTED,
                algorithm_key=recipe.AlgorithmName.NO_QUANTIZE,
            )
        return quantizer

    def finished(self, data: bytes, metadata: dict[str, str]) -> bytes:
        import json

        with quiet():
            tools: Any = import_module("ai_edge_litert.tools.flatbuffer_utils")
            schema: Any = import_module("ai_edge_litert.schema_py_generated")
            model = tools.read_model_from_bytearray(bytearray(data))
            tools.strip_strings(model)
            content, entry = schema.BufferT(), schema.MetadataT()
            content.data = list(json.dumps(metadata).encode())
            entry.name, entry.buffer = "nasmeta", len(model.buffers)
            model.buffers.append(content)
            model.metadata = [entry]
            return bytes(tools.convert_object_to_bytearray(model))

    def arena(self, data: bytes, pixels: Tensor) -> int | None:
        """The bytes of memory that the interpreter for microcontrollers takes; None if it is not installed.

        Raises ConfigError if it lacks an operation of the file.
        """
        if find_spec("tflite_micro") is None:
            return None
        with quiet() as text:
            runtime: Any = import_module("tflite_micro").runtime
            try:
                interpreter = runtime.Interpreter.from_bytes(data, arena_size=ARENA)
                kind = interpreter.get_input_details(0)["dtype"]
                image = _channels_last(pixels[:1]).numpy().astype(np.int16) - (128 if kind == np.int8 else 0)
                interpreter.set_input(image.astype(kind), 0)
                interpreter.invoke()
                interpreter.print_allocations()
            except RuntimeError as error:
                reason = " ".join(text().split())
                raise ConfigError(f"--format tflite-int8: tflite-micro cannot run it: {reason}") from error
            found = re.search(r"Arena allocation total (\d+)", text())
        return int(found[1]) if found else None


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 2, 3, 1).contiguous()


def _samples(pixels: Tensor) -> dict[str, list[dict[str, Any]]]:
    """Images as the quantizer wants them."""
    return {SIGNATURE: [{"args_0": image[None]} for image in _channels_last(pixels).float().numpy()]}


def _real(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    """The numbers that integers stand for."""
    scale, zero = details["quantization"]
    return values if scale == 0 else ((values.astype(np.float32) - zero) * scale).astype(np.float32)


def _in_float(data: bytes) -> list[str]:
    """The kinds of operations outside the head that compute in float32."""
    tools: Any = import_module("ai_edge_litert.tools.flatbuffer_utils")
    schema: Any = import_module("ai_edge_litert.schema_py_generated")
    model = tools.read_model_from_bytearray(bytearray(data))
    graph, kinds = model.subgraphs[0], set()
    head = HEAD.encode() in data
    for operator in graph.operators:
        kind = tools.opcode_to_name(model, operator.opcodeIndex)
        for index in operator.outputs:
            tensor = graph.tensors[index]
            name = tensor.name.decode()
            of_head = head and (HEAD in name or f"{SIGNATURE}_output_0" in name)
            if tensor.type == schema.TensorType.FLOAT32 and kind != "DEQUANTIZE" and not of_head:
                kinds.add(str(kind))
    return sorted(kinds)


def _layer(name: str) -> str:
    """A converter's name of a tensor as a path in the network: block2.branch.0."""
    parts = [part.rpartition("_")[2] for part in name.partition(";")[0].split("/")]
    return ".".join(parts[parts.index("body") + 1 :]) if "body" in parts else name
