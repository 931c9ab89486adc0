"""Whatever an engine does, its case ends with a reason."""

import itertools
import json
import math
import resource
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from draftproof.config import RunConfig
from draftproof.engines.guarded import GuardedEngine
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Capability, Generation
from draftproof.engines.told import checked_generation
from draftproof.errors import EngineError, NumericsError
from draftproof.trace import Counts, Verdict


class Scripted:
    """An engine that does what it is told."""

    name = "scripted"

    def __init__(self, act, capabilities=(Capability.PLAIN,)):
        self.act = act
        self.capabilities = frozenset(capabilities)
        self.closed = False

    def speculate(self, request):
        return self.act(request)

    def plain(self, request):
        return self.act(request)

    def describe(self):
        return {"name": self.name}

    def close(self):
        self.closed = True


def raising(error):
    def act(request):
        raise error

    return act


def returning(value):
    return lambda request: value


GOOD = Generation(token_ids=(5, 6), stop_reason="length", seconds=0.1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (raising(ValueError("bad shape")), "scripted died: ValueError: bad shape"),
        (raising(SystemExit(3)), "scripted died: SystemExit: 3"),
        (raising(KeyboardInterrupt()), "scripted died: KeyboardInterrupt"),
        (raising(MemoryError("no room")), "scripted died: MemoryError: no room"),
        (raising(TimeoutError("its own")), "scripted: TimeoutError: its own"),
        (returning(None), "scripted returned a NoneType, not a Generation"),
        (returning("text"), "scripted returned a str, not a Generation"),
        (returning(replace(GOOD, token_ids="text")), "text without token ids"),
        (returning(replace(GOOD, token_ids=None)), "text without token ids"),
        (returning(replace(GOOD, token_ids=(1.5,))), "token ids that are no integers"),
        (
            returning(replace(GOOD, counts=Counts(steps=1, drafted=2.5, accepted=3))),
            "scripted returned counters that are no integers",
        ),
    ],
)
def test_a_failure_is_an_engine_error(ask, act, message):
    engine = GuardedEngine(Scripted(act), timeout=30)
    for decode in (engine.speculate, engine.plain):
        with pytest.raises(EngineError) as failed:
            decode(ask())
        assert message in str(failed.value)


def test_an_error_of_ours_stays_what_it_is(ask):
    engine = GuardedEngine(Scripted(raising(NumericsError("NaN"))), timeout=30)
    with pytest.raises(NumericsError, match="NaN"):
        engine.speculate(ask())


def test_an_engine_that_failed_is_asked_again(ask):
    answers = iter([raising(ValueError("once")), returning(GOOD)])
    engine = GuardedEngine(Scripted(lambda request: next(answers)(request)), timeout=30)
    with pytest.raises(EngineError):
        engine.speculate(ask())
    assert engine.speculate(ask()) == GOOD


def test_an_engine_that_hangs_is_left_behind(ask):
    release, asked = threading.Event(), []

    def hang(request):
        asked.append(request.request_id)
        release.wait(60)
        return GOOD

    inner = Scripted(hang)
    engine = GuardedEngine(inner, timeout=0.05)
    try:
        with pytest.raises(EngineError, match="hangs: it gave no answer to first within 0.05 s"):
            engine.speculate(ask("first"))
        with pytest.raises(EngineError, match="is not asked any more: it gave no answer to first"):
            engine.plain(ask("second"))
        assert asked == ["first"]
        engine.close()
        assert not inner.closed
    finally:
        release.set()


def test_closing_closes_the_engine_even_if_it_fails(ask):
    inner = Scripted(returning(GOOD))
    GuardedEngine(inner, timeout=0).close()
    assert inner.closed
    inner.close = raising(ValueError("late"))
    inner.close.__defaults__ = (None,)
    GuardedEngine(inner, timeout=0).close()


def test_numpy_integers_are_integers(ask):
    engine = GuardedEngine(
        Scripted(returning(replace(GOOD, token_ids=tuple(np.array([5, 6]))))), timeout=30
    )
    assert engine.speculate(ask()) == GOOD
    assert all(type(token) is int for token in engine.speculate(ask()).token_ids)


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        ({"temperature": 1.0}, Capability.SAMPLING),
        ({"top_k": 3}, Capability.FILTERS),
        ({"top_p": 0.5}, Capability.FILTERS),
        ({"min_p": 0.5}, Capability.FILTERS),
        ({"repetition_penalty": 1.5}, Capability.FILTERS),
        ({"min_new_tokens": 2}, Capability.MIN_NEW_TOKENS),
        ({"strings": ("x",)}, Capability.STOP_STRINGS),
        ({"stops": (5, 6)}, Capability.STOP_TOKENS),
        ({"stops": ()}, Capability.STOP_TOKENS),
    ],
)
def test_what_an_engine_lacks_is_not_asked_of_it(ask, asked, needed):
    without = Scripted(returning(GOOD), set(Capability) - {needed} - {*PROMISES})
    with pytest.raises(EngineError, match=f"not available: {needed}"):
        GuardedEngine(without, 30, ask().stopping.stop_token_ids).speculate(ask(**asked))
    having = Scripted(returning(GOOD), {needed})
    own = ask().stopping.stop_token_ids
    assert GuardedEngine(having, 30, own).speculate(ask(**asked)) == GOOD


