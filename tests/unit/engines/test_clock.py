"""One clock for both sides of every speedup, and what shows that an engine has two."""

import gc
import statistics
import time
from dataclasses import replace

import pytest

from draftproof.config import RunConfig, Sampling
from draftproof.engines.measuring import WARM_UP_TOKENS, Bench
from draftproof.engines.parts import make_parts
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.recording import StepRecorder
from draftproof.shapes import parse_tree
from draftproof.statistics.costs import clock_problem, costs
from draftproof.statistics.resampling import Resampling
from draftproof.trace import CaseRecord

PAUSE = 0.1


class SlowRecorder(StepRecorder):
    """Takes its time for every step."""

    def __call__(self, step, committed):
        time.sleep(PAUSE)
        super().__call__(step, committed)


def slowly(step, committed):
    time.sleep(PAUSE)


def timed_call(engine, request):
    """What an engine tells, and how long its call takes from outside."""
    began = time.perf_counter()
    told = engine.speculate(request)
    return told, time.perf_counter() - began


@pytest.fixture(scope="module")
def config():
    return RunConfig(max_new_tokens=16, check_state=0.0)


@pytest.mark.parametrize("watching", [{"make_recorder": SlowRecorder}, {"observe": slowly}])
def test_what_watches_is_in_no_seconds(pair, config, ask, watching):
    parts = replace(make_parts(pair.target, pair.draft, config), **watching)
    told, call_seconds = timed_call(ReferenceEngine.of(parts, config), ask())
    steps = len(told.steps["step"])
    assert told.watching_seconds >= steps * PAUSE
    assert call_seconds - told.seconds >= steps * PAUSE
    assert told.steps["draft_seconds"].sum() + told.steps["verify_seconds"].sum() <= told.seconds


def test_a_log_of_draws_is_in_no_seconds(pair, ask, tmp_path, monkeypatch):
    """Draws are made while drafting and while verifying: neither phase may hold the log."""
    config = RunConfig(
        tree=parse_tree("chain:3"),
        sampling=Sampling(temperature=1.0),
        check_state=0.0,
        draw_log=str(tmp_path),
    )
    monkeypatch.setattr(
        "draftproof.draw_log.print", lambda *_, **__: time.sleep(PAUSE), raising=False
    )
    engine = ReferenceEngine(pair, config)
    told, call_seconds = timed_call(engine, ask(temperature=1.0, limit=8))
    draws = sum(told.draws.values())
    assert told.draws["draft"] > 0 < told.draws["accept"]
    assert told.watching_seconds >= draws * PAUSE
    assert call_seconds - told.seconds >= draws * PAUSE
    assert told.steps["draft_seconds"].sum() + told.steps["verify_seconds"].sum() <= told.seconds


class Wrapped:
    """The reference engine, and seconds of its own making."""

    name = "wrapped"
    capabilities = frozenset({Capability.PLAIN, Capability.PAIR_TARGET})

    def __init__(self, pair, config, plain=lambda told: told, speculative=lambda told: told):
        self.inner = ReferenceEngine(pair, config)
        self.changed = {"plain": plain, "speculative": speculative}
        self.asked = []

    def speculate(self, request):
        self.asked.append(("speculative", request))
        return self.changed["speculative"](self.inner.speculate(request))

    def plain(self, request):
        self.asked.append(("plain", request))
        return self.changed["plain"](self.inner.plain(request))

    def describe(self):
        return {"name": self.name}

    def close(self):
        pass


def records(engine, pair, config, prompts):
    bench = Bench(engine, pair, config)
    bench.warm_up(prompts[0])
    return [bench.run(prompt) for prompt in prompts]


def test_the_reference_engine_has_one_clock(pair, config, prompts):
    # Long outputs: what a call costs before its clock starts does not grow with them.
    config = replace(config, max_new_tokens=64)
    measured = records(ReferenceEngine(pair, config), pair, config, prompts[:5])
    assert clock_problem(measured) == ""
    untold = [case.plain.untold_seconds / case.plain.seconds for case in measured]
    assert 0 <= statistics.median(untold) < 0.01
    for case in measured:
        assert CaseRecord.from_json(case.to_json()).plain == case.plain


def test_prefill_left_out_of_one_side_is_seen(pair, config, prompts):
    """A clock that starts after prefill: the time of the call from outside tells."""
    long = [replace(prompt, text=prompt.text * 4) for prompt in prompts[:5]]
    target, request = pair.target, Bench(Wrapped(pair, config), pair, config).request(long[0])
    began = time.perf_counter()
    target.reset()
    target.advance(request.prompt_token_ids)
    prefill = time.perf_counter() - began
    engine = Wrapped(pair, config, plain=lambda told: replace(told, seconds=told.seconds - prefill))
    problem = clock_problem(records(engine, pair, config, long))
    assert "not of the same span" in problem
    assert "is prefill in both?" in problem


