"""Quantizes a base bundle as ONNX Runtime's own tools do: dynamic int8, and static QDQ calibrated on images.

    python tests/exports/quantize.py BUNDLE OUT IMAGES...

BUNDLE is a folder with `graph.onnx`, OUT a folder for `float.onnx`, `dynamic.onnx` and `qdq.onnx`, IMAGES are safetensors files
with an array `pixels`, as the network takes them. Needs onnx, onnxruntime and numpy.
"""

import json
import logging
import pathlib
import struct
import sys

import numpy
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

logging.disable(logging.WARNING)


class Images(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def pixels(path: str) -> numpy.ndarray:
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8 : 8 + length])["pixels"]
    start, end = (8 + length + offset for offset in entry["data_offsets"])
    return numpy.frombuffer(data[start:end], "<f4").reshape(entry["shape"])


bundle, out, images = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
model = onnx.load(bundle / "graph.onnx")
# The quantizers take an initializer for a weight only if nobody can override it.
weights = {tensor.name for tensor in model.graph.initializer}
inputs = [port for port in model.graph.input if port.name not in weights]
del model.graph.input[:]
model.graph.input.extend(inputs)
onnx.save(model, out / "float.onnx")
quantize_dynamic(out / "float.onnx", out / "dynamic.onnx", weight_type=QuantType.QInt8)
batches = [{"pixels": batch} for path in images for batch in numpy.array_split(pixels(path), 8)]
# What costs time; normalizations and sums stay in floats, as is usual for transformers.
costly = ["Conv", "Gemm", "MatMul"]
quantize_static(
    out / "float.onnx",
    out / "qdq.onnx",
    Images(batches),
    quant_format=QuantFormat.QDQ,
    op_types_to_quantize=costly,
    per_channel=True,
)
