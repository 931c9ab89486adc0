"""What is drawn in a crowd follows the target's law, of engines whose draws have no seed."""

from __future__ import annotations

from draftproof.conformance.subject import Subject
from draftproof.engines.certifying import engine_rounding, judged_by_plain
from draftproof.engines.law_test import evidence_of
from draftproof.engines.protocol import Engine, Generation, Request, check_generation
from draftproof.errors import EngineError
from draftproof.lossless.evidence import Evidence
from draftproof.lossless.evidence.verdict import LawVerdict, Trial


class CrowdLaw:
    """Adds up what outputs say for or against the target's law: crowded ones, and lone controls.

    Args:
        subject: Whose judge decides.
        engine: What draws them.

    Attributes:
        tokens: Drawn in crowds, and judged.
    """

    def __init__(self, subject: Subject, engine: Engine) -> None:
        self._subject = subject
        self._rule = str(engine.describe().get("rule", ""))
        self._rounding = engine_rounding(engine, subject.config)
        self._engine = engine
        self._unknown: tuple[str, ...] = ()
        self._trial = Trial(subject.config.law_alpha or 1e-4)
        self._wrong = ""
        self.tokens = 0

    def add(self, asked: Request, generation: Generation, kind: str) -> None:
        """An answer that was given in a crowd of some kind."""
        if asked.sampling.greedy or self._is_unknown(asked):
            return
        vocabulary_size = self._subject.pair.target.vocabulary_size
        try:
            check_generation(generation, asked, vocabulary_size)
        except EngineError as error:
            self._wrong = self._wrong or f"{asked.request_id}, in a crowd of {kind}: {error}"
            return
        self._trial.add(self._evidence(asked, generation))
        self.tokens += len(generation.token_ids)

    def add_alone(self, asked: Request, generation: Generation) -> None:
        """An answer that was given alone."""
        if not self._is_unknown(asked):
            self._trial.add_control(self._evidence(asked, generation))

    @property
    def problem(self) -> str:
        """What is wrong in crowds; empty if nothing is."""
        verdict = self._trial.verdict
        if self._wrong or verdict not in (LawVerdict.OUTPUT, LawVerdict.ACCEPTANCE):
            return self._wrong
        return (
            "what is drawn in crowds does not follow the target's law, and what is drawn alone "
            f"does: {verdict} within {self.tokens:,} tokens"
        )

    @property
    def lines(self) -> list[str]:
        """What was compared above temperature 0, or why nothing was."""
        if self._unknown and not self.tokens:
            names = ", ".join(self._unknown)
            return [f"above temperature 0 not available: the judge does not apply {names}"]
        if self._trial.verdict is LawVerdict.SETTINGS:
            return [
                "above temperature 0 not available: what is drawn alone does not follow the "
                "judge's law, either"
            ]
        return [
            "above temperature 0, where the engine has no seeds, the law of what is drawn in "
            f"crowds was tested on {self.tokens:,} tokens"
        ]

    def _is_unknown(self, asked: Request) -> bool:
        """Whether a request asks for what the judge does not apply."""
        unknown = judged_by_plain(self._engine, asked)
        self._unknown = self._unknown or unknown
        return bool(unknown)

    def _evidence(self, asked: Request, generation: Generation) -> Evidence:
        pair = self._subject.pair
        return evidence_of(
            generation,
            asked,
            pair.target,
            pair.draft,
            rule=self._rule,
            engine_rounding=self._rounding,
        )
