"""Opening a pack, and what is in it."""

import pytest

import taskvec
from conftest import HANDWRITING

KOREAN = HANDWRITING / "skills/korean.tvp"


def test_a_skill_is_the_same_from_its_path_and_from_its_bytes(korean, sketches):
    of_bytes = taskvec.Skill(KOREAN.read_bytes())
    assert taskvec.Skill(str(KOREAN)) == korean == of_bytes
    assert hash(korean) == hash(of_bytes)
    assert korean != sketches
    assert len({korean, of_bytes, sketches}) == 2
    assert korean.digest in repr(korean)


def test_a_skill_says_what_its_pack_says(base, korean):
    inspected = taskvec.inspect(korean)
    assert korean.name == inspected["name"] == "korean"
    assert korean.digest == inspected["digest"]
    assert korean.base == inspected["base"] == base.fingerprint
    assert korean.labels == inspected["labels"]
    assert korean.alpha == pytest.approx(inspected["alpha"])
    assert list(korean.alpha_range) == pytest.approx(inspected["alpha_range"])
    assert korean.size_bytes == inspected["pack_bytes"] == KOREAN.stat().st_size


def test_inspect_takes_a_path_bytes_and_a_skill(korean):
    assert taskvec.inspect(KOREAN) == taskvec.inspect(KOREAN.read_bytes()) == taskvec.inspect(korean)


@pytest.mark.parametrize("name", ["korean", "sketches"])
def test_inspect_says_what_the_program_says(program, name):
    pack = HANDWRITING / f"skills/{name}.tvp"
    assert taskvec.inspect(pack) == program("inspect", pack)


def test_a_pack_with_any_byte_changed_is_damaged():
    pack = bytearray(KOREAN.read_bytes())
    for at in range(40, len(pack), len(pack) // 30):
        pack[at] ^= 0x10
        with pytest.raises(taskvec.Error):
            taskvec.Skill(bytes(pack))
        pack[at] ^= 0x10
    taskvec.Skill(bytes(pack))


def test_what_is_neither_path_nor_bytes_is_a_type_error():
    with pytest.raises(TypeError):
        taskvec.Skill(7)
