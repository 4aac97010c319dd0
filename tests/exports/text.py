"""Two exports of a small text model, the second with other weights, and both quantized: for tests of foreign models.

    python tests/exports/text.py OUT

Writes `infinite.onnx`, which answers with infinities, `base.onnx`, `tuned.onnx`, `base.safetensors` and `tuned.safetensors` (the checkpoints, with PyTorch's names and layouts)
and `dynamic.onnx` into OUT. The graph is as PyTorch's TorchScript exporter writes it: linear weights turned and renamed.
Needs onnx, onnxruntime and numpy.
"""

import json
import logging
import pathlib
import struct
import sys

import numpy
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

logging.disable(logging.WARNING)
out = pathlib.Path(sys.argv[1])
numbers = numpy.random.default_rng(7)
WORDS, WIDTH, INNER = 60, 32, 48


def checkpoint() -> dict[str, numpy.ndarray]:
    shapes = {
        "embed.weight": (WORDS, WIDTH),
        "layer.attention.query.weight": (INNER, WIDTH),
        "layer.attention.query.bias": (INNER,),
        "layer.output.weight": (WIDTH, INNER),
        "layer.output.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    tensors = {name: numbers.standard_normal(shape).astype("f4") / 4 for name, shape in shapes.items()}
    tensors["norm.weight"] += 1
    return tensors


def tuned(base: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    changed = {name: tensor.copy() for name, tensor in base.items()}
    for name in ("layer.attention.query.weight", "layer.output.weight", "layer.output.bias"):
        mask = numbers.random(changed[name].shape) < 0.2
        changed[name] += (numbers.standard_normal(mask.shape) * 0.05 * mask).astype("f4")
    return changed


def export(tensors: dict[str, numpy.ndarray], path: pathlib.Path) -> None:
    stored = {
        "embed.weight": tensors["embed.weight"],
        "onnx::MatMul_12": tensors["layer.attention.query.weight"].T.copy(),
        "layer.attention.query.bias": tensors["layer.attention.query.bias"],
        "onnx::MatMul_13": tensors["layer.output.weight"].T.copy(),
        "layer.output.bias": tensors["layer.output.bias"],
        "norm.weight": tensors["norm.weight"],
        "norm.bias": tensors["norm.bias"],
    }
    nodes = [
        helper.make_node("Gather", ["embed.weight", "ids"], ["embedded"], "/embed/Gather"),
        helper.make_node("MatMul", ["embedded", "onnx::MatMul_12"], ["product"], "/layer/attention/query/MatMul"),
        helper.make_node("Add", ["layer.attention.query.bias", "product"], ["query"], "/layer/attention/query/Add"),
        helper.make_node("Relu", ["query"], ["positive"], "/layer/Relu"),
        helper.make_node("MatMul", ["positive", "onnx::MatMul_13"], ["projected"], "/layer/output/MatMul"),
        helper.make_node("Add", ["layer.output.bias", "projected"], ["output"], "/layer/output/Add"),
        helper.make_node("Add", ["output", "embedded"], ["sum"], "/layer/Add"),
        helper.make_node("LayerNormalization", ["sum", "norm.weight", "norm.bias"], ["hidden"], "/norm", axis=-1),
        helper.make_node("Shape", ["ids"], ["sides"], "/Shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"])],
        [
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["batch", "sequence", WIDTH]),
            helper.make_tensor_value_info("sides", TensorProto.INT64, [2]),
        ],
        [numpy_helper.from_array(tensor, name) for name, tensor in stored.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def export_infinite(path: pathlib.Path) -> None:
    """The logarithm of a weight that is 0, beside the input."""
    weight = numpy_helper.from_array(numpy.array([0.0, 1.0, 2.0], "f4"), "weight")
    nodes = [helper.make_node("Log", ["weight"], ["log"]), helper.make_node("Add", ["log", "x"], ["y"])]
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "infinite", *ports, [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_safetensors(tensors: dict[str, numpy.ndarray], path: pathlib.Path) -> None:
    header, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        header[name] = {
            "dtype": {"f": "F32", "i": "I64"}[tensor.dtype.kind],
            "shape": tensor.shape,
            "data_offsets": [len(data), len(data) + tensor.nbytes],
        }
        data += tensor.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


export_infinite(out / "infinite.onnx")
base = checkpoint()
for name, tensors in (("base", base), ("tuned", tuned(base))):
    export(tensors, out / f"{name}.onnx")
    write_safetensors(tensors, out / f"{name}.safetensors")
quantize_dynamic(out / "base.onnx", out / "dynamic.onnx", weight_type=QuantType.QInt8)
write_safetensors({"ids": numbers.integers(0, WORDS, (2, 9))}, out / "inputs.safetensors")
