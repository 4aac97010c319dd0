"""Checks the ONNX graph of a base bundle: FOLDER CHANNELS HEIGHT WIDTH.

The package `onnx` must accept it, and ONNX Runtime must give FOLDER/expected.f32 for FOLDER/pixels.f32 within 1e-5 of the
largest feature, with the weights taken from model.safetensors and with the editable ones given as inputs. Where there is a
FOLDER/now.f32 (other numbers for the editable tensors, one after the other in the order of base.json), these are given too, and
the answer must be FOLDER/expected_now.f32.
"""
import json
import struct
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime

folder, shape = Path(sys.argv[1]), [int(side) for side in sys.argv[2:5]]
path = str(folder / "graph.onnx")
onnx.checker.check_model(path, full_check=True)

pixels = numpy.fromfile(folder / "pixels.f32", "<f4").reshape(-1, *shape)
expected = numpy.fromfile(folder / "expected.f32", "<f4").reshape(len(pixels), -1)
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

model = (folder / "model.safetensors").read_bytes()
(header_len,) = struct.unpack("<Q", model[:8])
header, data = json.loads(model[8 : 8 + header_len]), model[8 + header_len :]
given = {}
for name in json.loads((folder / "base.json").read_text())["editable"]:
    start, end = header[name]["data_offsets"]
    given[name] = numpy.frombuffer(data[start:end], "<f4").reshape(header[name]["shape"])

cases = [({}, expected), (given, expected)]
if (folder / "now.f32").exists():
    numbers, changed, start = numpy.fromfile(folder / "now.f32", "<f4"), {}, 0
    for name, tensor in given.items():
        changed[name] = numbers[start : start + tensor.size].reshape(tensor.shape)
        start += tensor.size
    cases.append((changed, numpy.fromfile(folder / "expected_now.f32", "<f4").reshape(len(pixels), -1)))

for inputs, expected in cases:
    (features,) = session.run(["features"], {"pixels": pixels, **inputs})
    worst = numpy.abs(features - expected).max() / numpy.abs(expected).max()
    assert features.shape == expected.shape and worst < 1e-5, f"{features.shape}, {worst}"
    print(f"{len(inputs)} weights given: largest difference {worst:.1e}")

# What is given is felt.
zeroed = {name: numpy.zeros_like(tensor) for name, tensor in given.items()}
(features,) = session.run(["features"], {"pixels": pixels, **zeroed})
assert not numpy.allclose(features, expected), "weights that were given had no effect"
