"""Each kind of failure is a class of its own, says the next step, and changes nothing."""

import pickle
import traceback

import numpy
import pytest

import taskvec
from conftest import HANDWRITING

KINDS = ["Damaged", "Mismatch", "Untrusted", "Unsupported", "Limit", "Usage", "Io"]


@pytest.fixture
def session(base, korean):
    session = taskvec.Session(base, "burn", allow_unsigned=True)
    session.attach(korean)
    return session


def refused(kind, call):
    with pytest.raises(taskvec.Error) as caught:
        call()
    assert type(caught.value) is kind, caught.value
    return caught.value


def test_there_is_a_class_for_each_kind():
    for kind in KINDS:
        assert issubclass(getattr(taskvec, kind), taskvec.Error)
    assert issubclass(taskvec.Error, Exception)
    assert taskvec.Usage("raised by a caller").help is None


def test_the_message_is_the_chain_of_causes_and_the_help_is_beside_it(session, korean):
    error = refused(taskvec.Usage, lambda: session.attach(korean))
    assert str(error) == "attach `korean`: it is in force already"
    assert error.help == "detach it first, or change its alpha"
    shown = traceback.format_exception_only(error)
    assert shown[0] == "taskvec.Usage: attach `korean`: it is in force already\n"
    assert shown[-1] == f"help: {error.help}\n"


def test_an_error_can_go_to_another_process(session, korean):
    error = refused(taskvec.Usage, lambda: session.attach(korean))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.help) == (type(error), str(error), error.help)


def test_a_refused_change_leaves_what_was_in_force(base, session, korean, sketches):
    before = session.composition
    refused(taskvec.Usage, lambda: session.attach(korean))
    refused(taskvec.Usage, lambda: session.attach(sketches, float("nan")))
    refused(taskvec.Usage, lambda: session.set_alpha(sketches, 1))
    refused(taskvec.Usage, lambda: session.detach(sketches))
    refused(taskvec.Usage, lambda: session.detach("korean"))
    refused(taskvec.Usage, lambda: session.swap([sketches, (sketches, 0.5)]))
    refused(taskvec.Mismatch, lambda: session.attach(sketches, 1e-35))
    assert session.composition == before


def test_limits_are_the_callers(base, korean, sketches):
    one = taskvec.Session(base, "burn", allow_unsigned=True, skills_max=1)
    one.attach(korean)
    refused(taskvec.Limit, lambda: one.attach(sketches))
    small = taskvec.Session(base, "burn", allow_unsigned=True, touched_bytes_max=4096)
    refused(taskvec.Limit, lambda: small.attach(korean))
    short = taskvec.Session(base, "burn", allow_unsigned=True, entries_max=100)
    refused(taskvec.Limit, lambda: short.attach(korean))
    assert small.composition.skills == short.composition.skills == []


def test_engines_that_are_not_there_are_said(base, tmp_path):
    nowhere = tmp_path / "libonnxruntime.so"
    error = refused(taskvec.Unsupported, lambda: taskvec.Session(base, "ort", onnxruntime=nowhere))
    assert str(nowhere) in str(error)
    refused(taskvec.Usage, lambda: taskvec.Session(base, "ort", providers=["abacus"]))
    error = refused(taskvec.Usage, lambda: taskvec.Session(base, "tract"))
    assert "auto, ort, burn" in error.help


def test_files_that_are_not_there_and_bytes_that_are_no_pack(tmp_path):
    error = refused(taskvec.Io, lambda: taskvec.Skill(tmp_path / "nothing.tvp"))
    assert "nothing.tvp" in str(error)
    pack = bytearray((HANDWRITING / "skills/korean.tvp").read_bytes())
    pack[len(pack) // 2] ^= 1
    refused(taskvec.Damaged, lambda: taskvec.Skill(bytes(pack)))


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (numpy.zeros((1, 1, 28, 28)), "float64"),
        (numpy.zeros((1, 1, 28, 28), numpy.uint8), "uint8"),
        (numpy.zeros((1, 1, 28, 28), ">f4"), ">f4"),
        (numpy.zeros((1, 28, 28), numpy.float32), "[1, 28, 28]"),
        (numpy.zeros((1, 3, 28, 28), numpy.float32), "[1, 3, 28, 28]"),
        (numpy.zeros((0, 1, 28, 28), numpy.float32), "[0, 1, 28, 28]"),
    ],
)
def test_pixels_of_another_type_or_shape_are_named(session, pixels, said):
    for call in [session.infer, session.features]:
        error = refused(taskvec.Usage, lambda: call(pixels))
        assert str(error).startswith("pixels: ")
        assert said in str(error)
        assert error.help


def test_heads_and_tensors_that_are_not_there_are_named(base, session, sketches, pixels):
    assert "korean" in refused(taskvec.Usage, lambda: session.infer(pixels, "digits")).help
    refused(taskvec.Usage, lambda: session.infer(pixels, sketches))
    refused(taskvec.Usage, lambda: session.weights("nothing"))
    refused(taskvec.Usage, lambda: base.weights("nothing"))


def test_what_is_of_another_type_is_a_type_error(session, korean):
    for call in [
        lambda: session.infer([[0.0]]),
        lambda: session.attach("korean"),
        lambda: session.swap([7]),
        lambda: session.swap(7),
        lambda: session.detach(7),
    ]:
        with pytest.raises(TypeError):
            call()
