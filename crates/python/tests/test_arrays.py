"""A base that takes arrays: a text model that was exported and quantized here."""

import importlib.util
import subprocess
import sys

import numpy
import pytest

import taskvec
from conftest import REPOSITORY, left_out


@pytest.fixture(scope="module")
def text(tmp_path_factory, program):
    """A folder with two exports of a model as bases, one of them quantized, and the skill between them."""
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None:
        left_out("no packages onnx and onnxruntime")
    folder = tmp_path_factory.mktemp("text")
    subprocess.run([sys.executable, REPOSITORY / "tests/exports/text.py", folder], check=True)
    of = folder / "base.safetensors"
    program("bundle", folder / "base.onnx", "--of", of, "-o", folder / "BASE")
    program("bundle", folder / "tuned.onnx", "-o", folder / "TUNED")
    program("bundle", folder / "dynamic.onnx", "--of", of, "-o", folder / "QUANTIZED")
    program("diff", of, folder / "tuned.safetensors", "--values", "f32", "-o", folder / "skill.tvp")
    return folder


def session(folder):
    return taskvec.Session(taskvec.Base(folder), "ort", allow_unsigned=True)


def test_arrays_go_in_and_come_out_by_name(text):
    ids = numpy.arange(10, dtype=numpy.int64).reshape(2, 5)
    base, tuned = session(text / "BASE"), session(text / "TUNED")
    before, expected = base.run({"ids": ids}), tuned.run({"ids": ids})
    assert before["hidden"].dtype == numpy.float32 and before["hidden"].shape == (2, 5, 32)
    assert before["sides"].tolist() == [2, 5]
    assert numpy.abs(before["hidden"] - expected["hidden"]).max() > 1e-3
    skill = taskvec.Skill(text / "skill.tvp")
    base.attach(skill)
    # A difference in f32, added again, is off by a rounding.
    numpy.testing.assert_allclose(base.run({"ids": ids})["hidden"], expected["hidden"], atol=1e-5)
    base.detach(skill)
    numpy.testing.assert_array_equal(base.run({"ids": ids})["hidden"], before["hidden"])
    # Rows of another array, and not from its start.
    strided = numpy.arange(40, dtype=numpy.int64).reshape(2, 20)[:, ::4]
    numpy.testing.assert_array_equal(
        base.run({"ids": strided})["hidden"], base.run({"ids": strided.copy()})["hidden"]
    )


def test_weights_of_a_quantized_base_are_whole_numbers(text):
    quantized = session(text / "QUANTIZED")
    name = "onnx::MatMul_12_quantized"
    assert quantized.base.tensors[name]["dtype"] == "i8"
    before = quantized.weights(name)
    assert before.dtype == numpy.int8
    quantized.attach(taskvec.Skill(text / "skill.tvp"))
    assert (quantized.weights(name) != before).any()
    numpy.testing.assert_array_equal(quantized.base.weights(name), before)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input `ids` is not given once"),
        ({"ids": numpy.zeros((2, 5), numpy.int32)}, r"input `ids` is I32 \[2, 5\], expected I64 \[batch, sequence\]"),
        ({"ids": numpy.zeros(5, numpy.int64)}, r"input `ids` is I64 \[5\]"),
        ({"tokens": numpy.zeros((2, 5), numpy.int64)}, "has no input `tokens`, its inputs are `ids`"),
        ({"ids": numpy.zeros((2, 5), ">i8")}, "input `ids`: elements are >i8"),
    ],
)
def test_what_the_base_does_not_take_is_refused(text, inputs, message):
    with pytest.raises(taskvec.Usage, match=message):
        session(text / "BASE").run(inputs)


def test_pictures_and_arrays_are_not_mixed_up(text, base):
    with pytest.raises(taskvec.Usage, match="takes arrays"):
        session(text / "BASE").features(numpy.zeros((1, 1, 28, 28), numpy.float32))
    with pytest.raises(taskvec.Usage, match="takes pictures, no arrays"):
        taskvec.Session(base, "burn").run({"ids": numpy.zeros((1, 1), numpy.int64)})


def test_what_is_no_array_is_a_type_error(text):
    with pytest.raises(TypeError, match="input `ids`: expected a numpy array, found list"):
        session(text / "BASE").run({"ids": [[1, 2]]})
