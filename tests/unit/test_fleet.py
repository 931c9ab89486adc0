"""The executor's bookkeeping on a cluster of no processes: whatever workers do, no case is lost."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from draftproof.config import RunConfig
from draftproof.data.prompt import Prompt
from draftproof.errors import EngineError
from draftproof.executors.fleet import ATTEMPTS, Event, Fleet
from draftproof.executors.measured import Measured
from draftproof.executors.worker import Loaded
from draftproof.trace import CaseRecord, Verdict


class Clock:
    """Seconds that pass when a cluster waits."""

    now = 0.0

    def __call__(self):
        return self.now


class PretendCluster:
    """Workers that measure a case a wait, unless something else is to become of one."""

    name, one = "workers", "worker"

    def __init__(self, workers=2, *, batch=1, kills=None, hangs=(), loads=lambda worker: Loaded()):
        self.workers, self.batch = workers, batch
        self.clock = Clock()
        self.shares, self.loading, self.asked, self.discarded = {}, deque(), [], []
        self._kills, self._hangs, self._loads = dict(kills or {}), set(hangs), loads
        self.hung, self.is_closed = set(), False

    def start(self, worker):
        self.shares[worker] = deque()
        self.loading.append(worker)

    def ask(self, worker, prompts):
        self.shares[worker].append(deque(prompts))
        self.asked.append((worker, [prompt.prompt_id for prompt in prompts]))

    def wait(self, seconds):
        self.clock.now += seconds
        while self.loading:
            worker = self.loading.popleft()
            found = self._loads(worker)
            if isinstance(found, Loaded) and not found.problem:
                found = Loaded(batch=self.batch)
            if found is not None:
                yield Event(worker, found)
        for worker, shares in list(self.shares.items()):
            if shares and worker not in self.hung:
                yield self._event(worker, shares)

    def _event(self, worker, shares):
        if not shares[0]:
            shares.popleft()
            return Event(worker, None)
        prompt = shares[0][0]
        if self._kills.get(prompt.prompt_id, 0):
            self._kills[prompt.prompt_id] -= 1
            return Event(worker, "it died")
        if prompt.prompt_id in self._hangs:
            self._hangs.remove(prompt.prompt_id)
            self.hung.add(worker)
            return Event(-1, None)  # of a worker that nobody knows
        shares[0].popleft()
        return Event(worker, measured(prompt))

    def discard(self, worker):
        del self.shares[worker]
        self.discarded.append(worker)

    def close(self):
        self.is_closed = True


def measured(prompt):
    record = CaseRecord(
        case_id=prompt.prompt_id, domain=prompt.domain, prompt_tokens=1, verdict=Verdict.IDENTICAL
    )
    return Measured(record=record)


def prompts(count, domain="code"):
    return [Prompt(prompt_id=f"p/{n:03}", domain=domain, text="?") for n in range(count)]


def run(cluster, count=20, config=None, order=None):
    """All cases through a fleet; the answers, what arrived, and what was said."""
    asked = prompts(count)
    arrived, said = [], []
    fleet = Fleet(
        cluster,
        config or RunConfig(engine_timeout=50),
        lambda prompt, found: arrived.append(found.record.case_id),
        said.append,
        cluster.clock,
    )
    answers = [fleet.measure(asked[n], lambda n=n: asked[n + 1 :]) for n in (order or range(count))]
    fleet.close()
    assert cluster.is_closed
    assert [answer.record.case_id for answer in answers] == [
        asked[n].prompt_id for n in (order or range(count))
    ]
    return answers, arrived, said


def ids(count=20):
    return [prompt.prompt_id for prompt in prompts(count)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("workers", [1, 3, 40])
def test_every_case_is_measured_once_and_handed_to_its_own_test(workers, batch):
    cluster = PretendCluster(workers, batch=batch)
    answers, arrived, said = run(cluster)
    assert sorted(arrived) == ids()
    assert sorted(case for _, share in cluster.asked for case in share) == ids()
    assert not said
    assert all(answer.record.verdict is Verdict.IDENTICAL for answer in answers)
    if workers == 3:
        assert len({worker for worker, _ in cluster.asked}) == 3


def test_shares_hold_batches_and_get_smaller_towards_the_end():
    cluster = PretendCluster(2, batch=4)
    run(cluster, 100)
    sizes = [len(share) for _, share in cluster.asked]
    assert max(sizes) == 16
    assert sizes[-1] < 4


def test_a_share_holds_prompts_of_one_draft_model_and_tree():
    config = RunConfig(budget=(("code", "builtin", "3x2"), ("math", "builtin", "chain:2")))
    asked = [p for n, p in enumerate(prompts(6)) if n < 3] + prompts(9, "math")[6:]
    cluster = PretendCluster(1, batch=8)
    fleet = Fleet(cluster, config, lambda *_: None, print, cluster.clock)
    fleet.measure(asked[0], lambda: asked[1:])
    for _, share in cluster.asked:
        assert len({case < "p/003" for case in share}) == 1


@pytest.mark.parametrize(("workers", "said"), [(1, "1 worker"), (2, "2 workers")])
def test_what_measures_is_described(workers, said):
    fleet = Fleet(PretendCluster(workers), RunConfig(), lambda *_: None, print, lambda: 0.0)
    assert fleet.described == said


def test_a_lost_worker_is_replaced_and_its_cases_are_measured_again():
    cluster = PretendCluster(2, batch=4, kills={"p/007": 1})
    answers, arrived, said = run(cluster)
    assert sorted(arrived) == ids()
    assert all(answer.record.verdict is Verdict.IDENTICAL for answer in answers)
    (line,) = said
    assert "one of the workers is lost (it died); it is replaced, and its" in line
    assert len(cluster.discarded) == 1
    assert max(cluster.shares) == 2


def test_the_cases_of_a_lost_worker_are_measured_one_by_one():
    cluster = PretendCluster(1, batch=8, kills={"p/003": 1})
    run(cluster)
    again = [share for worker, share in cluster.asked if worker == 1 and "p/003" in share]
    assert again == [["p/003"]]


def test_a_case_that_kills_every_worker_ends_in_an_error_and_others_do_not():
    cluster = PretendCluster(2, batch=4, kills={"p/005": 99})
    answers, arrived, said = run(cluster)
    failed = [answer for answer in answers if answer.record.verdict is Verdict.ERROR]
    assert [answer.record.case_id for answer in failed] == ["p/005"]
    assert failed[0].failure == failed[0].record.message
    assert f"{ATTEMPTS} workers were lost while they measured this case" in failed[0].failure
    assert sorted(arrived) == ids()
    assert len(said) == ATTEMPTS


def test_a_worker_that_hangs_is_given_up_after_two_outputs_time():
    cluster = PretendCluster(2, hangs=["p/004"])
    answers, arrived, said = run(cluster)
    assert sorted(arrived) == ids()
    assert all(answer.record.verdict is Verdict.IDENTICAL for answer in answers)
    assert ["nothing was heard of a case for 100 seconds" in line for line in said] == [True]
    assert 100 < cluster.clock.now < 150


def test_a_worker_may_take_any_time_where_engines_may():
    cluster = PretendCluster(1)
    fleet = Fleet(cluster, RunConfig(engine_timeout=0), lambda *_: None, print, cluster.clock)
    cluster.clock.now = 1e9
    fleet.measure(prompts(1)[0], lambda: ())
    assert not cluster.discarded


def test_workers_that_hang_while_they_load_are_given_up_later():
    def loads(worker):
        return None if worker == 0 else Loaded()

    cluster = PretendCluster(1, loads=loads)
    _, _, said = run(cluster, 1)
    assert "nothing was heard of its models for 1200 seconds" in said[0]


def test_a_run_whose_workers_cannot_load_ends():
    cluster = PretendCluster(2, loads=lambda worker: "no memory")
    with pytest.raises(EngineError, match="6 workers were lost .* while they loaded .*no memory"):
        run(cluster)


def test_settings_that_nobody_can_load_end_the_run_at_once():
    cluster = PretendCluster(2, loads=lambda worker: Loaded(problem="there is no model x"))
    with pytest.raises(EngineError, match="there is no model x"):
        run(cluster)


def test_cases_may_be_asked_for_in_any_order():
    order = np.random.default_rng(0).permutation(20).tolist()
    _, arrived, _ = run(PretendCluster(3, batch=2), order=order)
    assert sorted(arrived) == ids()


def test_whatever_becomes_of_workers_every_case_has_one_answer():
    for seed in range(60):
        generator = np.random.default_rng(seed)
        kills = {
            case: int(generator.integers(1, 4)) for case in generator.choice(ids(), 5).tolist()
        }
        cluster = PretendCluster(
            int(generator.integers(1, 5)),
            batch=int(generator.integers(1, 6)),
            kills=kills,
            hangs=generator.choice(ids(), 3).tolist(),
        )
        answers, arrived, _ = run(cluster)
        assert sorted(arrived) == ids()
        failed = {a.record.case_id for a in answers if a.record.verdict is Verdict.ERROR}
        assert failed <= set(kills)
