"""What is decoded ahead of its turn: every request has its own answer, or its own error."""

import contextlib

import pytest

from draftproof.config import Sampling
from draftproof.engines.ahead import Ahead
from draftproof.engines.protocol import Generation, Request
from draftproof.errors import EngineError
from draftproof.stopping import Stopping


def request(name):
    return Request(
        request_id=name,
        prompt_token_ids=(1,),
        sampling=Sampling(),
        stopping=Stopping(max_new_tokens=4),
    )


REQUESTS = [request(name) for name in "abcdefgh"]


class Batches:
    """Answers with the request's name; rows end last come first served."""

    name = "batches"
    capabilities = frozenset()

    def __init__(self, fails=(), loses=()):
        self.fails = fails
        self.loses = loses
        self.broken = 0
        self.at_once = []
        self.alone = []

    def generate(self, requests, *, most_rows, plainly=False):
        requests = enumerate(requests)
        rows = []
        while True:
            while len(rows) < most_rows and (taken := next(requests, None)):
                rows.append(taken)
            if not rows:
                return
            self.at_once.append([asked.request_id for _, asked in rows])
            if any(asked.request_id in self.fails for _, asked in rows):
                self.broken += 1
                raise EngineError("one of them cannot be decoded")
            index, asked = rows.pop()
            if asked.request_id not in self.loses:
                yield index, self.answer(asked)

    def speculate(self, asked):
        self.alone.append(asked.request_id)
        if asked.request_id in self.fails:
            raise EngineError(f"{asked.request_id} cannot be decoded")
        return self.answer(asked)

    plain = speculate

    def answer(self, asked):
        return Generation(token_ids=(), stop_reason=asked.request_id, seconds=1.0)

    def describe(self):
        return {}

    def close(self):
        pass


def after(request):
    names = [other.request_id for other in REQUESTS]
    return iter(REQUESTS[names.index(request.request_id) + 1 :])


def test_every_request_has_its_own_answer_whatever_ends_first():
    engine = Batches()
    ahead = Ahead(engine, 3, after)
    assert [ahead.answer(asked).stop_reason for asked in REQUESTS] == list("abcdefgh")
    assert engine.alone == []
    assert max(map(len, engine.at_once)) == 3


@pytest.mark.parametrize("order", ["hgfedcba", "badcfehg", "aaceg", "dh"])
def test_requests_come_in_another_order_or_not_at_all(order):
    ahead = Ahead(Batches(), 3, after)
    by_name = {asked.request_id: asked for asked in REQUESTS}
    assert [ahead.answer(by_name[name]).stop_reason for name in order] == list(order)


@pytest.mark.parametrize("bad", ["a", "d", "h", "ab", "ch"])
def test_a_request_that_fails_fails_alone(bad):
    engine = Batches(fails=bad)
    ahead = Ahead(engine, 3, after)
    for asked in REQUESTS:
        if asked.request_id in bad:
            with pytest.raises(EngineError, match=f"{asked.request_id} cannot be decoded"):
                ahead.answer(asked)
        else:
            assert ahead.answer(asked).stop_reason == asked.request_id
    assert set(bad) <= set(engine.alone)
    assert len(engine.alone) <= 3 * len(bad)
    assert 1 <= engine.broken <= len(bad)


@pytest.mark.parametrize("lost", ["a", "d", "h", "abc", "abcdefgh"])
def test_a_request_that_a_batch_loses_is_decoded_alone(lost):
    engine = Batches(loses=lost)
    ahead = Ahead(engine, 3, after)
    assert [ahead.answer(asked).stop_reason for asked in REQUESTS] == list("abcdefgh")
    assert engine.alone == list(lost)


class Crowded(Batches):
    """Has room for two requests."""

    def generate(self, requests, *, most_rows, plainly=False):
        for index, answer in super().generate(requests, most_rows=most_rows, plainly=plainly):
            if len(self.at_once[-1]) > 2:
                raise self.error
            yield index, answer


def of_memory():
    error = EngineError("mine died: MemoryError: no room")
    error.__cause__ = MemoryError("no room")
    return error


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError(), of_memory()]
)
def test_a_batch_without_room_is_followed_by_smaller_ones(error):
    engine, said = Crowded(), []
    engine.error = error
    ahead = Ahead(engine, 4, after, report=said.append)
    assert [ahead.answer(asked).stop_reason for asked in REQUESTS] == list("abcdefgh")
    assert engine.alone == ["a", "b", "c", "d"]
    assert engine.at_once[1] == ["e", "f"]
    assert said == [
        f"batches ended a batch with {type(error).__name__}: prompts that are decoded one by one "
        "now: 4; from here on, 2 at once"
    ]


@pytest.mark.parametrize("error", [None, EngineError("not in batches")])
def test_an_engine_that_takes_nothing_is_asked_for_each_alone(error):
    class Refuses(Batches):
        def generate(self, requests, *, most_rows, plainly=False):
            if error is not None:
                raise error
            return iter(())

    engine = Refuses()
    ahead = Ahead(engine, 3, after)
    assert [ahead.answer(asked).stop_reason for asked in REQUESTS] == list("abcdefgh")
    assert engine.alone == list("abcdefgh")


def test_what_ends_a_batch_is_said():
    said = []
    ahead = Ahead(Batches(fails="b", loses="g"), 3, after, report=said.append)
    for asked in REQUESTS:
        with contextlib.suppress(EngineError):
            ahead.answer(asked)
    assert said == [
        "batches ended a batch with EngineError: prompts that are decoded one by one now: 3",
        "batches left some prompts of a batch out: prompts that are decoded one by one now: 1",
    ]


def test_an_engine_without_batches_is_refused():
    with pytest.raises(TypeError, match="one request at a time"):
        Ahead(type("Alone", (), {"name": "alone"})(), 3, after)
