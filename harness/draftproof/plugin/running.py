"""What a test does with a case: decode it both ways, keep what was measured, judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from draftproof.config import BUILTIN
from draftproof.data.fingerprint import prompt_digest
from draftproof.data.prompt import Prompt
from draftproof.engines.names import EXECUTOR
from draftproof.errors import (
    OUT_OF_MEMORY,
    USAGE_EXIT_CODE,
    DraftproofError,
    TemplateError,
    error_text,
    is_out_of_memory,
    printable,
)
from draftproof.executors.measured import error_record, named_error
from draftproof.plugin.case import Case
from draftproof.plugin.junit import case_properties
from draftproof.plugin.law_watch import LawWatch
from draftproof.plugin.state import FATAL, RECORD
from draftproof.trace import CaseRecord, Verdict

if TYPE_CHECKING:
    from draftproof.acceptance import AcceptanceRule
    from draftproof.config import RunConfig
    from draftproof.engines.benches import Benches
    from draftproof.engines.measuring import Bench
    from draftproof.engines.own_parts import MakeDrafter, OwnParts
    from draftproof.executors.fleet import Fleet
    from draftproof.executors.measured import Measured

    MakeFleet = Callable[
        [Callable[[Prompt, Measured], None], Callable[[str], None]],
        Fleet,
    ]

_SHOWN = 3
"""Contradictions shown of a case."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What decoding a case plainly and speculatively showed.

    Attributes:
        record: Everything measured.
        rejection: Why the run so far rejects that tokens follow the target's law; empty if it does
            not.
    """

    record: CaseRecord
    rejection: str = ""

    @property
    def lossless(self) -> bool:
        """Whether the outputs do not contradict that speculation is lossless."""
        return not self.rejection and self.record.verdict in (
            Verdict.IDENTICAL,
            Verdict.NUMERICAL,
            Verdict.SAMPLED,
        )

    def assert_lossless(self) -> None:
        """Fail the test where speculation changed the output, and show where.

        Where no speculation ran (``--spec-engine probe``), the test is skipped: its figures are
        kept, and nothing is said of losslessness.

        Raises:
            AssertionError: At temperature 0 the outputs differ by more than rounding explains;
                above it, the run's tokens so far do not follow the target's law; or what the engine
                counted contradicts itself.
        """
        __tracebackhide__ = True
        record = self.record
        is_compared = record.verdict is not Verdict.UNJUDGED
        problems = [record.message or self.rejection] if is_compared and not self.lossless else []
        if record.contradictions:
            problems.append(contradiction_lines(record))
        if problems:
            text = f"{record.case_id}: " + "\n".join(problems)
            pytest.fail(printable(text), pytrace=False)
        if not is_compared:
            pytest.skip("measured; no speculation ran, so that there was nothing to compare")


def contradiction_lines(record: CaseRecord) -> str:
    """What is wrong with a case's counts, and what to do."""
    shown, more = record.contradictions[:_SHOWN], len(record.contradictions) - _SHOWN
    lines = [
        "the counts of this case contradict each other:",
        *(f"  {contradiction}" for contradiction in shown),
        *([f"  and {more} more"] if more > 0 else []),
        "  What to do: believe no figure of this case until the engine tells its steps rightly,",
        "    or its rule keeps only what it has reached.",
    ]
    return "\n".join(lines)