PROMISES = (Capability.ACCEPTED, Capability.STEPS, Capability.NODES)


@pytest.mark.parametrize("promise", PROMISES)
def test_what_an_engine_says_that_it_tells_it_must_tell(ask, promise):
    engine = GuardedEngine(Scripted(returning(GOOD), {promise}), timeout=30)
    with pytest.raises(EngineError, match=f"says that it tells {promise}, and returned none"):
        engine.speculate(ask())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: (*ids[:3], 99_999, *ids[4:]), "token 3 of the output is 99999"),
        (lambda ids: (*ids[:3], -1, *ids[4:]), "token 3 of the output is -1"),
        (lambda ids: ids[:-2], "ends after 6 of 8 tokens without a stop token"),
        (lambda ids: (*ids, 5), "goes on for 1 tokens after it should have ended (length)"),
    ],
)
def test_the_bench_refuses_impossible_outputs(pair, prompts, change, message):
    config = RunConfig(max_new_tokens=8)
    reference = Bench(reference_engine(pair, config), pair, config)

    def act(request):
        right = reference.engine.plain(request)
        return Generation(
            token_ids=change(right.token_ids), stop_reason=right.stop_reason, seconds=0.1
        )

    bench = Bench(GuardedEngine(Scripted(act, ()), timeout=30), pair, config)
    with pytest.raises(EngineError) as failed:
        bench.run(prompts[0])
    assert message in str(failed.value)


def test_the_bench_refuses_ids_of_another_tokenizer(pair, prompts):
    config = RunConfig(max_new_tokens=8)
    reference = reference_engine(pair, config)

    def act(request, text=None):
        right = reference.plain(request)
        shown = pair.decode(right.token_ids) if text is None else text
        return replace(right, text=shown)

    record = Bench(GuardedEngine(Scripted(act, ()), timeout=30), pair, config).run(prompts[0])
    assert record.verdict is Verdict.IDENTICAL
    other = Scripted(lambda request: act(request, "bonjour"), ())
    with pytest.raises(EngineError, match="they are ids of another tokenizer"):
        Bench(GuardedEngine(other, timeout=30), pair, config).run(prompts[0])


def reference_engine(pair, config):
    from draftproof.engines.reference import ReferenceEngine

    return ReferenceEngine(pair, config)


class Many(Scripted):
    """Answers many requests at once, as it is told."""

    def __init__(self, answers, capabilities=(Capability.PLAIN, Capability.BATCHES)):
        super().__init__(returning(GOOD), capabilities)
        self.answers = answers
        self.asked = []

    def generate(self, requests, *, most_rows, plainly=False):
        requests = list(requests)
        self.asked.append([request.request_id for request in requests])
        yield from self.answers(requests)


def all_of(requests):
    return [(index, GOOD) for index in reversed(range(len(requests)))]


@pytest.mark.parametrize("plainly", [False, True])
def test_a_batch_is_answered_in_parts(ask, plainly):
    inner = Many(all_of)
    engine = GuardedEngine(inner, timeout=30)
    assert Capability.BATCHES in engine.capabilities
    asked = [ask(name) for name in "abcde"]
    answers = list(engine.generate(iter(asked), most_rows=2, plainly=plainly))
    assert [index for index, _ in answers] == [1, 0, 3, 2, 4]
    assert all(generation == GOOD for _, generation in answers)
    assert inner.asked == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda asked: all_of(asked)[1:], r"requests 0 to 1 and answered \[0\]"),
        (lambda asked: all_of(asked) * 2, r"answered \[1, 0, 1, 0\]"),
        (lambda asked: [(7, GOOD), (0, GOOD)], r"answered \[7, 0\]"),
        (lambda asked: [GOOD, GOOD], "yielded a Generation that is not a pair"),
        (lambda asked: [("first", GOOD)], "yielded a tuple that is not a pair"),
        (lambda asked: [(0, None), (1, GOOD)], "returned a NoneType, not a Generation"),
        (lambda asked: 1 / 0, "scripted died: ZeroDivisionError"),
        (lambda asked: None, "scripted died: TypeError"),
    ],
)
def test_a_batch_that_is_answered_wrongly_is_an_engine_error(ask, answers, message):
    engine = GuardedEngine(Many(answers), timeout=30)
    with pytest.raises(EngineError, match=message):
        list(engine.generate([ask("a"), ask("b")], most_rows=2))


