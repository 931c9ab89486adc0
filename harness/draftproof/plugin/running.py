"""What a test does with a case: decode it both ways, keep what was measured, judge it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from draftproof.config import BUILTIN, NO_DRAFT
from draftproof.data.encoding import prompt_ids
from draftproof.data.fingerprint import prompt_digest, token_digest
from draftproof.data.prompt import Prompt
from draftproof.errors import (
    USAGE_EXIT_CODE,
    DraftproofError,
    TemplateError,
    error_text,
    is_out_of_memory,
    printable,
)
from draftproof.plugin.case import Case
from draftproof.plugin.junit import case_properties
from draftproof.plugin.law_watch import LawWatch
from draftproof.plugin.state import FATAL, RECORD
from draftproof.report.context import AT_ONCE
from draftproof.shapes import parse_tree
from draftproof.trace import CaseRecord, Verdict

if TYPE_CHECKING:
    from draftproof.acceptance import AcceptanceRule
    from draftproof.config import RunConfig
    from draftproof.engines.measuring import Bench
    from draftproof.engines.own_parts import MakeDrafter, OwnParts
    from draftproof.models.loading import ModelPair


BY_DOMAIN = "by domain"
"""The tree of a run with a budget."""

_LONGEST_TREE = 24
"""Characters of a tree that is named in full."""

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

        Raises:
            AssertionError: At temperature 0 the outputs differ by more than rounding explains;
                above it, the run's tokens so far do not follow the target's law; or what the engine
                counted contradicts itself.
        """
        __tracebackhide__ = True
        record = self.record
        problems = [] if self.lossless else [record.message or self.rejection]
        if record.contradictions:
            problems.append(contradiction_lines(record))
        if problems:
            text = f"{record.case_id}: " + "\n".join(problems)
            pytest.fail(printable(text), pytrace=False)


