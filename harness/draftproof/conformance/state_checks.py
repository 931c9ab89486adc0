"""What an engine tells of its steps and its state: does it hold together?"""

from __future__ import annotations

from draftproof.conformance.accepted_labels import judged_labels
from draftproof.conformance.check_result import Finding, not_available
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.draft_limits import draft_limits, told_counts_problems
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Capability
from draftproof.errors import StateError
from draftproof.shapes import LookupShape

_PROMPTS = 3


def state_equivalence(subject: Subject) -> Finding:
    """At every step both models' cached logits equal a recompute from scratch."""
    tally = subject.tally("steps")
    if Capability.STATE_CHECKS not in subject.capabilities:
        return not_available(Capability.STATE_CHECKS)
    with subject.engine(check_state=1.0) as engine:
        for prompt in subject.prompts[:_PROMPTS]:
            try:
                answer = engine.speculate(subject.request(prompt))
            except StateError as error:
                tally.require(False, f"{prompt.prompt_id}: {error}")
            else:
                steps = 1 if answer.steps is None else len(answer.steps["step"])
                tally.require(True, "", places=steps)
    return tally.finding(untried="no step was taken")


def metric_identities(subject: Subject) -> Finding:
    """The counts of every case hold together: by step, by node and with the output."""
    tally = subject.tally("nodes")
    for sampling in (GREEDY, subject.sampled):
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
                    places=len(record.nodes["node"]),
                )
    return tally.finding(untried="nothing was drafted")


def acceptance_counts(subject: Subject) -> Finding:
    """An engine's counters, and the tokens that it calls accepted, are possible for its output."""
    tally = subject.tally("drafted tokens")
    labels = 0
    is_lookup = isinstance(subject.config.tree, LookupShape)
    with subject.engine() as engine:
        if Capability.COUNTS not in engine.capabilities:
            return not_available(Capability.COUNTS)
        limits = draft_limits(engine.describe())
        for prompt in subject.prompts:
            asked = subject.request(prompt)
            generation = engine.speculate(asked)
            if generation.counts is None:
                return not_available(Capability.COUNTS)
            problems = told_counts_problems(generation, limits)
            draft = subject.pair.draft
            if draft is not None and Capability.PAIR_DRAFT in engine.capabilities and not is_lookup:
                is_made = Capability.RUN_SETTINGS in engine.capabilities
                is_chain = is_made and subject.config.tree.is_chain
                found = judged_labels(generation, asked, draft, is_chain=is_chain)
                problems += found.problems
                labels += found.judged
            drafted = max(0, generation.counts.drafted or 0)
            tally.require(not problems, f"{prompt.prompt_id}: {'; '.join(problems)}", drafted)
    lines = [] if labels else ["which tokens are called accepted could not be judged by a draft"]
    return tally.finding(*lines, untried="nothing was drafted", judged_labels=labels)
