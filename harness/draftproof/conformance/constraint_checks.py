"""Is what a request asks for beyond what the judge knows obeyed with speculation, too?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from draftproof.conformance.check_result import Finding, Tally, not_available
from draftproof.conformance.drawn_pairs import LOOKS, Ask, Way, told_apart
from draftproof.conformance.subject import Subject
from draftproof.engines.certifying import judged_by_plain
from draftproof.engines.protocol import (
    BatchEngine,
    Capability,
    ConstrainableEngine,
    Engine,
    Generation,
    Request,
)
from draftproof.errors import EngineError, UsageError
from draftproof.lossless.evidence.verdict import ALPHA

_COMMON = 3
"""Common tokens that a bias is against."""
_GREEDY = 3
"""Prompts that are asked at temperature 0."""
_IN_FLIGHT = 8
"""Requests of plain decoding that are asked at once."""

Settings = dict[str, str | None]
"""`Request.extras` by the name of what they ask for."""


def same_constraints(subject: Subject) -> Finding:
    """What is asked for beyond the law (bias, grammar) has the same effect with speculation."""
    tally = subject.tally("outputs of which dropping what was asked for would have been seen")
    for needed in (Capability.EXTRAS, Capability.PLAIN):
        if needed not in subject.capabilities:
            return not_available(needed)
    lines: list[str] = []
    with subject.engine(sampling=subject.sampled) as engine:
        if not isinstance(engine, ConstrainableEngine):
            return not_available(Capability.EXTRAS)
        laws = LawPairs(subject, engine, speculating(engine))
        usual = (subject.plain(_greedy(subject, prompt, "")) for prompt in _few(subject))
        outputs = [answer.token_ids for answer in usual if answer is not None]
        for name, extras in extras_tried(engine, outputs).items():
            asked = _greedy(subject, subject.prompts[0], extras)
            if refusal := refused(engine.plain, asked) or refused(engine.speculate, asked):
                lines.append(f"{name} not available: {refusal}")
                continue
            _require_same_choice(subject, tally, name, extras)
            if Capability.SAMPLING in engine.capabilities:
                lines += laws.require(
                    tally, f"{name}, above temperature 0", extras, "with speculation"
                )
    return tally.finding(
        *lines, untried="nothing that may be asked for changed the outputs of plain decoding"
    )


def extras_tried(engine: Any, outputs: Iterable[Sequence[int]]) -> Settings:
    """The settings' own extras where the judge does not know them, and what the engine offers.

    Args:
        engine: A `ConstrainableEngine`.
        outputs: Of it, without extras, for tokens that are common in them.
    """
    unknown = judged_by_plain(engine)
    own: Settings = {", ".join(unknown): None} if unknown else {}
    seen = Counter(token for output in outputs for token in set(output))
    common = [token for token, _ in seen.most_common(_COMMON)]
    return {**own, **engine.extras_to_try(common)}


def _few(subject: Subject) -> Sequence[Any]:
    return subject.prompts[:_GREEDY]


def _greedy(subject: Subject, prompt: Any, extras: str | None) -> Request:
    return replace(subject.request(prompt), extras=extras)


def _require_same_choice(subject: Subject, tally: Tally, name: str, extras: str | None) -> None:
    """At temperature 0: the outputs are those of plain decoding."""
    with subject.engine() as engine:
        for prompt in _few(subject):
            asked, without = (_greedy(subject, prompt, own) for own in (extras, ""))
            plain, bare = subject.plain(asked), subject.plain(without)
            changed = plain is None or bare is None or plain.token_ids != bare.token_ids
            tally.add(f"{name}, {prompt.prompt_id}", subject.judged(engine, asked), int(changed))


class LawPairs:
    """Holds what is drawn in some way, with extras that no judge knows, to plain decoding's law.

    Args:
        subject: What is examined.
        engine: It has plain decoding.
        ask: Asks it in the way that is held to plain decoding.
    """

    def __init__(self, subject: Subject, engine: Engine, ask: Ask) -> None:
        self._subject = subject
        self._ask = ask
        self._plainly = _plainly(engine)
        self._alpha = subject.config.law_alpha or ALPHA
        self._numbers = count()
        self._bare: dict[bool, Way] = {}

    def require(self, tally: Tally, what: str, extras: str | None, where: str) -> list[str]:
        """Compare the way with plain decoding, and plain decoding with itself without the extras.

        Places are counted where the second comparison tells the two apart: dropping the extras
        would have been seen. Extras of the settings are tried on whole prompts, too, if need be.

        Args:
            tally: Told the outputs and a problem.
            what: The extras and the temperature, for messages.
            extras: As in `Request.extras`.
            where: The way that is held to plain decoding, for messages.

        Returns:
            Lines that say what was not tried.
        """
        can_cut = Capability.TOKEN_PROMPTS in self._subject.capabilities
        contexts = (True, False) if can_cut and extras is None else (can_cut,)
        alpha = self._alpha / len(contexts)
        for is_cut in contexts:
            own, plain = (
                self._way(self._ask, extras, is_cut),
                self._way(self._plainly, extras, is_cut),
            )
            if is_cut not in self._bare:
                self._bare[is_cut] = self._way(self._plainly, "", is_cut)
            found = told_apart(own, plain, alpha)
            dropped = told_apart(self._bare[is_cut], plain, alpha)
            is_telling = dropped.p_value <= alpha
            tally.require(
                found.p_value > alpha,
                f"{what}: {found.first:.3g} {found.property} an output {where}, and "
                f"{found.second:.3g} in the engine's own plain decoding (p ≤ {found.p_value:.1g}): "
                "one of the two drops or changes a setting that the other obeys",
                places=LOOKS[-1] if is_telling else 0,
            )
            if is_telling or found.p_value <= alpha:
                return []
        return [
            f"{what}: not tried: {LOOKS[-1]} outputs of plain decoding with it are not told apart "
            "from those without it"
        ]

    def _way(self, ask: Ask, extras: str | None, is_cut: bool) -> Way:
        return Way(self._subject, next(self._numbers), ask, extras, is_cut=is_cut)


def speculating(engine: Engine) -> Ask:
    """Asks an engine one request after another."""
    return partial(map, engine.speculate)


def _plainly(engine: Engine) -> Ask:
    """Asks an engine to decode plainly, several requests at once where it can."""
    if Capability.BATCHES not in engine.capabilities or not isinstance(engine, BatchEngine):
        return partial(map, engine.plain)
    together = engine.generate

    def ask(requests: Sequence[Request]) -> list[Generation]:
        answers = dict(together(requests, most_rows=_IN_FLIGHT, plainly=True))
        return [answers[index] for index in range(len(requests))]

    return ask


def refused(ask: Callable[[Request], Generation], asked: Request) -> str:
    """Why a request with extras is not served; empty if it is.

    Raises:
        EngineError: Without them it is not served any more, either: they ended the engine.
    """
    try:
        ask(asked)
    except (EngineError, UsageError) as error:
        ask(replace(asked, extras=""))
        return str(error)
    return ""