def budget_drafts(config: RunConfig) -> list[str]:
    """The drafts of a run with a budget, by domain; large trees by their size."""
    found = []
    for domain, draft, text in config.budget:
        tree, shown = parse_tree(text), text.partition(",base")[0]
        if len(shown) > _LONGEST_TREE:
            shown = f"tree of {tree.most_nodes} nodes"
        found.append(f"{domain}: {draft} {shown}")
    return found


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
    ) -> None:
        self.config = config
        self._keep_prompts = keep_prompts
        self._against = against
        self._other: Bench | None = None
        self._beside: CaseRecord | None = None
        self._cases = 0
        self._warm: set[int] = set()
        self._rule = rule
        self._make_drafter = make_drafter
        self._finished = finished
        self._report = report
        self._bench: Bench | None = None
        self._benches: dict[RunConfig, Bench] = {}
        self._pairs: dict[str, ModelPair] = {}
        self._node: pytest.Item | None = None
        self._watch = LawWatch(config.law_alpha, finished.values())

    @property
    def bench(self) -> Bench:
        """The engine and its judge, loaded when they are first asked for.

        Raises:
            ModelError: A model cannot be loaded, or the two do not fit together.
            UsageError: The engine cannot be made of these settings.
            EngineError: Its own code failed.
        """
        return self._bench or self.bench_for(None)

    def bench_for(self, domain: str | None) -> Bench:
        """The engine and its judge for the prompts of a domain, which a budget may give its own.

        Args:
            domain: Its name; None for a run's own draft model and tree.

        Raises:
            DraftproofError: As `bench`.
        """
        config = self.config if domain is None else self.config.allotted(domain)
        if config not in self._benches:
            from draftproof.engines.measuring import Bench
            from draftproof.engines.registry import check_engine, make_engine

            if self.config.execute_code and not self._benches:
                from draftproof.scoring.sandbox import sandbox_line

                self._report(sandbox_line())
            own: OwnParts = {"rule": self._rule, "make_drafter": self._make_drafter}
            check_engine(config, **own)
            for name, _, _ in self.config.budget:
                # All of them at once: one that cannot be loaded ends the run before it begins.
                self._pair(self.config.allotted(name))
            pair = self._pair(config)
            engine = make_engine(pair, config, **own)
            bench = Bench(engine, pair, config, self._upcoming, self._report)
            if self._against is not None and self._other is None:
                pair = self._pair(self._against)
                other = make_engine(pair, self._against)
                self._other = Bench(other, pair, self._against, self._upcoming, self._report)
            if bench.batch > 1 and not self._benches:
                self._report(f"{bench.batch} prompts are decoded at once")
            self._benches[config] = bench
        self._bench = self._benches[config]
        return self._bench

    def _pair(self, config: RunConfig) -> ModelPair:
        """The models of some settings: one target, and each draft model once.

        Raises:
            ModelError: A model cannot be loaded, or the two do not fit together.
        """
        from draftproof.models.loading import load_pair, with_draft

        if config.draft not in self._pairs:
            known = next(iter(self._pairs.values()), None)
            if known is None:
                self._pairs[config.draft] = load_pair(config, self._report)
            elif config.draft == NO_DRAFT:
                described = {**known.descriptions, "draft": {"name": NO_DRAFT}}
                self._pairs[NO_DRAFT] = replace(known, draft=None, descriptions=described)
            else:
                self._pairs[config.draft] = with_draft(known, config, self._report)
        return self._pairs[config.draft]

    def _budget_draft(self) -> dict[str, str]:
        """What a run with a budget drafts with: by domain, and one hash of all its models."""
        name = ", ".join(budget_drafts(self.config))
        allotted = (self.config.allotted(domain).draft for domain, _, _ in self.config.budget)
        drafts = [self._pairs[draft].descriptions["draft"] for draft in dict.fromkeys(allotted)]
        hashes = [each["sha256"] for each in drafts if "sha256" in each]
        if not hashes:
            return {"name": name}
        return {"name": name, "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest()}

    def close(self) -> None:
        """Free what the engines hold."""
        for bench in (*self._benches.values(), self._other):
            if bench is not None:
                bench.engine.close()

    def run(self, case: Case) -> Outcome:
        """Decode a case plainly and speculatively, and record every step and node.

        An error ends the case, not the run; it is recorded as such.
        """
        __tracebackhide__ = True
        prompt = case.prompt
        self._node = case.node
        if prompt.prompt_id in self._finished:
            return self._keep(case, self._finished[prompt.prompt_id])
        try:
            bench = self.bench_for(prompt.domain)
        except DraftproofError as error:
            _stop(case.node, error)
        try:
            record = self._measured(bench, prompt)
            if self._keep_prompts or prompt.prompt_id.startswith(f"{BUILTIN}/"):
                record = replace(record, prompt_text=prompt.text)
            return self._keep(case, record)
        except TemplateError as error:
            _stop(case.node, error)
        except Exception as error:
            self._beside = None
            self._keep(
                case,
                CaseRecord(
                    case_id=prompt.prompt_id,
                    domain=prompt.domain,
                    prompt_tokens=0,
                    verdict=Verdict.ERROR,
                    message=f"{type(error).__name__}: {error_text(error)}",
                ),
            )
            reason = _OUT_OF_MEMORY if is_out_of_memory(error) else error_text(error)
            if not isinstance(error, DraftproofError) and reason is not _OUT_OF_MEMORY:
                raise
        pytest.fail(printable(f"{prompt.prompt_id}: {reason}"), pytrace=False)

    def _upcoming(self, prompt_id: str) -> Iterator[Prompt]:
        """The prompts of the tests that come after one that is running, in their order."""
        if self._node is None or self._bench is None:
            return
        allotted = self._bench.config
        items = self._node.session.items
        for item in items[items.index(self._node) + 1 :]:
            prompt = getattr(getattr(item, "callspec", None), "params", {}).get("case")
            if (
                isinstance(prompt, Prompt)
                and prompt.prompt_id not in self._finished
                and self.config.allotted(prompt.domain) == allotted
                and item.get_closest_marker("skip") is None
            ):
                yield prompt

    def _tokens_of(self, prompt: Prompt, record: CaseRecord) -> str:
        """The digest of a prompt's token ids; empty for a case that was not measured here.

        Later turns of a conversation hold answers, which are outputs; they have none either.
        """
        if self._bench is None or prompt.earlier or record.verdict is Verdict.ERROR:
            return ""
        return token_digest(prompt_ids(self._bench.pair, prompt))

    def _measured(self, bench: Bench, prompt: Prompt) -> CaseRecord:
        """The case's record; where there are other settings too, each goes first in turn."""
        self._beside = None
        for each in filter(None, (bench, self._other)):
            if id(each) not in self._warm:
                each.warm_up(prompt)
                self._warm.add(id(each))
        self._cases += 1
        if self._other is None:
            return bench.run(prompt)
        if self._cases % 2:
            record = bench.run(prompt)
            self._beside = self._other.run(prompt)
        else:
            self._beside = self._other.run(prompt)
            record = bench.run(prompt)
        return record

    def _keep(self, case: Case, record: CaseRecord) -> Outcome:
        models = {}
        if self._bench is not None:
            engine = self._bench.engine
            described = {**engine.describe(), "capabilities": sorted(map(str, engine.capabilities))}
            if self._bench.batch > 1:
                described[AT_ONCE] = self._bench.batch
            models = {**self._bench.pair.descriptions, "engine": described}
            if self.config.budget:
                models["draft"] = self._budget_draft()
                models["engine"] = {**described, "tree": BY_DOMAIN, "rule": self.config.rule}
        case.node.user_properties.extend(case_properties(record))
        kept = {
            "record": record.to_json(),
            "models": models,
            "prompt": prompt_digest(case.prompt),
            "prompt_tokens": self._tokens_of(case.prompt, record),
        }
        if self._beside is not None:
            kept["against"] = self._beside.to_json()
        case.node.stash[RECORD] = kept
        rejection = self._watch.add(record)
        advice = self.bench.rounding_advice if rejection else ""
        return Outcome(record, "\n".join(filter(None, (rejection, advice))))


_OUT_OF_MEMORY = (
    "out of memory; try a smaller --spec-tree, fewer --spec-max-new-tokens or --spec-dtype bfloat16"
)


def _stop(node: pytest.Item, error: DraftproofError) -> NoReturn:
    """End the whole run for a reason that every case would meet.

    A worker of pytest-xdist cannot end the run: it hands the reason to the process that can.
    """
    if hasattr(node.config, "workerinput"):
        node.stash[FATAL] = str(error)
        pytest.fail(str(error), pytrace=False)
    pytest.exit(f"draftproof: {error}", returncode=USAGE_EXIT_CODE)
