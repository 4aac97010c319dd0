"""Several threads on one session: nothing mixes, and nobody holds the interpreter's lock while he computes."""

import sys
import threading

import numpy
import pytest

import taskvec
from conftest import bits

THREADS = 4


def test_while_one_thread_swaps_every_answer_is_one_of_the_two_compositions(base, engine, korean, sketches, pixels):
    expected = {}
    for skill in [korean, sketches]:
        fresh = taskvec.Session(base, engine, allow_unsigned=True)
        fresh.attach(skill)
        expected[fresh.composition.digest] = bits(fresh.infer(pixels).values)
    assert len(expected) == 2

    session = taskvec.Session(base, engine, allow_unsigned=True)
    session.attach(korean)
    seen = [set() for _ in range(THREADS)]
    wrong = []
    enough = threading.Event()

    def infer(seen):
        try:
            while not enough.is_set():
                answer = session.infer(pixels)
                if expected.get(answer.composition) != bits(answer.values):
                    wrong.append(answer.composition)
                seen.add(answer.composition)
        except Exception as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=infer, args=[seen]) for seen in seen]
    for thread in threads:
        thread.start()
    swaps = 0
    while not wrong and (swaps < 50 or any(len(seen) < 2 for seen in seen)):
        session.swap([sketches if swaps % 2 == 0 else korean])
        swaps += 1
    enough.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def threads_switch_only_when_the_lock_is_released():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_switch_only_when_the_lock_is_released")
@pytest.mark.parametrize("call", ["infer", "features", "set_alpha", "weights", "compose", "inspect"])
def test_the_interpreters_lock_is_released_during(base, korean, call):
    """No thread is interrupted here. So another one sees this call under way only if the call lets go of the lock."""
    session = taskvec.Session(base, "burn", allow_unsigned=True)
    session.attach(korean)
    pixels = numpy.zeros((4, 1, 28, 28), numpy.float32)
    tensor = max(base.tensors, key=lambda name: numpy.prod(base.tensors[name]["shape"]))
    calls = {
        "infer": lambda: session.infer(pixels),
        "features": lambda: session.features(pixels),
        "set_alpha": lambda: session.set_alpha(korean, 1.0),
        "weights": lambda: session.weights(tensor),
        "compose": lambda: taskvec.compose(base, [korean]),
        "inspect": lambda: taskvec.inspect(korean),
    }
    under_way, seen = False, threading.Event()

    def work():
        nonlocal under_way
        for _ in range(10_000):
            if seen.is_set():
                return
            under_way = True
            calls[call]()
            under_way = False

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        if under_way:
            seen.set()
        worker.join(0.001)
    assert seen.is_set()
