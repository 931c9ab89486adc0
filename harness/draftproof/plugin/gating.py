"""The gate in a test session: checked before it, planned on its baseline, judged when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from draftproof.config import RunConfig
from draftproof.data.fingerprint import prompt_digest
from draftproof.data.prompt import Prompt
from draftproof.engines.names import REFERENCE
from draftproof.environment import versions
from draftproof.errors import (
    GATE_FAILED_EXIT_CODE,
    INCONCLUSIVE_EXIT_CODE,
    UsageError,
)
from draftproof.plugin.options import given
from draftproof.plugin.settings import against_config
from draftproof.report import RunInfo, require_folder

if TYPE_CHECKING:
    from draftproof.gate import Comparison, Gate, MeasuredRun, Storage
    from draftproof.history.provenance import Provenance
    from draftproof.report import Report
    from draftproof.trace import CaseRecord

COMPARISON_FILE, COMPARISON_SUMMARY = "comparison.json", "comparison.md"
_NEED_REPORT = ("spec_save", "spec_compare", "spec_fail", "spec_against")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What the options of the gate ask for.

    Attributes:
        storage: Where baselines lie.
        save: Name to keep the run under, or None.
        traces: Whether to keep every step and node.
        baseline: What to compare with, or None.
        gates: Conditions on the change, or on the run's own figures.
        anyway: Compare runs that differ in what must be the same.
        alpha: Level of the gates together.
        against: Settings to run in turn and compare with, or None.
    """

    storage: Storage
    save: str | None
    traces: bool
    baseline: MeasuredRun | None
    gates: tuple[Gate, ...]
    anyway: bool
    alpha: float
    against: RunConfig | None


def against_settings(config: pytest.Config, settings: RunConfig) -> RunConfig | None:
    """The settings of ``--spec-against``, or None.

    Raises:
        UsageError: They cannot be used.
    """
    text = given(config, "spec_against")
    if text is None:
        return None
    for other in ("spec_compare", "spec_resume"):
        if given(config, other) is not None:
            flag = f"--{other.replace('_', '-')}"
            raise UsageError(f"--spec-against cannot be combined with {flag}; leave one out")
    return against_config(text, settings)


def gate_options(config: pytest.Config, settings: RunConfig) -> GateOptions | None:
    """What is asked of the gate, checked as far as it can be before a model is loaded.

    Returns:
        None where nothing is.

    Raises:
        UsageError: An option cannot be used, or the baseline is of another configuration.
        TraceError: The baseline is missing, corrupt or of a newer version.
    """
    asked = [name for name in _NEED_REPORT if given(config, name) is not None]
    if not asked:
        return None
    if not given(config, "report"):
        if not any(config.getoption(name) for name in asked):
            return None  # an ini file's gates are for runs with a report
        raise UsageError(f"--{asked[0].replace('_', '-')} needs --report: add it")
    from draftproof.gate import ALPHA, FOLDER, Storage, parse_gate, plans
    from draftproof.gate.comparison import check_metrics
    from draftproof.gate.expression import check_reach

    if settings.engine == REFERENCE and settings.drafter is None:
        for gate in map(parse_gate, given(config, "spec_fail") or ()):
            check_reach(gate, settings.tree)
    alpha = given(config, "spec_alpha")
    if alpha is not None and not 0 < alpha < 1:
        raise UsageError(f"--spec-alpha: {alpha} is not between 0 and 1")
    # Absolute, since an engine may go elsewhere.
    storage = Storage(Path(given(config, "spec_storage") or FOLDER).absolute())
    if given(config, "spec_save") is not None:
        require_folder(storage.folder, "--spec-storage")
    name = given(config, "spec_compare")
    gates = tuple(parse_gate(text) for text in given(config, "spec_fail") or ())
    changes = [gate.text for gate in gates if gate.needs_baseline]
    if changes and name is None and given(config, "spec_against") is None:
        raise UsageError(
            f"--spec-fail '{changes[0]}' is about a change and needs something to compare with: "
            "add --spec-compare, or give a bound of the figure itself, for example "
            "'block_efficiency:>=1.2'"
        )
    anyway = bool(given(config, "spec_compare_anyway"))
    options = GateOptions(
        storage=storage,
        save=given(config, "spec_save"),
        traces=bool(given(config, "spec_save_traces")),
        baseline=None if name is None else storage.load(name, partial=anyway),
        gates=gates,
        anyway=anyway,
        alpha=ALPHA if alpha is None else alpha,
        against=against_settings(config, settings),
    )
    if options.save is not None:
        storage.check_name(options.save)
    if options.baseline is not None:
        check_metrics(options.baseline, gates)
        plans(options.baseline, gates, options.alpha)
        _refuse_mismatch(options, _described_before(settings))
    return options


