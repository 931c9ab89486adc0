"""How each token of an output was emitted, as far as an engine tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from draftproof.engines.protocol import Generation
from draftproof.laws import RULES
from draftproof.lossless.evidence import DeclaredRule, Site
from draftproof.trace import Columns

_DECLARED = {"rejection": DeclaredRule.REJECTION, "point-mass": DeclaredRule.POINT_MASS}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token of an output was decided.

    Attributes:
        site: How it was emitted.
        begins_step: Whether it is the first token of a step.
        proposals: The tokens drafted there; empty where there are none, or they are not told.
    """

    site: Site
    begins_step: bool = True
    proposals: tuple[int, ...] = ()


def declared_rule(rule: str) -> DeclaredRule:
    """What an engine that names this acceptance rule is said to do at a drafted position."""
    return _DECLARED.get(rule, DeclaredRule.OTHER)


def places(generation: Generation, rule: str) -> list[Place]:
    """How each token was emitted.

    Whether a position is drafted and reached must be known before its token is drawn. Of rules that
    judge a draft from its leaves that does not hold (how far a step goes depends on tokens further
    down), and of engines that do not tell their drafts it is not known: their tokens are judged by
    the law of the output alone.

    Args:
        generation: An engine's answer.
        rule: The acceptance rule that the engine names.

    Returns:
        ``[tokens]``
    """
    tokens = len(generation.token_ids)
    if generation.steps is None or generation.nodes is None or not _is_top_down(rule):
        return [Place(Site.UNKNOWN)] * tokens
    found = [Place(Site.FIRST)]
    for step, committed in _steps(generation.steps, generation.nodes):
        found += _step_places(step, committed)
    return found[:tokens]


def _is_top_down(rule: str) -> bool:
    return rule in RULES and RULES[rule].top_down


def _steps(steps: Columns, nodes: Columns) -> Iterator[tuple[Columns, int]]:
    ends = np.cumsum(steps["nodes"])
    for index, committed in enumerate(steps["committed_tokens"].tolist()):
        end = int(ends[index])
        start = end - int(steps["nodes"][index])
        yield {name: column[start:end] for name, column in nodes.items()}, committed


def _step_places(nodes: Columns, committed: int) -> list[Place]:
    """The places of a step's tokens: down the kept path, and then the extra token."""
    found: list[Place] = []
    parent = -1
    for _ in range(committed):
        here = np.flatnonzero(nodes["parent"] == parent)
        proposals = tuple(nodes["token_id"][here].tolist())
        kept = here[nodes["accepted"][here]]
        site = Site.ACCEPTED if len(kept) else Site.CORRECTION if len(here) else Site.BONUS
        found.append(Place(site, begins_step=not found, proposals=proposals))
        if len(kept):
            parent = int(nodes["node"][kept[0]])
    return found


def accepted_tokens(steps: Columns, tokens: int) -> tuple[bool, ...]:
    """Whether each token of an output was a draft that was kept.

    Args:
        steps: `STEP_COLUMNS`, each ``[steps]``.
        tokens: Length of the output; its first token comes before every step.

    Example:
        >>> accepted_tokens({"accepted_length": np.array([2, 0]),
        ...                  "committed_tokens": np.array([3, 1])}, 5)
        (False, True, True, False, False)
    """
    kept = [False]
    for accepted, committed in zip(
        steps["accepted_length"].tolist(), steps["committed_tokens"].tolist(), strict=True
    ):
        kept += [index < accepted for index in range(committed)]
    return tuple(kept[:tokens])
