"""Opening a base, and what it says about itself."""

import json
import shutil

import numpy
import pytest

import taskvec
from conftest import HANDWRITING, bits

DESCRIBED = json.loads((HANDWRITING / "base.json").read_text())


def test_a_base_says_what_base_json_says(base):
    assert base.name == DESCRIBED["name"]
    assert base.fingerprint == DESCRIBED["fingerprint"]
    assert base.folder == HANDWRITING
    assert base.image_shape == (1, 28, 28)
    assert base.feature_width == DESCRIBED["feature_width"]
    assert base.heads == {head["name"]: head["labels"] for head in DESCRIBED["heads"]}
    assert base.fingerprint in repr(base)


def test_its_tensors_are_those_of_the_file_to_the_bit(base, base_file):
    assert list(base.tensors) == sorted(base_file)
    for name, tensor in base_file.items():
        assert base.tensors[name]["dtype"] == "f32"
        assert base.tensors[name]["shape"] == list(tensor.shape)
        assert bits(base.weights(name)) == bits(tensor)
    assert any(tensor["editable"] for tensor in base.tensors.values())


def test_weights_are_the_callers_own_copy(base):
    name = next(iter(base.tensors))
    copy = base.weights(name)
    copy[...] = 5
    assert not (base.weights(name) == 5).all()


def test_pixels_are_scaled_as_base_json_says(base, pictures):
    pixels = base.pixels(pictures)
    assert pixels.dtype == numpy.float32
    assert pixels.shape == (14, 1, 28, 28)
    [mean], [std] = DESCRIBED["preprocessing"]["mean"], DESCRIBED["preprocessing"]["std"]
    expected = (pictures.astype(numpy.float64)[:, None] / 255 - mean) / std
    numpy.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_pictures_of_other_sizes_and_of_three_channels_are_brought_to_the_networks_size(base):
    gray = numpy.full((2, 56, 40), 200, numpy.uint8)
    color = numpy.repeat(gray[..., None], 3, axis=3)
    assert base.pixels(color).shape == (2, 1, 28, 28)
    numpy.testing.assert_allclose(base.pixels(gray), base.pixels(color), atol=1e-5)
    numpy.testing.assert_allclose(base.pixels(gray), numpy.full((2, 1, 28, 28), (200 / 255 - 0.5) / 0.5), atol=1e-5)


def test_pixels_can_be_made_as_a_skill_says(base, korean, pictures):
    assert bits(base.pixels(pictures, skill=korean)) == bits(base.pixels(pictures))


def test_pictures_may_lie_in_memory_in_any_way(base, pictures):
    turned = pictures.transpose(0, 2, 1)
    assert not turned.flags.c_contiguous
    assert bits(base.pixels(turned)) == bits(base.pixels(numpy.ascontiguousarray(turned)))


@pytest.mark.parametrize(
    "pictures",
    [
        numpy.zeros((1, 28, 28), numpy.float32),
        numpy.zeros((28, 28), numpy.uint8),
        numpy.zeros((1, 28, 28, 2), numpy.uint8),
        numpy.zeros((0, 28, 28), numpy.uint8),
    ],
)
def test_what_is_no_batch_of_pictures_is_wrong_use(base, pictures):
    with pytest.raises(taskvec.Usage, match="pictures: ") as caught:
        base.pixels(pictures)
    assert caught.value.help


def test_a_damaged_base_is_refused(tmp_path):
    for name in ["base.json", "model.safetensors"]:
        shutil.copy(HANDWRITING / name, tmp_path / name)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(taskvec.Damaged):
        taskvec.Base(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(taskvec.Io, match="nowhere"):
        taskvec.Base(tmp_path / "nowhere")
