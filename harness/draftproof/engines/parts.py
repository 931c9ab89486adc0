"""The parts that a decoding system is made of, each of which may be exchanged for another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig
from draftproof.decoding import LawFactory, Observer, ignore
from draftproof.drafting import Drafter
from draftproof.engines.own_parts import drafter_of, rule_of
from draftproof.errors import UsageError
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Draw, SeededRandomness
from draftproof.recording import StepRecorder, StepSeconds
from draftproof.sampling import TokenLaw
from draftproof.stopping import Stopping
from draftproof.trace import Columns, Counts


class MakeRandomness(Protocol):
    """From a request's seed and id, and what is told of draws, to where they come from."""

    def __call__(
        self, seed: int, case_id: str, observe: Callable[[Draw], None] | None = None, /
    ) -> SeededRandomness: ...


def counts_of(steps: Columns) -> Counts:
    """The counters of one output, from its `STEP_COLUMNS`."""
    return Counts(
        steps=len(steps["step"]),
        drafted_steps=int(np.count_nonzero(steps["nodes"])),
        drafted=int(steps["nodes"].sum()),
        accepted=int(steps["accepted_length"].sum()),
    )


def unchanged(stopping: Stopping) -> Stopping:
    """The stopping rule that a request asks for."""
    return stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that decides what a speculative output is and what is told of it.

    Attributes:
        target: Verifies.
        draft: The draft model, whose state is checked; drafters without a model leave it alone.
        drafter: Proposes.
        rule: Decides what is kept.
        new_drafter: Makes a drafter like `drafter`, to compare the proposals of one without a model
            with those of one that has seen nothing else; None where that cannot be done.
        make_law: Makes what logits become probabilities by.
        make_randomness: From a request's seed and id to where its draws come from.
        make_recorder: Makes what takes note of steps and nodes.
        stopping: From the stopping rule that was asked for to the one that is applied.
        counts: From step columns to the engine's own counters.
        observe: Called after each step, before its state is checked.
    """

    target: CausalLM
    draft: CausalLM | None
    drafter: Drafter
    rule: AcceptanceRule
    new_drafter: Callable[[], Drafter] | None = None
    make_law: LawFactory = TokenLaw
    make_randomness: MakeRandomness = SeededRandomness
    make_recorder: Callable[[Callable[[], StepSeconds]], StepRecorder] = StepRecorder
    stopping: Callable[[Stopping], Stopping] = unchanged
    counts: Callable[[Columns], Counts] = counts_of
    observe: Observer = ignore

    @property
    def draft_model(self) -> CausalLM:
        """The draft model, for what cannot do without.

        Raises:
            UsageError: There is none.
        """
        if self.draft is None:
            raise UsageError("this needs a draft model: give --spec-draft")
        return self.draft


def make_parts(
    target: CausalLM,
    draft: CausalLM | None,
    config: RunConfig,
    *,
    rule: AcceptanceRule | None = None,
    drafter: Drafter | None = None,
) -> Parts:
    """The parts that a run's settings name.

    Args:
        target: Verifies.
        draft: What a drafter with a model asks; None for one without.
        config: The settings: tree, drafter and rule are used.
        rule: In place of the settings' acceptance rule.
        drafter: In place of the settings' drafter.

    Raises:
        UsageError: The settings name a part that cannot be used.
        EngineError: The code of one failed.
    """
    made = drafter or drafter_of(config, draft)
    is_own = drafter is not None or config.drafter is not None
    return Parts(
        target=target,
        draft=draft,
        drafter=made,
        rule=rule or rule_of(config, made if is_own else None),
        new_drafter=None if drafter else lambda: drafter_of(config, draft),
    )