class Speculation:
    """Runs cases through the models of the run's settings, which are loaded on first use.

    Args:
        config: The run's settings.
        finished: Cases that need not be measured again.
        report: Told what is being loaded.
        rule: In place of the settings' acceptance rule, for one that is under test.
        make_drafter: Makes a drafter that is under test, from the draft model, in place of the
            settings'.
        against: Settings that every case is run with too, in turn.
        keep_prompts: Whether records keep the text of every prompt; else only that of built-in
            ones, which is public.
        make_fleet: Makes the workers that measure the cases in place of this process; given what
            is called with each case as it arrives, and what is told of workers that are lost.
        arrived: Called with what is kept of a case that such a worker has measured, before its
            test asks for it.
    """

    def __init__(
        self,
        config: RunConfig,
        finished: dict[str, CaseRecord],
        report: Callable[[str], None],
        rule: AcceptanceRule | None = None,
        against: RunConfig | None = None,
        *,
        make_drafter: MakeDrafter | None = None,
        keep_prompts: bool = False,
        make_fleet: MakeFleet | None = None,
        arrived: Callable[[dict[str, Any]], None] = lambda kept: None,
    ) -> None:
        self.config = config
        self._keep_prompts = keep_prompts
        self._against = against
        self._rule = rule
        self._make_drafter = make_drafter
        self._finished = finished
        self._report = report
        self._benches: Benches | None = None
        self._make_fleet = make_fleet
        self._fleet: Fleet | None = None
        self._arrived = arrived
        self._node: pytest.Item | None = None
        self._watch = LawWatch(config.law_alpha, finished.values())

    @property
    def benches(self) -> Benches:
        """What measures cases in this process."""
        if self._benches is None:
            from draftproof.engines.benches import Benches

            own: OwnParts = {"rule": self._rule, "make_drafter": self._make_drafter}
            self._benches = Benches(
                self.config, self._upcoming, self._report, own=own, against=self._against
            )
        return self._benches

    @property
    def bench(self) -> Bench:
        """The engine and its judge, loaded when they are first asked for.

        Raises:
            DraftproofError: As `Benches.bench_for`.
        """
        return self.benches.used or self.benches.bench_for(None)

    def close(self) -> None:
        """Free what the engines hold."""
        if self._benches is not None:
            self._benches.close()
        if self._fleet is not None:
            self._fleet.close()

    def run(self, case: Case) -> Outcome:
        """Decode a case plainly and speculatively, and record every step and node.

        An error ends the case, not the run; it is recorded as such.
        """
        __tracebackhide__ = True
        prompt = case.prompt
        self._node = case.node
        if prompt.prompt_id in self._finished:
            return self._keep(case, self._finished[prompt.prompt_id])
        if self._make_fleet is not None:
            return self._handed_back(case)
        benches = self.benches
        try:
            benches.bench_for(prompt.domain)
        except DraftproofError as error:
            _stop(case.node, error)
        try:
            both = benches.measure(prompt)
            return self._keep(case, self._with_text(prompt, both.record), both.against)
        except TemplateError as error:
            _stop(case.node, error)
        except Exception as error:
            self._keep(case, error_record(prompt, named_error(error)))
            reason = OUT_OF_MEMORY if is_out_of_memory(error) else error_text(error)
            if not isinstance(error, DraftproofError) and reason is not OUT_OF_MEMORY:
                raise
        pytest.fail(printable(f"{prompt.prompt_id}: {reason}"), pytrace=False)

    def _handed_back(self, case: Case) -> Outcome:
        """A case that a worker measures."""
        __tracebackhide__ = True
        prompt = case.prompt
        try:
            if self._fleet is None and self._make_fleet is not None:
                self._fleet = self._make_fleet(self._has_arrived, self._report)
            assert self._fleet is not None
            found = self._fleet.measure(prompt, lambda: self._later(case.node))
        except DraftproofError as error:
            _stop(case.node, error)
        if found.fatal:
            _stop(case.node, DraftproofError(found.fatal))
        outcome = self._judged(case, self._kept(prompt, found), found.record, found.advice)
        if found.failure:
            pytest.fail(f"{prompt.prompt_id}: {found.failure}", pytrace=False)
        return outcome

    def _has_arrived(self, prompt: Prompt, found: Measured) -> None:
        self._arrived(self._kept(prompt, found))

    def _kept(self, prompt: Prompt, found: Measured) -> dict[str, Any]:
        """What is kept of a case that a worker has measured."""
        record, models = self._with_text(prompt, found.record), dict(found.models)
        if models and self._fleet is not None:
            models["engine"] = {**models["engine"], EXECUTOR: self._fleet.described}
        return kept_of(prompt, record, models, found.prompt_tokens, found.since_loaded)

    def _with_text(self, prompt: Prompt, record: CaseRecord) -> CaseRecord:
        if record.verdict is Verdict.ERROR:
            return record
        if self._keep_prompts or prompt.prompt_id.startswith(f"{BUILTIN}/"):
            return replace(record, prompt_text=prompt.text)
        return record

    def _upcoming(self, prompt_id: str) -> Iterator[Prompt]:
        """The prompts after one that is running which have its draft model and tree."""
        bench = self.benches.used
        if self._node is not None and bench is not None:
            for prompt in self._later(self._node):
                if self.config.allotted(prompt.domain) == bench.config:
                    yield prompt

    def _later(self, node: pytest.Item) -> Iterator[Prompt]:
        """The prompts of the tests that come after one, in their order."""
        items = node.session.items
        for item in items[items.index(node) + 1 :]:
            prompt = getattr(getattr(item, "callspec", None), "params", {}).get("case")
            if (
                isinstance(prompt, Prompt)
                and prompt.prompt_id not in self._finished
                and item.get_closest_marker("skip") is None
            ):
                yield prompt

    def _keep(self, case: Case, record: CaseRecord, against: CaseRecord | None = None) -> Outcome:
        """Keep a case that was measured here, or in an earlier session."""
        benches = self._benches
        models = {} if benches is None else benches.described()
        tokens = "" if benches is None else benches.tokens_of(case.prompt, record)
        since_loaded = None if benches is None else benches.since_loaded
        kept = kept_of(case.prompt, record, models, tokens, since_loaded)
        if against is not None:
            kept["against"] = against.to_json()
        return self._judged(case, kept, record)

    def _judged(
        self, case: Case, kept: dict[str, Any], record: CaseRecord, advice: str = ""
    ) -> Outcome:
        case.node.user_properties.extend(case_properties(record))
        case.node.stash[RECORD] = kept
        rejection = self._watch.add(record)
        if rejection and self._make_fleet is None:
            advice = self.bench.rounding_advice
        return Outcome(record, "\n".join(filter(None, (rejection, advice if rejection else ""))))


def kept_of(
    prompt: Prompt,
    record: CaseRecord,
    models: dict[str, Any],
    prompt_tokens: str,
    since_loaded: float | None,
) -> dict[str, Any]:
    """What is kept of a case, as plain values: its record, and what reports say of the run."""
    return {
        "record": record.to_json(),
        "models": models,
        "prompt": prompt_digest(prompt),
        "prompt_tokens": prompt_tokens,
        "since_loaded": since_loaded,
    }


def _stop(node: pytest.Item, error: DraftproofError) -> NoReturn:
    """End the whole run for a reason that every case would meet.

    A worker of pytest-xdist cannot end the run: it hands the reason to the process that can.
    """
    if hasattr(node.config, "workerinput"):
        node.stash[FATAL] = str(error)
        pytest.fail(str(error), pytrace=False)
    pytest.exit(f"draftproof: {error}", returncode=USAGE_EXIT_CODE)
