"""What an engine tells of its steps and its state: does it hold together?"""

from __future__ import annotations

from draftproof.config import Sampling
from draftproof.conformance.subject import GREEDY, Finding, Subject, not_available
from draftproof.engines.draft_limits import draft_limits, told_counts_problems
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Capability
from draftproof.errors import StateError

_PROMPTS = 3


def state_equivalence(subject: Subject) -> Finding:
    """At every step both models' cached logits equal a recompute from scratch."""
    tally = subject.tally()
    with subject.engine(check_state=1.0) as engine:
        if Capability.STATE_CHECKS not in engine.capabilities:
            return not_available(Capability.STATE_CHECKS)
        for prompt in subject.prompts[:_PROMPTS]:
            try:
                engine.speculate(subject.request(prompt))
            except StateError as error:
                tally.require(False, f"{prompt.prompt_id}: {error}")
            else:
                tally.require(True, "")
    return tally.finding()


def metric_identities(subject: Subject) -> Finding:
    """The counts of every case hold together: by step, by node and with the output."""
    tally = subject.tally()
    for sampling in (GREEDY, Sampling(temperature=1.0)):
        with subject.engine(sampling=sampling) as engine:
            if Capability.NODES not in engine.capabilities:
                return not_available(Capability.NODES)
            bench = Bench(engine, subject.pair, subject.config)
            for prompt in subject.prompts[:_PROMPTS]:
                asked = subject.request(prompt, sampling=sampling)
                record = bench.measured(prompt, asked)
                tally.require(
                    not record.contradictions,
                    f"{prompt.prompt_id}: {'; '.join(record.contradictions[:3])}",
                )
    return tally.finding()


def acceptance_counts(subject: Subject) -> Finding:
    """An engine's counters, and the tokens that it calls accepted, are possible for its output."""
    tally = subject.tally()
    with subject.engine() as engine:
        if Capability.COUNTS not in engine.capabilities:
            return not_available(Capability.COUNTS)
        limits = draft_limits(engine.describe())
        for prompt in subject.prompts:
            generation = engine.speculate(subject.request(prompt))
            if generation.counts is None:
                return not_available(Capability.COUNTS)
            for problem in told_counts_problems(generation, limits):
                tally.require(False, f"{prompt.prompt_id}: {problem}")
            tally.require(True, "")
    return tally.finding()
