"""Collects what tests measured, in the process that controls the run, and writes the report."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from draftproof.config import BUILTIN, RunConfig
from draftproof.environment import WORKERS, hardware, versions
from draftproof.errors import (
    UNFINISHED_EXIT_CODE,
    USAGE_EXIT_CODE,
    DraftproofError,
    TraceError,
    UsageError,
    error_text,
    printable,
)
from draftproof.journal import Journal, was_begun
from draftproof.plugin.carried import attached_collected, attached_record, begun_case
from draftproof.plugin.collection import described_prompts
from draftproof.plugin.gating import SessionGate, gate_options
from draftproof.plugin.guest import worker_count
from draftproof.plugin.junit import add_gates, add_properties, gate_properties, suite_properties
from draftproof.plugin.options import given
from draftproof.plugin.progress import PROGRESS, Progress, ShowsProgress
from draftproof.plugin.refusing import usage_errors
from draftproof.plugin.resuming import Unfinished, require_own_report
from draftproof.plugin.server_watching import started_watch
from draftproof.plugin.wholeness import COLLECTED, Wholeness
from draftproof.report import (
    JOURNAL_FILE,
    PAGE_FILE,
    RunInfo,
    new_report_directory,
    open_page,
    point_latest,
    write_report,
)
from draftproof.trace import CaseRecord, Verdict

if TYPE_CHECKING:
    from draftproof.engines.server_watch import ServerWatch
    from draftproof.report import Report


_CRASHED = "???"
"""What pytest-xdist calls the phase in which a worker died."""


class RunReporter:
    """A plugin object that keeps the journal while a run lasts and reports when it ends.

    Args:
        config: pytest's.
        settings: The run's.
        directory: Where the report goes.
        earlier: What an earlier, unfinished session left, or None.
        gate: Compares the run with an earlier one, or None.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: RunConfig,
        directory: Path,
        earlier: Unfinished | None,
        gate: SessionGate | None = None,
    ) -> None:
        self._config = config
        self._gate = gate
        self._prompts: dict[str, str] = {}
        self._prompt_tokens: dict[str, str] = {}
        self._settings = settings
        self._directory = directory
        self._earlier = earlier
        self._cases = {} if earlier is None else dict(earlier.cases)
        self._resumed = frozenset(self._cases)
        self._models: dict[str, dict[str, Any]] = (
            {} if earlier is None else dict(earlier.run.get("models") or {})
        )
        self._has_models = False
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._started: str = now if earlier is None else earlier.run.get("started", now)
        self._journal: Journal | None = None
        self._progress = Progress(reused=len(self._resumed))
        self._shown = ShowsProgress(config, self._progress)
        config.pluginmanager.register(self._shown, PROGRESS)
        self._report: Report | None = None
        self._problem = ""
        self._law_test: dict[str, Any] | None = None
        self._watch: ServerWatch | None = None
        self._server_counters: dict[str, Any] | None = None
        self._gate_problem = ""
        self._begun: dict[str, tuple[str, str]] = {}
        self._wholeness = Wholeness()
        self._lacks: list[str] = []
        self._taken: dict[str, bytes] = {}

    @property
    def directory(self) -> Path:
        """Where the report goes."""
        return self._directory

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._watch = started_watch(self._settings, session)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._progress.total = len(session.items)
        if COLLECTED in self._config.stash:
            self._wholeness.add_collected(self._config.stash[COLLECTED])
        if self._earlier is not None:
            with usage_errors():
                self._earlier.require_same_prompts(self._config)
        if self._gate is not None:
            with usage_errors():
                self._gate.check_prompts(session.items)

    def pytest_report_header(self) -> list[str]:
        lines = [] if self._gate is None else self._gate.header_lines()
        return [f"draftproof: {line}" for line in lines]

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        lines = [] if self._gate is None else self._gate.undecidable_lines(items)
        return [f"draftproof: {line}" for line in lines]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        self._progress.total = len(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._wholeness.add_uncollected(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (collected := attached_collected(report)) is not None:
            self._wholeness.add_collected(collected)
        self._note_phase(report)
        attached = attached_record(report)
        if attached is None:
            return
        case_id = attached["record"]["case_id"]
        # A record may have come before its test did; one of a test that is run again is another.
        if self._taken.get(case_id) != _digest(attached["record"]):
            self.take(attached)

    def take(self, attached: dict[str, Any]) -> None:
        """Keep what was measured of a case, whether its test has run or is still to come."""
        record = CaseRecord.from_json(attached["record"])
        self._taken[record.case_id] = _digest(attached["record"])
        self._prompts[record.case_id] = attached["prompt"]
        if attached["prompt_tokens"]:
            self._prompt_tokens[record.case_id] = attached["prompt_tokens"]
        self._add(record, attached["models"], attached.get("since_loaded"))
        if "against" in attached and self._gate is not None:
            self._gate.add_against(CaseRecord.from_json(attached["against"]))

    @pytest.hookimpl(tryfirst=True)  # before the file of --junitxml is written
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._journal is not None:
            self._journal.close()
        if self._watch is not None:
            self._server_counters = {**self._watch.stop(), "resumed": len(self._resumed)}
        if self._problem:
            return
        self._look_for_lacks(session)
        if not self._cases:
            return
        self._judge(session)
        whole, what = self._is_whole(session), "The report"
        try:
            self._report = write_report(
                self._directory, self._run_info(), list(self._cases.values()), complete=whole
            )
            add_properties(self._config, suite_properties(self._report))
            if self._report.problem:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            if whole:
                (self._directory / JOURNAL_FILE).unlink(missing_ok=True)
            what = f"The report is whole, in {_shown(self._directory)}. What goes with it"
            if given(self._config, "report_dir") is None:
                point_latest(self._directory.parent, self._directory)
            if self._gate is not None and whole:
                self._compare(session, self._gate)
        except (DraftproofError, OSError, ValueError, RecursionError, MemoryError) as error:
            journal = self._directory / JOURNAL_FILE
            where = f" (what was measured is in {_shown(journal)})" if was_begun(journal) else ""
            self._problem = f"{what} could not be written: {error_text(error)}{where}"
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("draftproof")
        if self._problem:
            terminalreporter.write_line(self._problem)
        if self._report is None and self._cases:
            return
        if self._report is None:
            terminalreporter.write_line("Nothing was measured: no test ran a case to its end.")
            self._print_gate(terminalreporter)
            return
        for line in printable(self._report.terminal_text).splitlines():
            terminalreporter.write_line(line)
        self._print_gate(terminalreporter)
        terminalreporter.write_line(f"Report: {_shown(self._directory)}")
        page = f"Page: {_shown(self._directory / PAGE_FILE)}"
        terminalreporter.write_line(self._report.problem or page)
        if not self._report.problem and given(self._config, "spec_open"):
            terminalreporter.write_line(open_page(self._directory / PAGE_FILE))
        for line in self._lacks:
            terminalreporter.write_line(printable(f"Not whole: {line}"))
        if (self._directory / JOURNAL_FILE).exists():
            terminalreporter.write_line(
                "The run is unfinished; go on with the same options, "
                f"--report-dir {_shown(self._directory)} and --spec-resume"
            )

    def _compare(self, session: pytest.Session, gate: SessionGate) -> None:
        """Compare with the earlier run; what the gates say counts where the tests passed."""
        try:
            code = gate.finish(self._run_info(), list(self._cases.values()), self._directory)
            if self._report is not None:
                gate.add_to_history(self._report)
        except (UsageError, TraceError) as error:
            self._gate_problem, code = str(error), USAGE_EXIT_CODE
        self._tell_gate()
        if session.exitstatus == pytest.ExitCode.OK and code:
            session.exitstatus = code

    def _tell_gate(self) -> None:
        """Add what the gates say, or why they say nothing, to the file of --junitxml."""
        comparison = None if self._gate is None else self._gate.comparison
        add_properties(self._config, gate_properties(comparison, self._gate_problem))
        add_gates(self._config, comparison, self._gate_problem)

    def _print_gate(self, terminalreporter: pytest.TerminalReporter) -> None:
        from draftproof.report.comparison_text import terminal_comparison

        gate = self._gate
        if gate is None:
            return
        if self._gate_problem:
            terminalreporter.write_line(printable(f"ERROR: {self._gate_problem}"), red=True)
        if gate.comparison is not None:
            terminalreporter.section("draftproof: gate")
            for line in printable(terminal_comparison(gate.comparison)).splitlines():
                terminalreporter.write_line(line)
        if gate.page is not None:
            terminalreporter.write_line(f"Comparison: {_shown(gate.page)}")
        if gate.saved is not None:
            terminalreporter.write_line(f"Baseline: {_shown(gate.saved)}")
        if gate.history is not None:
            terminalreporter.write_line(f"History: {_shown(gate.history)} (draftproof history)")

    def _add(
        self,
        record: CaseRecord,
        models: dict[str, dict[str, Any]],
        since_loaded: float | None = None,
    ) -> None:
        """Keep a case: in the journal first, so that nothing measured is lost."""
        is_first = bool(models) and not self._has_models
        self._has_models |= bool(models)
        self._models = models or self._models
        if is_first and self._earlier is not None:
            try:
                self._earlier.require_same_models(self._models)
            except TraceError as error:
                pytest.exit(f"draftproof: {error}", returncode=USAGE_EXIT_CODE)
        self._cases[record.case_id] = record
        if record.case_id not in self._resumed:
            try:
                self._write(record)
            except UsageError as error:
                self._problem = f"Nothing was written: {error}"
                pytest.exit(f"draftproof: {error}", returncode=USAGE_EXIT_CODE)
            except (DraftproofError, OSError) as error:
                # The report may still have room for what was measured, or lie elsewhere.
                pytest.exit(f"draftproof: {error}", returncode=pytest.ExitCode.INTERRUPTED)
        is_reused = record.case_id in self._resumed
        self._progress.add(record, is_reused=is_reused, since_loaded=since_loaded)
        self._shown.update()
        if is_first:
            self._check_models()

    def _write(self, record: CaseRecord) -> None:
        """Append a case to the journal, which is made with the first."""
        if self._journal is None:
            if self._earlier is None:
                require_own_report(self._directory, self._settings)
            self._directory.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(
                self._directory / JOURNAL_FILE,
                self._run_info().to_json(),
                grown_from=None if self._earlier is None else self._earlier.fingerprint,
            )
        self._journal.append(record)

    def _note_phase(self, report: pytest.TestReport) -> None:
        """Note which cases begin, and how they end.

        One whose worker died with it ends in an error, and no replacement tries it again.
        """
        if (begun := begun_case(report)) is not None:
            self._begun[report.nodeid] = begun
        if report.nodeid not in self._begun:
            return
        case_id, domain = self._begun[report.nodeid]
        if report.when != _CRASHED:
            self._wholeness.add_phase(case_id, report)
        if report.when in ("teardown", _CRASHED):
            del self._begun[report.nodeid]
        if report.when == _CRASHED and case_id not in self._taken:
            self._add(
                CaseRecord(
                    case_id=case_id,
                    domain=domain,
                    prompt_tokens=0,
                    verdict=Verdict.ERROR,
                    message="the process that measured this case died: the engine, or a library "
                    "below it, ended or crashed it",
                ),
                {},
            )

    def _judge(self, session: pytest.Session) -> None:
        """Decide whether the run's tokens follow the target's law, and fail a run that does not."""
        from draftproof.plugin.law_watch import decision, rejects

        # Workers finish in an order that may depend on what they measured; prompts' ids do not.
        is_distributed = bool(getattr(self._config.option, "numprocesses", None))
        cases = sorted(
            self._cases.values(), key=lambda case: case.case_id if is_distributed else ""
        )
        found = decision(cases, self._settings.law_alpha)
        if found is None:
            return
        self._law_test = found.to_json()
        if rejects(found.verdict) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _look_for_lacks(self, session: pytest.Session) -> None:
        """Say which cases have not been measured, and fail a session that would pass without."""
        option = self._config.option
        if option.collectonly or getattr(option, "setuponly", False):
            return
        self._lacks = self._wholeness.problems(self._cases)
        if self._lacks and self._gate is not None and self._wholeness.expects_any:
            self._gate_problem = (
                "the run is not whole, so that no gate was judged and no baseline was saved: "
                + "; ".join(self._lacks)
            )
            self._tell_gate()
        is_cut_short = self._gate_problem or self._wholeness.is_cut_short(self._cases)
        if is_cut_short and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = UNFINISHED_EXIT_CODE

    def _check_models(self) -> None:
        """End the session where the models that were loaded are not the baseline's."""
        if self._gate is None:
            return
        try:
            self._gate.check_models(self._run_info())
        except UsageError as error:
            pytest.exit(f"draftproof: {error}", returncode=USAGE_EXIT_CODE)

    def _is_whole(self, session: pytest.Session) -> bool:
        interrupted = session.exitstatus in (
            pytest.ExitCode.INTERRUPTED,
            pytest.ExitCode.INTERNAL_ERROR,
            pytest.ExitCode.USAGE_ERROR,
        )
        return not (interrupted or self._lacks)

    def _run_info(self) -> RunInfo:
        workers, words = worker_count(self._config), self._config.invocation_params.args
        return RunInfo(
            name=run_name(self._config, self._settings),
            started=self._started,
            config=self._settings.to_json(),
            fingerprint=self._settings.fingerprint(),
            models=self._models,
            versions=versions(),
            hardware=hardware() if workers == 1 else {**hardware(), WORKERS: workers},
            command=("pytest", *(printable(str(word)) for word in words)),
            law_test=self._law_test,
            server_counters=self._server_counters,
            data=described_prompts(self._config),
            prompts=self._prompts,
            prompt_tokens=self._prompt_tokens,
        )


def _digest(record: Mapping[str, Any]) -> bytes:
    """What tells a case's records apart."""
    text = json.dumps(record, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()


def make_reporter(
    config: pytest.Config, settings: RunConfig, earlier: Unfinished | None
) -> RunReporter:
    """The reporter of this session, which goes on with `earlier` where there is such a thing.

    Raises:
        UsageError: Options of the gate cannot be used.
        TraceError: The earlier run to compare with cannot be read.
    """
    options = gate_options(config, settings)
    gate = None if options is None else SessionGate(options)
    directory = report_directory(config, settings)
    return RunReporter(config, settings, directory, earlier, gate)


def report_directory(config: pytest.Config, settings: RunConfig) -> Path:
    """The folder of this session's report, not made yet."""
    folder = given(config, "report_dir")
    if folder is not None:
        return Path(folder).absolute()  # an engine may go elsewhere
    root = config.invocation_params.dir / "reports"
    now = datetime.datetime.now(datetime.UTC)
    return new_report_directory(root, run_name(config, settings), now)


def run_name(config: pytest.Config, settings: RunConfig) -> str:
    """The name given to the run, or one made of its target's."""
    name: str | None = given(config, "spec_name")
    if name is not None:
        return printable(name)
    return BUILTIN if settings.target == BUILTIN else Path(settings.target).stem


def _shown(directory: Path) -> str:
    try:
        return printable(str(directory.resolve().relative_to(Path.cwd())))
    except (OSError, ValueError):
        return printable(str(directory))
