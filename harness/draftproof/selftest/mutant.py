"""What a planted fault is: the parts of a sound system, with one of them wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from draftproof.config import RunConfig, Sampling
from draftproof.engines.parts import Parts, make_parts
from draftproof.engines.protocol import Engine
from draftproof.models.protocol import CausalLM
from draftproof.selftest.figures import Figures, figures
from draftproof.shapes import parse_tree

Plant = Callable[[Parts, RunConfig], Parts]
"""From sound parts and the settings to the parts with a fault in one of them."""


class FaultClass(StrEnum):
    """Where a fault lives."""

    VERIFICATION = "verification"
    POSITIONS = "positions and masks"
    CACHE = "cache"
    STOPPING = "stopping and penalties"
    RANDOMNESS = "randomness"
    VOCABULARY = "vocabulary"
    NUMERICS = "numerics"
    METRICS = "metrics"
    DYNAMIC_LENGTH = "dynamic draft length"
    REQUESTS = "requests"
    BATCHES = "batches"
    CONTROL = "lossless control"


def nothing(parts: Parts, config: RunConfig) -> Parts:
    """Plants no fault."""
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A system with a planted fault, or a lossless control.

    Attributes:
        id: Names it in commands and tables.
        title: The fault in a few words.
        fault_class: Where it lives.
        source: The public project that shipped it, with issue, pull request or commit; or that it
            is one of this project's own, planted to test generality.
        plant: Puts the fault in.
        engine: In place of `plant`, makes the engine with the fault, of a pair, the settings and
            ``observe``, where it does not lie in the parts of decoding one sequence.
        figures: The figures that are computed of cases, where the fault lies there.
        tree: Drafts with which the fault can show.
        small_tree: The same with few enough nodes for enumeration.
        rule: Acceptance rule above temperature 0.
        transformer: Whether the fault needs a transformer, so that tables cannot show it.
        enumerable: Whether its draws can be followed down every branch: it draws from what it is
            given and nothing else.
        lossless: Whether nothing is wrong, so that no instrument may flag it.
        only_acceptance: Whether the output stays lossless and only acceptance suffers.
    """

    id: str
    title: str
    fault_class: FaultClass
    source: str
    plant: Plant = nothing
    engine: Callable[..., Engine] | None = None
    figures: Figures = figures
    tree: str = "chain:4"
    small_tree: str = "chain:2"
    rule: str = "auto"
    transformer: bool = False
    enumerable: bool = True
    lossless: bool = False
    only_acceptance: bool = False

    @property
    def own(self) -> bool:
        """Whether the fault was thought of here, rather than reported of an engine."""
        return self.source == OWN

    def config(self, **settings: object) -> RunConfig:
        """The settings that it is examined with."""
        values: dict[str, object] = {
            "tree": parse_tree(self.tree),
            "rule": self.rule,
            "sampling": Sampling(temperature=1.0),
            "max_new_tokens": 32,
            **settings,
        }
        return RunConfig(**values)  # type: ignore[arg-type]

    def parts(self, target: CausalLM, draft: CausalLM | None, config: RunConfig) -> Parts:
        """The system with the fault in it.

        Args:
            target: A sound target.
            draft: A sound draft model.
            config: The settings. At temperature 0 the rule is `greedy`, whatever `rule` says.
        """
        if config.sampling.greedy:
            config = replace(config, rule="auto")
        return self.plant(make_parts(target, draft, config), config)


OWN = "thought of here"
"""The source of faults that no report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A reported fault that cannot be planted here.

    Attributes:
        id: Names it.
        title: The fault in a few words.
        source: Who shipped it.
        reason: Why it does not apply.
    """

    id: str
    title: str
    source: str
    reason: str
