"""The weights of a composition, without an engine."""

import hashlib
import json
import struct

import numpy
import pytest

import taskvec
from conftest import HANDWRITING, bits, read_safetensors


def test_composed_weights_are_those_of_a_session_to_the_bit(base, korean, sketches):
    session = taskvec.Session(base, "burn", allow_unsigned=True)
    session.swap([korean, (sketches, -0.5)])
    composed = taskvec.compose(base, [(sketches, -0.5), (korean, None)])
    assert composed.composition == session.composition
    assert {name: bits(composed[name]) for name in composed} == {
        name: bits(session.weights(name)) for name in base.tensors
    }


def test_composed_weights_are_a_mapping(base, korean):
    composed = taskvec.compose(base, [korean])
    copied = dict(composed)
    assert list(copied) == composed.keys() == list(base.tensors)
    assert len(composed) == len(base.tensors)
    name = next(iter(copied))
    assert name in composed
    assert "nothing" not in composed
    with pytest.raises(KeyError, match="nothing"):
        composed["nothing"]
    copied[name][...] = 5
    assert not (composed[name] == 5).all()


def test_nothing_composed_is_the_bases_file(base, tmp_path):
    taskvec.compose(base, []).write(tmp_path / "same.safetensors")
    assert (tmp_path / "same.safetensors").read_bytes() == (HANDWRITING / "model.safetensors").read_bytes()


def same_tensors(ours, theirs):
    ours, theirs = read_safetensors(ours), read_safetensors(theirs)
    return {name: bits(tensor) for name, tensor in ours.items()} == {
        name: bits(tensor) for name, tensor in theirs.items()
    }


@pytest.mark.parametrize("alphas", [(None, 0.3), (-1.0, None)])
def test_composed_weights_are_what_the_program_applies(base, korean, sketches, program, tmp_path, alphas):
    """Two implementations that share nothing but the arithmetic: the runtime's pages and the packer's tensors."""
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    taskvec.compose(base, zip([korean, sketches], alphas)).write(ours)
    packs = [
        HANDWRITING / (f"skills/{name}.tvp" + ("" if alpha is None else f"@{alpha}"))
        for name, alpha in zip(["korean", "sketches"], alphas)
    ]
    program("apply", HANDWRITING / "model.safetensors", *packs, "-o", theirs)
    assert same_tensors(ours, theirs)


def write_safetensors(path, tensors):
    """Writes arrays by hand; those of uint16 are bfloat16."""
    names = {"<f4": "F32", "<f2": "F16", "<u2": "BF16"}
    header, numbers = {}, b""
    for name, tensor in tensors.items():
        place = [len(numbers), len(numbers) + tensor.nbytes]
        header[name] = {"dtype": names[tensor.dtype.str], "shape": tensor.shape, "data_offsets": place}
        numbers += tensor.tobytes()
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)


def write_base(folder, tensors):
    """A base bundle without a network, described by hand from `FORMAT.md`."""
    write_safetensors(folder / "model.safetensors", tensors)
    described, fingerprint = [], hashlib.sha256(b"taskvec base v1\0")
    kinds = {"<f4": ("f32", 1), "<f2": ("f16", 2), "<u2": ("bf16", 3)}
    for name, tensor in sorted(tensors.items()):
        (dtype, code), digest = kinds[tensor.dtype.str], hashlib.sha256(tensor.tobytes())
        described.append({"name": name, "dtype": dtype, "shape": tensor.shape, "sha256": digest.hexdigest()})
        fingerprint.update(struct.pack("<I", len(name)) + name.encode() + bytes([code, tensor.ndim]))
        fingerprint.update(struct.pack(f"<{tensor.ndim}Q", *tensor.shape) + digest.digest())
    handwriting = json.loads((HANDWRITING / "base.json").read_text())
    changed = {
        "name": "narrow",
        "heads": [],
        "editable": sorted(tensors),
        "tensors": described,
        "fingerprint": fingerprint.hexdigest(),
    }
    (folder / "base.json").write_text(json.dumps(handwriting | changed))


def test_tensors_of_16_bits_are_composed_as_the_program_applies_them(program, tmp_path):
    random = numpy.random.default_rng(3)

    def tensors(shift):
        numbers = random.normal(size=(3, 40, 50)).astype(numpy.float32) + shift
        bfloat = (numbers[2].view(numpy.uint32) >> 16).astype("<u2")
        return {"half": numbers[1].astype("<f2"), "single": numbers[0], "brain": bfloat}

    base_tensors, tuned = tensors(0), tensors(1)
    write_base(tmp_path, base_tensors)
    write_safetensors(tmp_path / "tuned.safetensors", tuned)
    pack = tmp_path / "skill.tvp"
    program("diff", tmp_path / "model.safetensors", tmp_path / "tuned.safetensors", "-o", pack)

    base, skill = taskvec.Base(tmp_path), taskvec.Skill(pack)
    assert [base.tensors[name]["dtype"] for name in ["half", "single", "brain"]] == ["f16", "f32", "bf16"]
    for name, tensor in base_tensors.items():
        assert bits(base.weights(name)) == bits(tensor)
    composed = taskvec.compose(base, [(skill, 1.0)])
    assert {name: bits(composed[name]) for name in composed} == {name: bits(tuned[name]) for name in composed}

    taskvec.compose(base, [(skill, 0.3)]).write(tmp_path / "ours")
    program("apply", tmp_path / "model.safetensors", f"{pack}@0.3", "-o", tmp_path / "theirs")
    assert same_tensors(tmp_path / "ours", tmp_path / "theirs")


def test_what_cannot_be_composed_is_refused(base, korean, tmp_path):
    with pytest.raises(taskvec.Usage, match="in force already"):
        taskvec.compose(base, [korean, korean])
    with pytest.raises(taskvec.Usage, match="finite"):
        taskvec.compose(base, [(korean, numpy.inf)])
    composed = taskvec.compose(base, [korean])
    with pytest.raises(taskvec.Io, match="missing"):
        composed.write(tmp_path / "missing" / "out.safetensors")
    assert list(tmp_path.iterdir()) == []
