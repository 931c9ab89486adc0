"""Above temperature 0: do the tokens follow the target's law, as plain decoding's do?"""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Status, not_available
from draftproof.conformance.subject import Subject
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
    """Tokens follow the target's law under top-k, top-p and min-p, and no removed one appears."""
    # Hot, and little left of the law: an engine that drops a filter soon emits what it removes.
    hot = 1.5 * subject.sampled.temperature
    filters = (
        Sampling(temperature=hot, top_k=2),
        Sampling(temperature=hot, top_p=0.5),
        Sampling(temperature=hot, min_p=0.3),
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
        rule = str(engine.describe().get("rule", ""))
        own = Capability.PLAIN in engine.capabilities
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
                trial.add(evidence_of(generation, asked, target, draft, rule=rule))
                trial.add_control(evidence_of(plain_engine.plain(asked), asked, target, draft))
                n += 1
                if trial.verdict not in (LawVerdict.CONSISTENT, LawVerdict.NOT_TESTED):
                    return _finding(trial.certificate, n)
    return _finding(trial.certificate, n)


def _finding(found: LawCertificate, n: int) -> Finding:
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
        lines = [
            "plain decoding is rejected as well as speculation: the judge's numerics or settings "
            "are not the engine's, and nothing is said of speculation"
        ]
        return Finding(status=Status.NOT_AVAILABLE, n=n, lines=tuple(lines), facts=facts)
    return Finding(
        status=Status.FAILED,
        n=n,
        places=tokens,
        place="drawn tokens",
        lines=tuple(lines),
        facts=facts,
    )