def test_a_batch_keeps_what_the_engine_promised(ask):
    inner = Many(all_of, (Capability.BATCHES, Capability.STEPS))
    with pytest.raises(EngineError, match="says that it tells steps, and returned none"):
        list(GuardedEngine(inner, timeout=30).generate([ask()], most_rows=2))


def test_a_batch_that_hangs_is_left_behind(ask):
    release = threading.Event()

    def hang(requests):
        release.wait(60)
        return all_of(requests)

    engine = GuardedEngine(Many(hang), timeout=0.05)
    try:
        with pytest.raises(
            EngineError, match=r"gave no answer to a and the 1 requests after it within 0\.1 s"
        ):
            list(engine.generate([ask("a"), ask("b")], most_rows=2))
        with pytest.raises(EngineError, match="is not asked any more"):
            engine.plain(ask("c"))
    finally:
        release.set()


def test_batches_of_an_engine_that_has_none_are_not_available(ask):
    engine = GuardedEngine(Scripted(returning(GOOD), (Capability.BATCHES,)), timeout=30)
    assert Capability.BATCHES not in engine.capabilities
    with pytest.raises(EngineError, match="one request at a time"):
        list(engine.generate([ask()], most_rows=2))


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (raising(ValueError("x\ud800y")), r"died: ValueError: x\\ud800y"),
        (raising(ValueError("\x1b]0;own\x07")), r"died: ValueError: \\x1b\]0;own\\x07"),
        (raising(UnspeakableError()), "no text: RuntimeError"),
        (
            returning(replace(GOOD, token_ids=(10**30,))),
            "a number of 100 bits|1000000.* as a token",
        ),
        (returning(replace(GOOD, token_ids=(10**5000,))), "a number of .* bits as a token id"),
        (
            returning(replace(GOOD, counts=Counts(drafted=10**30, accepted=1))),
            "counted 1000.*drafted",
        ),
        (returning(replace(GOOD, seconds=float("nan"))), "returned nan as seconds"),
        (returning(replace(GOOD, seconds="soon")), "seconds that are no number"),
        (returning(replace(GOOD, steps={"step": [0]})), "returned steps that are no steps"),
        (lambda request: replace(GOOD, token_ids=iter(int, 1)), "more than 1048576 token ids"),
    ],
)
def test_what_no_report_can_hold_ends_its_case(ask, act, message):
    guarded = GuardedEngine(Scripted(act), timeout=60)
    with pytest.raises(EngineError, match=message) as caught:
        guarded.speculate(ask())
    str(caught.value).encode("utf-8")


def test_a_long_text_is_cut_and_not_printed_as_the_cause_either(ask):
    guarded = GuardedEngine(Scripted(raising(ValueError("x" * 10**6))), timeout=5)
    with pytest.raises(EngineError, match="998000 characters left out") as caught:
        guarded.speculate(ask())
    assert len("".join(traceback.format_exception(caught.value))) < 10_000


def test_token_ids_that_do_not_come_are_waited_for_within_the_time(ask):
    def act(request):
        return replace(GOOD, token_ids=(token for token in [1] if not threading.Event().wait(5)))

    with pytest.raises(EngineError, match="hangs"):
        GuardedEngine(Scripted(act), timeout=0.1).speculate(ask())


