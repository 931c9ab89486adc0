"""Above temperature 0: do the tokens follow the target's law, as plain decoding's do?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Status, beyond_judge, not_available
from draftproof.conformance.subject import Subject
from draftproof.engines.certifying import engine_rounding, judged_by_plain, rounding_advice
from draftproof.engines.law_test import evidence_of
from draftproof.engines.protocol import Capability, check_generation
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import EngineError
from draftproof.lossless.evidence.alternatives import DRAFTS_LAW, STATED_FAULTS
from draftproof.lossless.evidence.verdict import LawCertificate, LawVerdict, Trial

ROUNDS = 3
"""How often each prompt is asked."""


def target_law(subject: Subject) -> Finding:
    """Tokens follow the target's law at the settings' temperature."""
    return _law(subject, [subject.sampled] * ROUNDS, Capability.SAMPLING)


def filtered_law(subject: Subject) -> Finding:
    """Tokens follow the target's law under filters and a penalty, and no removed one appears."""
    # Hot, and little left of the law: an engine that drops a filter soon emits what it removes.
    hot = 1.5 * subject.sampled.temperature
    filters = (
        Sampling(temperature=hot, top_k=2),
        Sampling(temperature=hot, top_p=0.5),
        Sampling(temperature=hot, min_p=0.3),
        # What the penalty changes in which tokens are left shows at once.
        Sampling(temperature=hot, top_k=2, repetition_penalty=2.0),
    )
    return _law(subject, filters, Capability.FILTERS)


def _law(subject: Subject, rounds: Sequence[Sampling], capability: Capability) -> Finding:
    """Ask every prompt once a round, with another seed each time, until the evidence decides."""
    alpha = subject.config.law_alpha or 1e-4
    trial, n = Trial(alpha), 0
    target, draft = subject.pair.target, subject.pair.draft
    for needed in (Capability.SAMPLING, capability):
        if needed not in subject.capabilities:
            return not_available(needed)
    with subject.engine(sampling=rounds[0]) as engine:
        if unknown := judged_by_plain(engine):
            return beyond_judge(unknown)
        rule = str(engine.describe().get("rule", ""))
        own = Capability.PLAIN in engine.capabilities
        is_judges = Capability.PAIR_TARGET in engine.capabilities
        rounding = engine_rounding(engine, subject.config)
        judged = partial(evidence_of, engine_rounding=rounding)
        advice = rounding_advice(engine, subject.config).strip()
        plain_engine = (
            engine if own else ReferenceEngine.without_drafts(subject.pair, subject.config)
        )
        for index, sampling in enumerate(rounds):
            for prompt in subject.prompts:
                seed = subject.config.seed + index
                asked = subject.request(prompt, sampling=sampling, seed=seed)
                generation = engine.speculate(asked)
                try:
                    check_generation(generation, asked, target.vocabulary_size)
                except EngineError as error:
                    return Finding(
                        status=Status.FAILED,
                        n=n + 1,
                        lines=(f"{prompt.prompt_id}: {error}",),
                    )
                trial.add(judged(generation, asked, target, draft, rule=rule))
                plain = plain_engine.plain(asked)
                trial.add_control(judged(plain, asked, target, draft))
                n += 1
                if trial.is_decided:
                    return _finding(trial.certificate, n, is_judges=is_judges, advice=advice)
    return _finding(trial.certificate, n, is_judges=is_judges, advice=advice)


def _finding(found: LawCertificate, n: int, *, is_judges: bool, advice: str) -> Finding:
    """The finding on a certificate.

    Args:
        found: The decision.
        n: Outputs that were judged.
        is_judges: Whether the engine computes as the judge does, so that plain decoding of another
            law is a fault of the engine.
        advice: What to do if it is rejected; may be empty.
    """
    facts = found.to_json()
    tokens = sum(found.tokens.values())
    if found.verdict is LawVerdict.NOT_TESTED:
        return Finding(status=Status.NOT_TRIED, n=n, lines=("no token came back",), facts=facts)
    if found.verdict is LawVerdict.CONSISTENT:
        power = (
            "no share of the draft's law would have been caught"
            if found.contamination is None
            else f"a share of {found.contamination:.3f} of the draft's law in the target's place "
            "would have been caught with probability .95"
        )
        power_lines = [power]
        unseen = [
            fault
            for index, (fault, share) in enumerate(found.power.items())
            if share is None and STATED_FAULTS[index] != DRAFTS_LAW
        ]
        if unseen:
            power_lines.append("would not have been caught on these tokens: " + "; ".join(unseen))
        return Finding(
            status=Status.PASSED,
            n=n,
            places=tokens,
            place="drawn tokens",
            lines=tuple(power_lines),
            facts=facts,
        )
    lines = [f"{found.verdict} after {tokens:,} tokens (α = {found.alpha:g})"]
    lines += [
        f"the evidence points to: {pointer.name}, {pointer.scope}" for pointer in found.pointers
    ]
    if found.verdict is LawVerdict.SETTINGS:
        speculation = (
            "speculation does not, either"
            if found.declared.rejected
            else "of speculation that is not shown: one of the two may leave out a setting that "
            "the other obeys"
        )
        what = f"plain decoding does not follow the target's law (α = {found.alpha:g}); "
        if not is_judges:
            reason = "; the judge's numerics or settings may not be the engine's"
            lines = [what + speculation + reason, *([advice] if advice else [])]
            return Finding(status=Status.NOT_AVAILABLE, n=n, lines=tuple(lines), facts=facts)
        lines = [what + speculation, *(line for line in lines[1:] if found.declared.rejected)]
    lines += [advice] if advice else []
    return Finding(
        status=Status.FAILED,
        n=n,
        places=tokens,
        place="drawn tokens",
        lines=tuple(lines),
        facts=facts,
    )