def test_prefill_left_out_of_both_sides_is_one_span(pair, config, prompts):
    """Both sides leave out the same: the ratio is of one span, if another one."""
    measured = records(ReferenceEngine(pair, config), pair, config, prompts[:3])
    shorter = [
        replace(
            case,
            plain=replace(case.plain, seconds=1.0, untold_seconds=0.1),
            speculative=replace(case.speculative, seconds=0.5, untold_seconds=0.05),
        )
        for case in measured
    ]
    assert clock_problem(shorter) == ""


def test_more_seconds_than_the_call_took_are_refused(pair, config, prompts):
    engine = Wrapped(pair, config, speculative=lambda told: replace(told, seconds=60.0))
    problem = clock_problem(records(engine, pair, config, prompts[:3]))
    assert problem.startswith("the engine says that speculative outputs took 60 s, more than")


@pytest.mark.parametrize(("engine", "is_believed"), [("reference", True), ("own:Engine", False)])
def test_watching_is_believed_of_our_own_engines_alone(pair, config, prompts, engine, is_believed):
    """Half of every speculative call is said to be watching: a speedup out of nothing."""

    def halved(told):
        half = told.seconds / 2
        return replace(told, seconds=half, watching_seconds=told.watching_seconds + half)

    wrapped, config = Wrapped(pair, config, speculative=halved), replace(config, engine=engine)
    told = [
        "not of the same span" in clock_problem(records(wrapped, pair, config, prompts[:3]))
        for _ in range(3)  # on a busy machine a call may be interrupted outside what is clocked
    ]
    assert all(told) != is_believed


def test_no_speedup_follows_from_the_time_of_another_engine(pair, config, prompts):
    engine = Wrapped(pair, config)
    engine.capabilities = frozenset()
    measured = records(engine, pair, config, prompts[:3])
    by_domain, overall = costs(measured, ["code"], Resampling(resamples=50))
    for found in (by_domain["code"].speedup, overall.speedup):
        assert found.value != found.value
        assert found.reason.startswith("the engine wrapped does not decode plainly")
    assert overall.plain.value > 0 < overall.speculative.value


def test_a_pause_of_the_machine_is_no_other_span(pair, config, prompts):
    measured = records(ReferenceEngine(pair, config), pair, config, prompts[:5])
    paused = replace(measured[0], plain=replace(measured[0].plain, untold_seconds=5.0))
    assert clock_problem([paused, *measured[1:]]) == ""


def test_either_way_of_decoding_comes_first_on_about_half_of_the_prompts(pair, config, prompts):
    engine = Wrapped(pair, config)
    bench = Bench(engine, pair, config)
    firsts = []
    for number in range(24):
        engine.asked.clear()
        bench._both(replace(bench.request(prompts[0]), request_id=f"case {number}"))
        firsts.append(engine.asked[0][0])
    # A fair coin gives fewer than 5 or more than 19 of 24 with a chance of .0015.
    assert 5 <= firsts.count("plain") <= 19


def test_what_is_done_only_once_is_done_before_the_first_case(pair, config, prompts):
    engine = Wrapped(pair, config)
    Bench(engine, pair, config).warm_up(prompts[0])
    assert {which for which, _ in engine.asked} == {"plain", "speculative"}
    assert all(r.stopping.max_new_tokens == WARM_UP_TOKENS for _, r in engine.asked)


class Litters(Wrapped):
    """Makes so many objects that Python looks through all of them, if it may."""

    kept = ()

    def plain(self, request):
        self.litter()
        return super().plain(request)

    def speculate(self, request):
        self.litter()
        return super().speculate(request)

    def litter(self):
        self.kept = [[number] for number in range(5000)]


def test_no_full_garbage_collection_is_in_an_output(pair, config, prompts, monkeypatch):
    engine = Litters(pair, config)
    bench = Bench(engine, pair, config)
    thresholds, is_inside, full = gc.get_threshold(), [False], []

    def noted(phase, info):
        if phase == "start" and info["generation"] == 2:
            full.append(is_inside[0])

    def litter():
        is_inside[0] = True
        Litters.litter(engine)
        is_inside[0] = False

    monkeypatch.setattr(engine, "litter", litter)
    gc.callbacks.append(noted)
    gc.freeze()
    gc.collect()  # of little, so that the next full collection is due soon
    gc.set_threshold(20, 1, 1)
    try:
        litter()
        assert any(full), "no full collection came due"
        full.clear()
        bench._both(bench.request(prompts[0]))
        assert gc.get_threshold() == (20, 1, 1)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.callbacks.remove(noted)
    assert not any(full)
