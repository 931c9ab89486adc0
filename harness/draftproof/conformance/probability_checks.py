"""Are the log-probabilities that an engine tells those of the target?"""

from __future__ import annotations

import math

import torch

from draftproof.conformance.check_result import Finding, beyond_judge, not_available
from draftproof.conformance.subject import Subject
from draftproof.engines.certifying import judged_by_plain
from draftproof.engines.protocol import Capability, Engine
from draftproof.lossless.certificate import TIE_TOLERANCE, target_dtype
from draftproof.sampling import promoted

_COARSEST = "bfloat16"


def log_probabilities(subject: Subject) -> Finding:
    """The log-probability told of a token is the target's, by its context read from scratch."""
    tally = subject.tally("tokens whose log-probability is far enough from 0 to see it left out")
    told_of = 0
    with subject.engine() as engine:
        if Capability.LOG_PROBABILITIES not in engine.capabilities:
            return not_available(Capability.LOG_PROBABILITIES)
        if unknown := judged_by_plain(engine):
            return beyond_judge(unknown)
        allowed = _allowed(subject, engine)
        for prompt in subject.prompts:
            asked = subject.request(prompt)
            answer = engine.speculate(asked)
            told = answer.log_probabilities
            if told is None:
                return not_available(Capability.LOG_PROBABILITIES)
            sequence = [*asked.prompt_token_ids, *answer.token_ids]
            logits = subject.pair.target.recompute(sequence, len(asked.prompt_token_ids) - 1)[:-1]
            own = torch.log_softmax(promoted(logits), -1)
            says = [float(row[token]) for row, token in zip(own, answer.token_ids, strict=True)]
            known = [index for index, value in enumerate(told) if not math.isnan(value)]
            told_of += len(known)
            wrong = [index for index in known if abs(told[index] - says[index]) > allowed]
            problem = ""
            if wrong:
                problem = (
                    f"{prompt.prompt_id}: the log-probability of token {wrong[0]} is told as "
                    f"{told[wrong[0]]:.4g}, and the target says {says[wrong[0]]:.4g}, more than "
                    f"{allowed:g} away, as at {len(wrong)} of {len(known)} tokens"
                )
            far = sum(abs(says[index]) > allowed for index in known)
            tally.require(not wrong, problem, places=far)
    return tally.finding(
        f"a difference of up to {allowed:g} is put down to rounding",
        untried="every token is so probable that 0 is near enough; give other prompts"
        if told_of
        else "the engine tells none of any token, only NaN",
    )


def _allowed(subject: Subject, engine: Engine) -> float:
    """By how much rounding may move a log-probability, in nats.

    That of an engine with kernels of its own, which does not tell its type, is taken to be the
    coarsest.
    """
    own = TIE_TOLERANCE.get(target_dtype(subject.pair.target), 0.0)
    if subject.config.tie_tolerance is not None:
        return max(subject.config.tie_tolerance, 1e-3)
    if Capability.PAIR_TARGET in engine.capabilities:
        return max(own, 1e-3)
    told = str(engine.describe().get("dtype"))
    return max(own, TIE_TOLERANCE.get(told, TIE_TOLERANCE[_COARSEST]))
