"""The reference engine on rows of a batch tells what its loop over one sequence tells."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from draftproof.batch import decoding
from draftproof.batch.hugging_face import HuggingFaceRows
from draftproof.config import RunConfig, Sampling
from draftproof.data.load import load_prompts
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import BatchEngine, Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.room import batch_size, row_bytes
from draftproof.errors import DraftError, EngineError, ModelError, NumericsError, StateError
from draftproof.models.loading import load_pair
from draftproof.shapes import parse_tree

ROUNDING = 1e-6
EXACT = ("step", "node", "parent", "depth", "sibling_rank", "position", "token_id", "reached")


def settings(tree="3x2", temperature=0.0, **others):
    return RunConfig(
        tree=parse_tree(tree),
        sampling=Sampling(temperature=temperature),
        max_new_tokens=12,
        **others,
    )


def engines_of(pair, config):
    """The engine in batches, and the same parts in the loop over one sequence."""
    engine = ReferenceEngine(pair, config)
    return engine, ReferenceEngine.of(engine._parts, config)


@pytest.fixture(scope="session")
def pair():
    """In float64, where rounding tips no draw over."""
    return load_pair(RunConfig(dtype="float64"), lambda line: None)


@pytest.fixture(scope="session")
def requests(pair):
    bench = Bench(ReferenceEngine(pair, settings()), pair, settings())
    prompts = [prompt for domain in ("code", "chat") for prompt in load_prompts(domain, limit=3)]
    return [bench.request(prompt) for prompt in prompts]


def require_same(found, expected):
    assert found.token_ids == expected.token_ids
    assert found.stop_reason == expected.stop_reason
    assert found.draws == expected.draws
    assert found.accepted == expected.accepted
    assert found.counts == expected.counts
    for name in expected.steps:
        if not name.endswith("seconds"):
            assert np.array_equal(found.steps[name], expected.steps[name]), name
    for name in expected.nodes:
        if name in EXACT:
            assert np.array_equal(found.nodes[name], expected.nodes[name]), name
        else:
            np.testing.assert_allclose(
                found.nodes[name], expected.nodes[name], atol=ROUNDING, err_msg=name
            )


@pytest.mark.parametrize(
    ("tree", "temperature"),
    [("3x2", 0.0), ("chain:3", 1.0), ("distinct:2x2", 1.0), ("lookup:4", 0.0)],
)
def test_a_batch_tells_what_the_loop_over_one_sequence_tells(pair, requests, tree, temperature):
    config = settings(tree, temperature, check_state=0.2)
    requests = [replace(asked, sampling=config.sampling) for asked in requests]
    engine, loop = engines_of(pair, config)
    assert isinstance(engine, BatchEngine)
    assert Capability.BATCHES in engine.capabilities
    assert Capability.BATCHES not in loop.capabilities
    together = dict(engine.generate(requests, most_rows=4))
    plainly = dict(engine.generate(requests, most_rows=4, plainly=True))
    assert sorted(together) == sorted(plainly) == list(range(len(requests)))
    for index, asked in enumerate(requests):
        expected = loop.speculate(asked)
        require_same(together[index], expected)
        require_same(engine.speculate(asked), expected)
        assert plainly[index].token_ids == loop.plain(asked).token_ids
        steps = together[index].steps
        told = float(steps["draft_seconds"].sum() + steps["verify_seconds"].sum())
        assert 0 < told < together[index].seconds


def test_the_shares_of_time_add_up_to_no_more_than_passed(pair, requests):
    engine, _ = engines_of(pair, settings())
    clock = engine._clock
    began = clock.now()
    answers = [answer for _, answer in engine.generate(requests, most_rows=4)]
    passed = clock.now() - began
    told = sum(answer.seconds + answer.watching_seconds for answer in answers)
    assert 0.5 * passed < told <= passed


def test_what_only_watches_is_in_no_rows_seconds(pair, requests, monkeypatch):
    """A recorder that takes a long time lengthens the watching and nothing else."""
    from draftproof.engines import rows

    slept = []

    class Slow(rows.BatchRecorder):
        def __call__(self, step):
            time.sleep(0.01)
            slept.append(0.01 / len(step.rows))
            super().__call__(step)

    monkeypatch.setattr(rows, "BatchRecorder", Slow)
    engine, _ = engines_of(pair, settings())
    began = engine._clock.now()
    answers = [answer for _, answer in engine.generate(requests, most_rows=4)]
    passed = engine._clock.now() - began
    watching = sum(answer.watching_seconds for answer in answers)
    assert watching > 0.01 * len(slept)
    assert sum(answer.seconds for answer in answers) < passed - 0.01 * len(slept)


def test_a_second_batch_may_begin_before_the_first_has_ended(pair, requests):
    engine, loop = engines_of(pair, settings())
    engine.speculate(requests[0])  # leaves caches that one batch may take up, and not two
    first = engine.generate(requests, most_rows=2)
    index, answer = next(first)
    assert engine.speculate(requests[-1]).token_ids == loop.speculate(requests[-1]).token_ids
    answers = {index: answer, **dict(first)}
    assert [answers[i].token_ids for i in range(len(requests))] == [
        loop.speculate(asked).token_ids for asked in requests
    ]


def test_what_does_not_fit_ends_the_batch_with_the_reason(pair, requests):
    engine, _ = engines_of(pair, settings())
    long = replace(requests[0], prompt_token_ids=(1,) * (pair.target.max_length + 1))
    with pytest.raises(ModelError, match="shorten the prompt"):
        list(engine.generate([requests[0], long], most_rows=2))
    assert engine.speculate(requests[0]).token_ids


def test_a_state_check_sees_a_cache_that_keeps_the_wrong_slots(pair, requests, monkeypatch):
    from draftproof.models.slot_cache import SlotCache

    engine, _ = engines_of(pair, settings(check_state=1.0))
    monkeypatch.setattr(SlotCache, "move", lambda self, rows, source, destination: None)
    with pytest.raises(StateError, match="differ from a recompute"):
        list(engine.generate(requests, most_rows=4))


def test_parts_of_ones_own_decode_one_sequence_at_a_time(pair, requests):
    _, loop = engines_of(pair, settings())
    with pytest.raises(EngineError, match="one sequence at a time"):
        loop.generate(requests, most_rows=2)
    typical = ReferenceEngine(pair, settings("chain:2", 1.0, rule="typical"))
    assert Capability.BATCHES not in typical.capabilities


def test_the_size_of_a_batch_follows_from_the_memory(pair, monkeypatch):
    assert batch_size(settings(batch=3), pair) == 3
    config = settings(batch=None)
    each = row_bytes(config, pair)
    for free, expected in ((4 * each * 5.5, 5), (0, 1), (4 * each * 1000, 16)):
        monkeypatch.setattr("draftproof.engines.room.free_bytes", lambda device, free=free: free)
        assert batch_size(config, pair) == expected


@pytest.mark.parametrize("side", ["target", "draft"])
@pytest.mark.parametrize(("tree", "temperature"), [("3x2", 0.0), ("chain:2", 1.0)])
def test_logits_that_are_no_numbers_end_in_an_error(
    pair, requests, tree, temperature, side, monkeypatch
):
    """The place that holds no token is never read as one."""
    config = settings(tree, temperature)
    engine = ReferenceEngine(pair, config)
    score = HuggingFaceRows.score
    model = getattr(pair, side).model

    def broken(self, token_ids, parents):
        logits = score(self, token_ids, parents)
        if self.model is not model:
            return logits
        return torch.cat([logits[:1], torch.full_like(logits[1:], torch.nan)])

    monkeypatch.setattr(HuggingFaceRows, "score", broken)
    asked = [replace(each, sampling=config.sampling) for each in requests[:2]]
    with pytest.raises((NumericsError, DraftError), match="NaN or|finite logits"):
        list(engine.generate(asked, most_rows=2))


WAITS = (
    "item",
    "tolist",
    "cpu",
    "numpy",
    "nonzero",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
)


@pytest.mark.parametrize(
    ("tree", "temperature"),
    [
        ("3x2", 0.0),
        ("chain:5", 1.0),
        ("sampled:3x2", 1.0),
        ("best-first:6,depth=3,branching=2", 0.0),
    ],
)
def test_a_step_waits_for_the_device_once(pair, requests, tree, temperature, monkeypatch):
    """Whatever needs a value on the host waits: all that a step needs is copied at once."""
    config = settings(tree, temperature, check_state=0.0)
    engine = ReferenceEngine(pair, config)
    waits = []
    is_watching = [False]

    def watched(name):
        original = getattr(torch.Tensor, name)

        def wait(self, *arguments, **options):
            if is_watching[0]:
                waits.append(name)
            is_watching[0], before = False, is_watching[0]
            try:
                return original(self, *arguments, **options)
            finally:
                is_watching[0] = before

        return wait

    for name in WAITS:
        monkeypatch.setattr(torch.Tensor, name, watched(name))
    forward = decoding.take_step
    steps = []

    def take_step(*arguments):
        is_watching[0] = True
        waits.clear()
        try:
            return forward(*arguments)
        finally:
            is_watching[0] = False
            steps.append(list(waits))

    monkeypatch.setattr(decoding, "take_step", take_step)
    asked = [replace(each, sampling=config.sampling) for each in requests[:3]]
    list(engine.generate(asked, most_rows=3))
    assert len(steps) >= 3
    # What `cpu` brought to the host is read there as often as one likes.
    assert {tuple(step)[:1] for step in steps} == {("cpu",)}
    assert all(step.count("cpu") == 1 and not {*step} - {"cpu", "tolist"} for step in steps)
    assert all(step.index("cpu") == 0 for step in steps)


class NoFloat64(TorchDispatchMode):
    """Forbids what an Apple GPU cannot hold."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            assert getattr(value, "dtype", None) != torch.float64, func
        return result


@pytest.mark.parametrize(("tree", "temperature"), [("3x2", 0.0), ("sampled:2x2", 1.0)])
def test_nothing_is_computed_in_float64(tree, temperature):
    """Of decoding, recording, state checks and judging; numpy on the host may."""
    config = settings(tree, temperature, check_state=0.5)
    pair = load_pair(RunConfig(), lambda line: None)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    [prompt] = load_prompts("chat", limit=1)
    with NoFloat64():
        record = bench.run(prompt)
        list(bench.engine.generate([bench.request(prompt)] * 2, most_rows=2))
    assert len(record.nodes["node"])