class SessionGate:
    """The gate of one session.

    Args:
        options: What is asked of it.
    """

    def __init__(self, options: GateOptions) -> None:
        self.options = options
        # As it is when the code that is measured is loaded: a run may last for hours.
        self._provenance = None if options.save is None else _provenance(options.storage)
        self.comparison: Comparison | None = None
        self.saved: Path | None = None
        self.history: Path | None = None
        self.page: Path | None = None
        self._against: list[CaseRecord] = []

    def header_lines(self) -> list[str]:
        """What each gate can see on this baseline, for the head of the session."""
        from draftproof.gate import plan_lines, plans

        options = self.options
        if options.baseline is None:
            return [f"gate {gate.text}" for gate in options.gates]
        baseline = options.baseline
        lines = [f"compared with {baseline.name}: {len(baseline.case_ids)} cases"]
        return lines + plan_lines(plans(baseline, options.gates, options.alpha))

    def check_prompts(self, items: Sequence[pytest.Item]) -> None:
        """Refuse a baseline of other prompts, as soon as this session's are known.

        Raises:
            UsageError: No case is in both, or a prompt has another text.
        """
        baseline = self.options.baseline
        prompts = _prompts_of(items)
        if baseline is None or not prompts:
            return
        from draftproof.gate.comparison import no_common_cases

        if not prompts.keys() & set(baseline.case_ids):
            raise no_common_cases(baseline, list(prompts))
        _refuse_mismatch(self.options, _nothing_but(prompts=prompts))

    def undecidable_lines(self, items: Sequence[pytest.Item]) -> list[str]:
        """What this session's prompts are too few for, as soon as they are known."""
        from draftproof.gate import undecidable_lines

        prompts = _domains_of(items)
        baseline = self.options.baseline
        if baseline is not None:
            there = set(baseline.case_ids)
            prompts = {case: domain for case, domain in prompts.items() if case in there}
        # Under pytest-xdist the workers know the prompts, and the controller does not.
        counts = Counter(prompts.values())
        return undecidable_lines(self.options.gates, counts, self.options.alpha) if counts else []

    def check_models(self, run: RunInfo) -> None:
        """Refuse a baseline of other models, as soon as this session's are loaded.

        Raises:
            UsageError: They differ.
        """
        _refuse_mismatch(self.options, run)

    def add_against(self, record: CaseRecord) -> None:
        """Keep what a case showed with the other settings."""
        self._against.append(record)

    def finish(self, run: RunInfo, cases: Sequence[CaseRecord], directory: Path) -> int:
        """Compare, write the comparison, save the baseline.

        Returns:
            The exit code that follows from the gates; 0 without any.

        Raises:
            UsageError: The runs cannot be compared.
            DraftproofError: A file cannot be written.
        """
        from draftproof.gate import Outcome, compare, judge_alone, measured_run

        options = self.options
        now = measured_run("this run", run, cases)
        before = self._before(run, directory)
        if before is not None:
            self.comparison = compare(
                before,
                now,
                options.gates,
                anyway=options.anyway,
                alpha=options.alpha,
                alternated=options.against is not None,
            )
        elif options.gates:
            self.comparison = judge_alone(now, options.gates, alpha=options.alpha)
        if self.comparison is not None:
            self.page = _write(self.comparison, directory)
        if options.save is not None:
            self.saved = options.storage.save(options.save, now, traces=options.traces)
        outcome = None if self.comparison is None else self.comparison.outcome
        codes: dict[Outcome | None, int] = {
            Outcome.FAIL: GATE_FAILED_EXIT_CODE,
            Outcome.INCONCLUSIVE: INCONCLUSIVE_EXIT_CODE,
            Outcome.NO_VERDICT: INCONCLUSIVE_EXIT_CODE,
        }
        return codes.get(outcome, 0)

    def add_to_history(self, report: Report) -> None:
        """Add a saved run to the history, which lies beside its baseline; nothing of others.

        Raises:
            TraceError: The history cannot be written.
        """
        from draftproof.history.entry import history_entry
        from draftproof.history.file import HISTORY_FILE, append

        if self.options.save is None or self._provenance is None or self.saved is None:
            return
        outcome = None if self.comparison is None else self.comparison.outcome
        gates = "" if outcome is None else str(outcome)
        path = self.options.storage.folder / HISTORY_FILE
        append(path, history_entry(self.options.save, report, self._provenance, gates=gates))
        self.history = path

    def _before(self, run: RunInfo, directory: Path) -> MeasuredRun | None:
        """What to compare with; the other settings' cases are kept in a report of their own."""
        import dataclasses

        from draftproof.gate import measured_run
        from draftproof.report import write_report

        options = self.options
        if options.against is None:
            return options.baseline
        described = dataclasses.replace(
            run,
            name=f"{run.name}, other settings",
            config=options.against.to_json(),
            fingerprint=options.against.fingerprint(),
        )
        write_report(directory / "against", described, self._against)
        return measured_run("other settings", described, self._against)


