"""What the tests share: the base bundle of the repository, its packs, and the engines that are here."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest

import taskvec

REPOSITORY = Path(__file__).resolve().parents[3]
HANDWRITING = REPOSITORY / "models/handwriting"


def left_out(what):
    pytest.skip(f"left out: {what}")


@pytest.fixture(scope="session")
def base():
    return taskvec.Base(HANDWRITING)


@pytest.fixture(scope="session")
def korean():
    return taskvec.Skill(HANDWRITING / "skills/korean.tvp")


@pytest.fixture(scope="session")
def sketches():
    return taskvec.Skill(HANDWRITING / "skills/sketches.tvp")


@pytest.fixture(params=["burn", "ort"])
def engine(request):
    """Each engine that can be here."""
    if request.param == "ort" and importlib.util.find_spec("onnxruntime") is None:
        left_out("no ONNX Runtime library (`pip install onnxruntime` brings one)")
    return request.param


@pytest.fixture
def session(base, engine):
    return taskvec.Session(base, engine, allow_unsigned=True)


@pytest.fixture(scope="session")
def pictures():
    """Fourteen pictures of noise, as bytes."""
    return numpy.random.default_rng(7).integers(0, 256, (14, 28, 28), numpy.uint8)


@pytest.fixture(scope="session")
def pixels(base, pictures):
    return base.pixels(pictures)


@pytest.fixture(scope="session")
def program():
    """Runs the program `taskvec`, and gives what it said as JSON."""
    path = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release/taskvec"
    if not path.is_file():
        left_out("the program `taskvec` is not built (`cargo build --release` builds it)")

    def run(*arguments):
        told = subprocess.run([path, "--json", *map(str, arguments)], capture_output=True, text=True)
        # 3: done, with a warning.
        assert told.returncode in (0, 3), told.stderr
        return json.loads(told.stdout)

    return run


def read_safetensors(path):
    """The tensors of a safetensors file, read by hand: eight bytes of length, a header in JSON, the numbers."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, tensor in header.items():
        start, end = tensor["data_offsets"]
        numbers = content[8 + length + start : 8 + length + end]
        dtype = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[tensor["dtype"]]
        tensors[name] = numpy.frombuffer(numbers, dtype).reshape(tensor["shape"])
    return tensors


def bits(array):
    """The bytes of an array: NaN and the sign of zero count."""
    return array.dtype.str, array.shape, array.tobytes()


@pytest.fixture(scope="session")
def base_file():
    """The base's tensors as they stand in its file."""
    return read_safetensors(HANDWRITING / "model.safetensors")
