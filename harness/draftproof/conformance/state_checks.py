"""What an engine tells of its steps and its state: does it hold together?"""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.config import Sampling
from draftproof.conformance.subject import GREEDY, Finding, Subject, not_available
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Capability, Counts
from draftproof.errors import StateError
from draftproof.trace import Columns

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
        for prompt in subject.prompts:
            generation = engine.speculate(subject.request(prompt))
            if generation.counts is None:
                return not_available(Capability.COUNTS)
            problems = _impossible(generation.counts, len(generation.token_ids))
            if generation.steps is not None:
                problems += _not_the_steps(generation.counts, generation.steps)
            if generation.accepted is not None:
                problems += _not_accepted(generation.accepted, generation.counts, generation.steps)
            for problem in problems:
                tally.require(False, f"{prompt.prompt_id}: {problem}")
            tally.require(True, "")
    return tally.finding()


def _impossible(counts: Counts, tokens: int) -> list[str]:
    """What cannot be: a step emits what it keeps and one more; the first token may have none."""
    problems = []
    if not 0 <= counts.accepted <= counts.drafted:
        problems.append(f"{counts.accepted} of {counts.drafted} drafted tokens accepted")
    most = 1 + counts.accepted + counts.steps
    if tokens > most:
        problems.append(
            f"{tokens} tokens cannot come of {counts.steps} steps that kept {counts.accepted}: "
            f"they make {most} at most"
        )
    if tokens < counts.steps:
        problems.append(f"{counts.steps} steps cannot have made {tokens} tokens: each makes one")
    return problems


def _not_the_steps(counts: Counts, steps: Columns) -> list[str]:
    """Where counters leave what the engine itself tells of its steps."""
    told = {
        "steps": len(steps["step"]),
        "drafted": int(steps["nodes"].sum()),
        "accepted": int(steps["accepted_length"].sum()),
    }
    return [
        f"the counter of {name} says {getattr(counts, name)}, and its steps add up to {value}"
        for name, value in told.items()
        if getattr(counts, name) != value
    ]


def _not_accepted(accepted: Sequence[bool], counts: Counts, steps: Columns | None) -> list[str]:
    """Where the tokens called accepted leave the counters, or the steps."""
    called = sum(accepted)
    if called > counts.accepted:
        return [f"{called} tokens of the output are called accepted, and {counts.accepted} were"]
    if steps is None:
        return []
    told = [
        index < kept
        for kept, committed in zip(
            steps["accepted_length"].tolist(), steps["committed_tokens"].tolist(), strict=True
        )
        for index in range(committed)
    ]
    # An engine may score the prompt with its first draft, or make the first token before any.
    before = len(accepted) - len(told)
    if before not in (0, 1):
        return [f"its steps add up to {len(told)} tokens of an output of {len(accepted)}"]
    return [
        f"token {index} of the output is called {_accepted(one)}, and by its steps it is "
        f"{_accepted(other)}"
        for index, (one, other) in enumerate(zip(accepted, [False] * before + told, strict=True))
        if one != other
    ][:1]


def _accepted(is_accepted: bool) -> str:
    return "accepted" if is_accepted else "not accepted"
