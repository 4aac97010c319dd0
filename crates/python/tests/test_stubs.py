"""The type stubs say what the module has."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import taskvec

# The compiled module inside the package, which nobody imports by that name.
ALLOWED = "taskvec.taskvec\n"


@pytest.fixture(autouse=True)
def mypy():
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("left out: no mypy (`pip install mypy` brings it)")


def told(*arguments):
    ran = subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def test_the_wheel_carries_the_stubs():
    package = Path(taskvec.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "__init__.pyi").read_text() == (Path(__file__).parents[1] / "taskvec.pyi").read_text()


def test_every_name_and_signature_is_in_the_stubs(tmp_path):
    (tmp_path / "allowed").write_text(ALLOWED)
    code, text = told("mypy.stubtest", "taskvec", "--allowlist", tmp_path / "allowed")
    assert code == 0, text


def test_the_example_of_the_readme_type_checks(tmp_path):
    from test_readme import EXAMPLE

    (tmp_path / "example.py").write_text(EXAMPLE)
    code, text = told("mypy", "--strict", "--cache-dir", tmp_path / "cache", tmp_path / "example.py")
    assert code == 0, text


def test_every_public_thing_has_a_docstring():
    for name in dir(taskvec):
        thing = getattr(taskvec, name)
        if name.startswith("_") or name == "taskvec":
            continue
        assert thing.__doc__, name
        for member in vars(thing) if isinstance(thing, type) else []:
            if not member.startswith("_") and not issubclass(thing, Exception):
                assert getattr(thing, member).__doc__, f"{name}.{member}"
