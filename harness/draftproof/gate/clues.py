"""What the differing steps of two runs have in common: where to look for the change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from draftproof.gate.exact import KEPT_ASIDE, KEPT_WHOLE, Aspect, StepFacts, first_changed_step

PLACES: dict[Aspect, str] = {
    Aspect.TREE: "After the same tokens another tree was proposed: look at the drafter, at what it "
    "keeps between steps (start, draft, commit), and at the draft model's cache.",
    Aspect.DRAFT: "After the same tokens the draft model says something else of the same tree: "
    "look at its cache, its positions, and what the drafter feeds it (start, draft, commit).",
    Aspect.TARGET: "The same tree was verified otherwise: look at the tree mask, the positions "
    "and the target's cache.",
    Aspect.ACCEPTANCE: "The same tree with the same probabilities was accepted otherwise: look "
    "at the acceptance rule and its draws.",
    Aspect.COMMIT: "The same path was kept, but committed otherwise: look at stop rules, "
    "truncation and the length limit.",
    Aspect.LENGTH: "Every step that both runs have is the same, but one goes on: look at stop "
    "rules and the length limit.",
}
EVENTS: tuple[tuple[int, int, str, str], ...] = (
    (
        KEPT_WHOLE,
        KEPT_WHOLE,
        "a draft that was kept to its full depth",
        "look at what happens after a fully kept path",
    ),
    (
        KEPT_WHOLE,
        0,
        "a draft that was not kept to its full depth",
        "look at what is dropped and kept after a rejection",
    ),
    (
        KEPT_ASIDE,
        KEPT_ASIDE,
        "a kept path with a node that was not the first of its siblings",
        "look at whose cache entries are kept (commit), the path's or those of its siblings",
    ),
)
"""What a step may have been, as a mask of `StepFacts` and its value, in words, and where to look
where the steps after such ones are the first to differ."""
SURE = 1e-3
"""Below this p-value, what precedes the differences is not put down to chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Which cases of two runs differ, and where each does first.

    Attributes:
        compared: Cases that both runs have, in the order of their ids.
        first: By case id, the first step that differs and what of it changed.
    """

    compared: tuple[str, ...]
    first: Mapping[str, tuple[int, Aspect]]


def changes(
    compared: tuple[str, ...], before: Mapping[str, StepFacts], now: Mapping[str, StepFacts]
) -> Changes:
    """The cases whose steps differ."""
    found = {}
    for case_id in compared:
        change = first_changed_step(before[case_id], now[case_id])
        if change is not None:
            found[case_id] = change
    return Changes(compared=compared, first=found)


def clues(changed: Changes, before: Mapping[str, StepFacts]) -> list[str]:
    """What the first differing steps have in common, a sentence each; none for equal runs."""
    if not changed.first:
        return []
    counts = Counter(aspect for _, aspect in changed.first.values())
    most = counts.most_common(1)[0][0]
    first = ", ".join(f"{aspect} in {count}" for aspect, count in counts.most_common())
    lines = [f"What changed first in a case: {first}.", PLACES[most]]
    lines += _after_an_event(changed, before)
    lines += _from_case_to_case(changed)
    return lines


def _after_an_event(changed: Changes, before: Mapping[str, StepFacts]) -> list[str]:
    """What the steps before the first differing ones have in common; the strongest alone."""
    from scipy.stats import binomtest

    kept = {case_id: before[case_id].rows["kept"] for case_id in changed.compared}
    everywhere = np.concatenate([rows[:-1] for rows in kept.values()])
    later = [(case_id, step) for case_id, (step, _) in changed.first.items() if step > 0]
    if not later or not len(everywhere):
        return []
    preceding = np.array([kept[case_id][step - 1] for case_id, step in later])
    found = []
    for mask, value, what, where in EVENTS:
        share = float(np.mean(everywhere & mask == value))
        after = int(np.sum(preceding & mask == value))
        if share in (0.0, 1.0):
            continue
        sentence = (
            f"{after} of the {len(later)} differ first in the step after {what}, as {share:.0%} of "
            f"all steps are: {where}."
        )
        found.append((binomtest(after, len(later), share, "greater").pvalue, sentence))
    chance, sentence = min(found, default=(1.0, ""))
    return [sentence] if chance <= SURE else []


def _from_case_to_case(changed: Changes) -> list[str]:
    """Whether cases differ from their first step on: all of them, or all but one."""
    cases = len(changed.compared)
    if cases < 3:
        return []
    at_start = sum(step == 0 for step, _ in changed.first.values())
    same = [case_id for case_id in changed.compared if case_id not in changed.first]
    if len(same) == 1 and at_start >= (cases - 1) / 2:
        return [
            f"{same[0]} alone is the same, and {at_start} of the {cases - 1} others differ from "
            "their first step on: if that was the first case to run, look at what is kept from "
            "one case to the next."
        ]
    if at_start >= 0.9 * cases:
        return [
            f"{at_start} of {cases} cases differ from their first step on: look at what happens "
            "before it, when a case starts and the prompt is read."
        ]
    return []
