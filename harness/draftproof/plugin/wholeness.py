"""Whether a session measured every case that it was to: a run that lacks one is never called whole.

A suite's cases are all prompts that its tests were given when they were collected. Those that are
left out by pytest's own options for that (`-k`, `-m`, `--deselect`, `--lf`, a test named alone)
were not asked for, and reports say of how many prompts they are. Of any other that is not measured
it does not matter why: it may depend on what went wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from draftproof.data.prompt import Prompt

_SELECTING = ("keyword", "markexpr", "deselect", "lf", "stepwise")
"""Where pytest keeps the options that select tests."""

_NAMED = 3
"""Cases named in a message."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a process collected.

    Attributes:
        expected: Ids of the cases of its suites.
        deselected: Those of them of which no test is left to be run.
    """

    expected: tuple[str, ...]
    deselected: tuple[str, ...]


COLLECTED: pytest.StashKey[Collected] = pytest.StashKey()
"""In the configuration; in a worker of pytest-xdist, until its controller is told."""

_GIVEN: pytest.StashKey[dict[str, tuple[str, ...]]] = pytest.StashKey()
"""Case ids that a test function was given, by its node id; in the configuration."""


def note_given(metafunc: pytest.Metafunc, prompts: Sequence[Prompt]) -> None:
    """Remember which cases a test function was given."""
    given = metafunc.config.stash.setdefault(_GIVEN, {})
    given[metafunc.definition.nodeid] = tuple(prompt.prompt_id for prompt in prompts)


def expected_cases(config: pytest.Config, items: Iterable[pytest.Item]) -> tuple[str, ...]:
    """The cases of every test function of which some test was collected, though it be only one."""
    given = config.stash.get(_GIVEN, {})
    functions = dict.fromkeys(
        f"{item.parent.nodeid}::{getattr(item, 'originalname', None)}"
        for item in items
        if item.parent is not None
    )
    return tuple(dict.fromkeys(case for name in functions for case in given.get(name, ())))


def note_collected(
    config: pytest.Config, expected: tuple[str, ...], items: Iterable[pytest.Item]
) -> None:
    """Remember what was collected.

    Args:
        config: pytest's.
        expected: The cases before any test was left out.
        items: The tests that are left.
    """
    left = {case_id for item in items if (case_id := case_of(item))}
    if _is_selected(config):
        expected = tuple(case_id for case_id in expected if case_id in left)
    config.stash[COLLECTED] = Collected(
        expected, tuple(case_id for case_id in expected if case_id not in left)
    )


def _is_selected(config: pytest.Config) -> bool:
    """Whether some of the tests were asked for, by pytest's own options."""
    words = any("::" in str(word) for word in config.args)
    return words or any(getattr(config.option, name, None) for name in _SELECTING)


def case_of(item: pytest.Item) -> str | None:
    """The id of the case that a test is about, or None."""
    from draftproof.data.prompt import Prompt

    prompt = getattr(getattr(item, "callspec", None), "params", {}).get("case")
    return prompt.prompt_id if isinstance(prompt, Prompt) else None


class Wholeness:
    """Counts the cases that a session was to measure, and says what became of the others."""

    def __init__(self) -> None:
        self._expected: dict[str, None] = {}
        self._became: dict[str, str] = {}
        self._uncollected: dict[str, None] = {}

    @property
    def expects_any(self) -> bool:
        """Whether any case was collected."""
        return bool(self._expected)

    def add_collected(self, collected: Collected) -> None:
        """Count what a process collected; those of several workers are the same."""
        self._expected.update(dict.fromkeys(collected.expected))
        for case_id in collected.deselected:
            self._became.setdefault(case_id, "deselected")

    def add_uncollected(self, report: pytest.CollectReport) -> None:
        """Note a file or folder that could not be collected: its cases are not known."""
        if report.failed:
            self._uncollected[report.nodeid] = None

    def add_phase(self, case_id: str, report: pytest.TestReport) -> None:
        """Note how a phase of a case's test ended."""
        if report.skipped:
            self._became[case_id] = "skipped"
        elif report.failed and report.when != "teardown":
            self._became[case_id] = "failed in the set-up, or before anything was measured"
        elif report.when == "call":
            self._became[case_id] = "not measured by a test that passed"

    def problems(self, measured: Collection[str]) -> list[str]:
        """Why the run is not whole, a line for each reason; none of one that is.

        Args:
            measured: Ids of the cases that have a record.
        """
        lines = [
            f"{name or 'the folder'} could not be collected: its cases are not known"
            for name in self._uncollected
        ]
        if missing := self._missing(measured):
            became = Counter(self._became.get(case_id, "not run") for case_id in missing)
            shown = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
            lines.append(
                f"{len(missing)} of {len(self._expected)} cases were not measured ({shown}): "
                + ", ".join(f"{count} {what}" for what, count in became.items())
            )
        return lines

    def is_cut_short(self, measured: Collection[str]) -> bool:
        """Whether a case's test should have run and never did."""
        return any(case_id not in self._became for case_id in self._missing(measured))

    def _missing(self, measured: Collection[str]) -> list[str]:
        return [case_id for case_id in self._expected if case_id not in measured]
