"""Attach, detach, swap, weigh and infer, on each engine."""

import json

import numpy

import taskvec
from conftest import HANDWRITING, bits


def weights(of, base):
    return {name: bits(of.weights(name)) for name in base.tensors}


def test_after_detaching_every_weight_is_the_files_to_the_bit(base, base_file, session, korean, sketches):
    session.attach(korean)
    session.attach(sketches, 0.5)
    changed = [name for name in base_file if bits(session.weights(name)) != bits(base_file[name])]
    assert changed
    assert all(base.tensors[name]["editable"] for name in changed)
    session.detach(korean)
    session.detach(sketches.digest)
    assert weights(session, base) == {name: bits(tensor) for name, tensor in base_file.items()}


def test_the_order_of_attaching_does_not_matter(base, engine, korean, sketches):
    one, other, swapped = (taskvec.Session(base, engine, allow_unsigned=True) for _ in range(3))
    one.attach(korean)
    one.attach(sketches, -0.25)
    other.attach(sketches, -0.25)
    other.attach(korean)
    swapped.swap([(sketches, -0.25), korean])
    assert weights(one, base) == weights(other, base) == weights(swapped, base)
    assert one.composition == other.composition == swapped.composition


def test_the_composition_says_what_is_in_force(base, session, korean, sketches):
    empty = session.composition
    assert (empty.base, empty.skills) == (base.fingerprint, [])
    change = session.swap([(korean, None), (sketches, 7.5)])
    assert change.composition == session.composition
    skills = {skill.name: skill for skill in session.composition.skills}
    assert skills["korean"].digest == korean.digest
    assert skills["korean"].alpha == korean.alpha
    assert skills["korean"].validated
    assert skills["sketches"].alpha == 7.5
    assert not skills["sketches"].validated
    assert session.composition.digest != empty.digest
    session.swap([])
    assert session.composition == empty


def test_a_change_says_what_it_did(session, korean):
    change = session.attach(korean)
    assert change.proof["kind"] == "probes"
    assert change.proof["difference_max"] <= change.proof["tolerance"]
    inspected = taskvec.inspect(korean)
    assert change.entries == inspected["total"]["entries"]
    assert change.tensors == len(inspected["tensors"])
    assert change.touched_bytes == 4096 * change.touched_pages > 0
    assert min(change.wait_ms, change.weights_ms, change.proof_ms, change.settle_ms) >= 0
    assert session.detach(korean).proof == {"kind": "base"}


def test_setting_alpha_is_attaching_with_it(base, engine, korean):
    one, other = taskvec.Session(base, engine, allow_unsigned=True), taskvec.Session(base, engine, allow_unsigned=True)
    one.attach(korean)
    one.set_alpha(korean, 0.25)
    other.attach(korean, 0.25)
    assert weights(one, base) == weights(other, base)
    one.set_alpha(korean.digest, 0.5)
    assert one.composition.skills[0].alpha == 0.5


def test_the_head_of_the_skill_in_force_answers_with_its_labels(session, korean, pixels):
    session.attach(korean)
    answer = session.infer(pixels)
    assert answer.values.dtype == numpy.float32
    assert answer.values.shape == (len(pixels), len(korean.labels))
    assert answer.classes.dtype == numpy.int64
    assert (answer.classes == answer.values.argmax(axis=1)).all()
    assert answer.labels == korean.labels
    assert answer.composition == session.composition.digest
    features = session.features(pixels)
    assert features.dtype == numpy.float32
    assert features.shape == (len(pixels), session.base.feature_width)
    assert bits(session.infer(pixels, head=korean).values) == bits(answer.values)
    assert bits(session.infer(pixels, "korean").values) == bits(answer.values)


def test_the_bases_own_head_answers_by_its_name(base, session, pixels):
    [name] = base.heads
    answer = session.infer(pixels, name)
    assert answer.labels == base.heads[name]
    [head] = json.loads((HANDWRITING / "base.json").read_text())["heads"]
    weight, bias = base.weights(head["weight"]), base.weights(head["bias"])
    numpy.testing.assert_allclose(answer.values, session.features(pixels) @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_both_engines_answer_within_the_tolerance_of_a_pack(base, engine, korean, pixels):
    other, burn = taskvec.Session(base, engine, allow_unsigned=True), taskvec.Session(base, "burn", allow_unsigned=True)
    tolerance = other.attach(korean).proof["tolerance"]
    burn.attach(korean)
    difference = numpy.abs(other.infer(pixels).values - burn.infer(pixels).values).max()
    assert difference <= tolerance


def test_a_batch_answers_as_its_inputs_alone(session, korean, pixels):
    session.attach(korean)
    together = session.infer(pixels).values
    alone = numpy.concatenate([session.infer(pixels[at : at + 1]).values for at in range(len(pixels))])
    numpy.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_pixels_may_lie_in_memory_in_any_way(session, korean, pixels):
    session.attach(korean)
    turned = pixels.transpose(0, 1, 3, 2)
    read_only = numpy.ascontiguousarray(turned)
    read_only.flags.writeable = False
    assert not turned.flags.c_contiguous
    assert bits(session.infer(turned).values) == bits(session.infer(read_only).values)


def test_an_inference_changes_no_input(session, korean, pixels):
    session.attach(korean)
    before = pixels.copy()
    session.infer(pixels)
    assert bits(pixels) == bits(before)


def test_a_session_says_which_engine_infers(base, engine):
    session = taskvec.Session(base, engine, allow_unsigned=True, threads=2, keep_pages=True)
    assert session.engine_kind == engine
    assert {"ort": "onnx runtime", "burn": "burn"}[engine] in session.engine.lower()
    assert session.engine in repr(session)
    assert session.base.fingerprint == base.fingerprint


def test_several_compositions_serve_beside_each_other(session, korean, sketches, pixels):
    session.attach(korean)
    beside = session.beside()
    assert beside.composition.skills == []
    assert beside.engine == session.engine
    alone = session.infer(pixels)
    beside.attach(sketches)
    assert bits(session.infer(pixels).values) == bits(alone.values)
    assert beside.infer(pixels).labels == sketches.labels


def test_a_session_reports_provider_and_tier(base, engine):
    session = taskvec.Session(base, engine, providers=["cpu"])
    report = session.report
    assert report["engine"].lower().replace(" ", "") in {"ort": "onnxruntime", "burn": "burn"}[engine]
    assert report["reason"]
    if engine == "ort":
        assert report["provider"] == "cpu"
        assert report["tier"]
        # One that no wheel for the CPU has: the next one is taken, and the reason is said.
        fallen = taskvec.Session(base, engine, providers=["coreml", "cpu"]).report
        assert fallen["provider"] == "cpu"
        assert "coreml" in fallen["fallbacks"][0]["tried"]


def test_auto_takes_an_engine_that_is_there(base):
    assert taskvec.Session(base).engine_kind in ("ort", "burn")


def test_sessions_and_the_package_onnxruntime_live_in_one_process(base, engine, korean, pixels):
    if engine == "ort":
        import onnxruntime

        assert onnxruntime.get_available_providers()
    session = taskvec.Session(base, engine, allow_unsigned=True)
    session.attach(korean)
    assert session.infer(pixels).values.shape[0] == len(pixels)
