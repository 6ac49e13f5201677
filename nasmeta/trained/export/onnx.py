"""ONNX, by torch's exporter; int8 as quantize and dequantize nodes, by onnxruntime's static quantizer."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from nasmeta.errors import ConfigError
from nasmeta.trained.export.format import NO_INT8, Format, Session, quiet
from nasmeta.trained.export.pixels import OfPixels


class Onnx(Format):
    """ONNX files. The input is `pixels`, [n, C, H, W] uint8; the file's metadata hold what is said of it."""

    extra, needs, suffix = "onnx", ("onnx", "onnxruntime", "onnxscript"), ".onnx"

    def converted(self, module: OfPixels, pixels: Tensor, metadata: dict[str, str]) -> bytes:
        try:
            with quiet():
                program: Any = torch.onnx.export(
                    module,
                    (pixels[:2],),
                    input_names=["pixels"],
                    output_names=module.outputs,
                    dynamic_shapes={"pixels": {0: torch.export.Dim("images")}},
                    dynamo=True,
                    verbose=False,
                )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConfigError(f"--format onnx: {str(error).splitlines()[0]}") from error
        program.model.metadata_props.update(metadata)
        data: bytes = program.model_proto.SerializeToString()
        return data

    def quantized(self, data: bytes, pixels: Tensor) -> bytes:
        try:
            with quiet(), TemporaryDirectory() as folder:
                ort: Any = import_module("onnxruntime.quantization")
                source, result = _prepared(data, folder), Path(folder, "int8.onnx")
                ort.quantize_static(
                    source,
                    result,
                    _Images(pixels),
                    per_channel=True,
                    activation_type=ort.QuantType.QInt8,
                    weight_type=ort.QuantType.QInt8,
                    nodes_to_exclude=_after_embeddings(import_module("onnx").load(source).graph),
                )
                quantized = result.read_bytes()
                self.session(quantized)
        except Exception as error:  # group norm, for one, makes the quantizer fail in several ways
            raise ConfigError(f"--format onnx-int8: an operation {NO_INT8} ({error})") from error
        return quantized

    def session(self, data: bytes) -> Session:
        session: Any = import_module("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
        return lambda pixels: session.run(None, {"pixels": pixels.numpy()})

    def deviations(self, data: bytes, quantized: bytes, pixels: Tensor) -> dict[str, float]:
        debug: Any = import_module("onnxruntime.quantization.qdq_loss_debug")
        with quiet(), TemporaryDirectory() as folder:
            source, int8, every = _prepared(data, folder), Path(folder, "int8.onnx"), Path(folder, "all.onnx")
            int8.write_bytes(quantized)
            activations = []
            for file in (int8, source):
                debug.modify_model_output_intermediate_tensors(file, every)
                activations.append(debug.collect_activations(str(every), _Images(pixels)))
            matched = debug.create_activation_matching(*activations)
        ratio = debug.compute_signal_to_quantization_noice_ratio
        return {name: ratio(m["float"], m["post_qdq"]) for name, m in matched.items() if "float" in m}


class _Images:
    """A reader of calibration images as onnxruntime wants it: one image a step."""

    def __init__(self, pixels: Tensor) -> None:
        self.rest = iter(pixels.split(1))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"pixels": image.numpy()} for image in self.rest)

    def get_next(self) -> dict[str, Any] | None:
        """The next image; None at the end."""
        return next(iter(self), None)


def _prepared(data: bytes, folder: str) -> Path:
    """The file with norms folded into convolutions, as the quantizer wants it."""
    file, optimized = Path(folder, "float.onnx"), Path(folder, "optimized.onnx")
    file.write_bytes(data)
    import_module("onnxruntime.quantization.shape_inference").quant_pre_process(file, optimized)
    return optimized


def _after_embeddings(graph: Any) -> list[str]:
    """The names of the nodes that depend on the output `embeddings`: the head."""
    reached, names = {"embeddings"}, []
    for node in graph.node:  # in topological order
        if reached & set(node.input):
            reached |= set(node.output)
            names.append(node.name)
    return names
