"""Exports of trained networks: ONNX and TFLite files, in float32 and in int8."""