@pytest.mark.parametrize(
    ("described", "found"),
    [
        (
            {"folder": Path("models"), "share": float("nan"), "n": np.int64(3), 4: {5}},
            {"folder": "models", "share": "nan", "n": 3, "4": [5]},
        ),
        (
            {"size": 10**5000, "text": "\ud800"},
            {"size": "a number of 16610 bits", "text": "\\ud800"},
        ),
        (None, {"problem": "describe() failed: TypeError: 'NoneType' object is not iterable"}),
    ],
)
def test_what_an_engine_says_of_itself_can_be_stored(described, found):
    engine = Scripted(returning(GOOD))
    engine.describe = lambda: described
    kept = GuardedEngine(engine, timeout=5).describe()
    assert kept == {**found, "name": "scripted"}
    json.dumps(kept, allow_nan=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_thread_that_is_left_behind_cannot_take_all_memory(ask, monkeypatch):
    """It meets a MemoryError, and the process goes on as before."""
    monkeypatch.setattr("draftproof.engines.memory_bound.GROWTH", 0.01)
    before, taken, ended = resource.getrlimit(resource.RLIMIT_DATA), [], threading.Event()

    def act(request):
        hung.wait(60)
        try:
            for _ in range(2000):
                taken.append(bytearray(1 << 26))  # noqa: PERF401 - kept while it grows
        finally:
            ended.set()

    hung = threading.Event()
    guarded = GuardedEngine(Scripted(act), timeout=0.2)
    with pytest.raises(EngineError, match="hangs"):
        guarded.speculate(ask())
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != before[0]
    hung.set()
    assert ended.wait(60)
    assert len(taken) < 2000
    taken.clear()
    with pytest.raises(EngineError, match="is not asked any more"):
        guarded.speculate(ask())
    until = time.monotonic() + 60
    while resource.getrlimit(resource.RLIMIT_DATA) != before and time.monotonic() < until:
        time.sleep(0.01)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_an_engine_that_does_not_close_fails_nothing(monkeypatch):
    monkeypatch.setattr("draftproof.engines.guarded._ASIDE_SECONDS", 0.05)
    engine, may_end, ended = Scripted(returning(GOOD)), threading.Event(), []
    engine.close = lambda: ended.append(may_end.wait(10))
    GuardedEngine(engine, timeout=5).close()
    assert not ended, "it was waited for"
    may_end.set()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_an_engine_that_does_not_describe_itself_cannot_take_all_memory_either(
    monkeypatch, request
):
    monkeypatch.setattr("draftproof.engines.guarded._ASIDE_SECONDS", 0.05)
    found = resource.getrlimit(resource.RLIMIT_DATA)
    # An engine of another test that hangs to this day may hold this process already.
    resource.setrlimit(resource.RLIMIT_DATA, (found[1], found[1]))
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_DATA, found))
    before, may_end = resource.getrlimit(resource.RLIMIT_DATA), threading.Event()
    engine = Scripted(returning(GOOD))
    engine.describe = lambda: may_end.wait(10) and {}
    assert "did not describe itself" in GuardedEngine(engine, timeout=5).describe()["problem"]
    held = resource.getrlimit(resource.RLIMIT_DATA)
    may_end.set()
    until = time.monotonic() + 10
    while resource.getrlimit(resource.RLIMIT_DATA) != before and time.monotonic() < until:
        time.sleep(0.01)
    assert held[0] != before[0]
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


TOLD = {
    "accepted": [3, (2,), ("yes",), (None,), itertools.repeat(True), "no"],
    "log_probabilities": [1.5, (float("inf"),), ("x",), (None,), (10**400,),
                          itertools.repeat(-1.0)],
    "arrivals": [3, (1,), ((1.0,),), ((float("nan"), 1),), ((float("inf"), 1),), ((1.0, -1),),
                 ((1.0, 10**30),), ((1.0, 1.5),), itertools.repeat((1.0, 1))],
    "server_seconds": [3, (1.0,), (1.0, 2.0, 3.0), (-1.0, 2.0), (1.0, float("inf")), ("a", 1.0)],
    "draws": [None, 3, [1], {"accept": -1}, {"accept": 10**30}, {"accept": 1.5},
              {"accept": float("nan")}],
    "text": [3, b"x", ["x"], "x" * (2**24 + 1)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "place"), [(field, i) for field, values in TOLD.items() for i in range(len(values))]
)
def test_nothing_that_no_file_holds_passes_the_door(field, place):
    with pytest.raises(EngineError, match=r"^mine (returned|counted) "):
        checked_generation(replace(GOOD, **{field: TOLD[field][place]}), "mine")


def test_what_passes_the_door_is_plain_and_can_be_written():
    found = checked_generation(
        replace(
            GOOD,
            accepted=np.array([True, False]),
            log_probabilities=np.array([-1.5, -np.inf], np.float32),
            arrivals=[[np.float32(0.5), np.int64(2)]],
            server_seconds=[np.float32(0.5), 2],
            draws={"accept \ud800": np.int32(3)},
            text="a \ud800 b\r\n\x00",
        ),
        "mine",
    )
    assert found.accepted == (True, False)
    assert found.log_probabilities == (-1.5, -math.inf)
    assert found.arrivals == ((0.5, 2),)
    assert found.server_seconds == (0.5, 2.0)
    assert found.draws == {"accept \\ud800": 3}
    assert found.text == "a \\ud800 b\r\n\x00"
    plain = (found.accepted, found.arrivals, found.draws, found.text)
    json.dumps(plain, allow_nan=False).encode()
    assert {type(value) for value in found.accepted or ()} == {bool}