def _provenance(storage: Storage) -> Provenance:
    """The commit, the branch and the CI run of this session; what it writes itself is no change."""
    from draftproof.history.provenance import provenance

    return provenance(Path.cwd(), unwatched=[storage.folder])


def _write(comparison: Comparison, directory: Path) -> Path | None:
    """Every form of the comparison; the path of its page, which only two runs have."""
    from draftproof.files import write_text
    from draftproof.gate import comparison_json
    from draftproof.report.comparison_text import markdown_comparison
    from draftproof.report.metrics_json import strict_json
    from draftproof.report.page.comparison import COMPARISON_PAGE, write_comparison_page

    write_text(directory / COMPARISON_FILE, strict_json(comparison_json(comparison)))
    write_text(directory / COMPARISON_SUMMARY, markdown_comparison(comparison))
    if comparison.before is None:
        return None
    return write_comparison_page(directory / COMPARISON_PAGE, comparison)


def _refuse_mismatch(options: GateOptions, now: RunInfo) -> None:
    from draftproof.gate.comparison import refusal
    from draftproof.gate.identity import mismatches

    if options.baseline is None or options.anyway:
        return
    if differing := mismatches(options.baseline.run, now):
        raise refusal(options.baseline.name, differing)


def _described_before(settings: RunConfig) -> RunInfo:
    """What is known of a run before its models are loaded."""
    return _nothing_but(config=settings.to_json(), versions=versions())


def _nothing_but(
    *,
    config: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    prompts: Mapping[str, str] | None = None,
) -> RunInfo:
    return RunInfo(
        name="",
        started="",
        config=config or {},
        fingerprint="",
        versions=versions or {},
        prompts=prompts or {},
    )


def _prompts_of(items: Sequence[pytest.Item]) -> dict[str, str]:
    """Digests of the collected cases' prompts, by id; none in the controller of pytest-xdist."""
    return {prompt.prompt_id: prompt_digest(prompt) for prompt in _collected(items)}


def _domains_of(items: Sequence[pytest.Item]) -> dict[str, str]:
    """The domains of the collected cases, by id; none in the controller of pytest-xdist."""
    return {prompt.prompt_id: prompt.domain for prompt in _collected(items)}


def _collected(items: Sequence[pytest.Item]) -> Iterator[Prompt]:
    for item in items:
        callspec = getattr(item, "callspec", None)
        prompt = None if callspec is None else callspec.params.get("case")
        if isinstance(prompt, Prompt):
            yield prompt
