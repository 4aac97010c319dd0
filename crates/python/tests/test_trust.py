"""Whose packs a session attaches."""

import shutil

import pytest

import taskvec
from conftest import HANDWRITING


@pytest.fixture
def key(program, tmp_path):
    """Makes a key pair of this name: the path of the secret one and of the public one."""

    def make(name):
        program("key", "new", "-o", tmp_path / f"{name}.key")
        return tmp_path / f"{name}.key", tmp_path / f"{name}.pub"

    return make


@pytest.fixture
def signed(program, tmp_path):
    """A skill that is signed with these secret keys."""

    def sign(*secrets):
        pack = tmp_path / "signed.tvp"
        shutil.copyfile(HANDWRITING / "skills/korean.tvp", pack)
        for secret in secrets:
            program("sign", pack, "--key", secret)
        return taskvec.Skill(pack.read_bytes())

    return sign


def test_a_session_trusts_nobody_unless_it_is_told(base, korean):
    session = taskvec.Session(base, "burn")
    for change in [lambda: session.attach(korean), lambda: session.swap([korean])]:
        with pytest.raises(taskvec.Untrusted, match="nobody's pack is trusted") as caught:
            change()
        assert caught.value.help
    assert session.composition.skills == []


def test_a_session_attaches_what_a_trusted_key_has_signed(base, korean, key, signed):
    (secret, public), (other_secret, _) = key("maker"), key("other")
    session = taskvec.Session(base, "burn", trust=[public])
    for refused in [korean, signed(), signed(other_secret)]:
        with pytest.raises(taskvec.Untrusted):
            session.attach(refused)
    skill = signed(other_secret, secret)
    assert skill == korean
    session.attach(skill)
    assert session.composition.skills[0].digest == korean.digest
    beside = session.beside()
    beside.attach(skill)
    with pytest.raises(taskvec.Untrusted):
        beside.swap([korean])


def test_a_threshold_counts_keys(base, key, signed):
    (one, one_public), (two, two_public) = key("one"), key("two")
    session = taskvec.Session(base, "burn", trust=[one_public, str(two_public)], threshold=2)
    with pytest.raises(taskvec.Untrusted, match="1 pinned keys have signed it, expected 2"):
        session.attach(signed(one))
    session.attach(signed(one, two))
    with pytest.raises(taskvec.Usage, match="threshold"):
        taskvec.Session(base, "burn", trust=[one_public], threshold=2)


def test_inspect_holds_signatures_against_keys(program, key, signed, tmp_path):
    secret, public = key("maker")
    skill = signed(secret)
    [unknown] = taskvec.inspect(skill)["signatures"]
    [known] = taskvec.inspect(skill, keys=[public])["signatures"]
    assert unknown["fits"] is None
    assert known["fits"] is True
    assert taskvec.inspect(skill, keys=[public]) == program("inspect", tmp_path / "signed.tvp", "--key", public)


def test_what_is_no_public_key_is_refused(base, key, tmp_path):
    secret, _ = key("maker")
    with pytest.raises(taskvec.Error, match="public key"):
        taskvec.Session(base, "burn", trust=[secret])
    with pytest.raises(taskvec.Io, match="nobody.pub"):
        taskvec.inspect(HANDWRITING / "skills/korean.tvp", keys=[tmp_path / "nobody.pub"])
