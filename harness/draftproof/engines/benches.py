"""The benches of a run: one for each draft model and tree that its settings give a domain."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from draftproof.budget import blamed_on_budget
from draftproof.config import NO_DRAFT, RunConfig
from draftproof.data.encoding import prompt_ids
from draftproof.data.fingerprint import token_digest
from draftproof.data.prompt import Prompt
from draftproof.engines.measuring import Bench, Upcoming
from draftproof.engines.names import AT_ONCE
from draftproof.engines.own_parts import OwnParts
from draftproof.engines.registry import check_engine, judging_pair, make_engine
from draftproof.models.loading import load_pair, with_draft
from draftproof.shapes import parse_tree
from draftproof.trace import CaseRecord, Verdict

if TYPE_CHECKING:
    from draftproof.models.loading import ModelPair

BY_DOMAIN = "by domain"
"""The tree of a run with a budget."""

_LONGEST_TREE = 24
"""Characters of a tree that is named in full."""


class Both(NamedTuple):
    """A case under the run's settings, and under others where there are any."""

    record: CaseRecord
    against: CaseRecord | None


class Benches:
    """Measures cases on the models of the run's settings, which are loaded on first use.

    Args:
        config: The run's settings.
        upcoming: From the id of a prompt to those that come after it, of one bench.
        report: Told what is being loaded.
        own: Parts that are under test, in place of the settings'.
        against: Settings that every case is run with too, each first in turn.
    """

    def __init__(
        self,
        config: RunConfig,
        upcoming: Upcoming,
        report: Callable[[str], None],
        *,
        own: OwnParts | None = None,
        against: RunConfig | None = None,
    ) -> None:
        self.config = config
        self.used: Bench | None = None
        self._upcoming = upcoming
        self._report = report
        self._own: OwnParts = own or {"rule": None, "make_drafter": None}
        self._against = against
        self._other: Bench | None = None
        self._cases = 0
        self._warm: set[int] = set()
        self._loaded_at: float | None = None
        self._benches: dict[RunConfig, Bench] = {}
        self._pairs: dict[str, ModelPair] = {}

    def bench_for(self, domain: str | None) -> Bench:
        """The engine and its judge for the prompts of a domain, which a budget may give its own.

        Args:
            domain: Its name; None for a run's own draft model and tree.

        Raises:
            ModelError: A model cannot be loaded, or the two do not fit together.
            UsageError: The engine cannot be made of these settings.
            EngineError: Its own code failed.
        """
        config = self.config if domain is None else self.config.allotted(domain)
        if config not in self._benches:
            if self.config.execute_code and not self._benches:
                from draftproof.scoring.sandbox import sandbox_line

                self._report(sandbox_line())
            check_engine(config, **self._own)
            for name, _, _ in self.config.budget:
                # All of them at once: one that cannot be loaded ends the run before it begins.
                with blamed_on_budget(name):
                    self._pair(self.config.allotted(name))
            pair = self._pair(config)
            engine = make_engine(pair, config, **self._own)
            bench = Bench(engine, pair, config, self._upcoming, self._report)
            if self._against is not None and self._other is None:
                pair = self._pair(self._against)
                other = make_engine(pair, self._against)
                self._other = Bench(other, pair, self._against, self._upcoming, self._report)
            if bench.batch > 1 and not self._benches:
                self._report(f"{bench.batch} prompts are decoded at once")
            self._benches[config] = bench
        self.used = self._benches[config]
        return self.used

    def measure(self, prompt: Prompt) -> Both:
        """The case of a prompt on the bench that was asked for last.

        Raises:
            DraftproofError: As `Bench.run`.
        """
        bench = self.used or self.bench_for(prompt.domain)
        for each in filter(None, (bench, self._other)):
            if id(each) not in self._warm:
                each.warm_up(prompt)
                self._warm.add(id(each))
        if self._loaded_at is None:
            self._loaded_at = time.perf_counter()
        self._cases += 1
        if self._other is None:
            return Both(bench.run(prompt), None)
        if self._cases % 2:
            record = bench.run(prompt)
            return Both(record, self._other.run(prompt))
        beside = self._other.run(prompt)
        return Both(bench.run(prompt), beside)

    @property
    def since_loaded(self) -> float | None:
        """Seconds since the first models were loaded and warm; None where none are."""
        return None if self._loaded_at is None else time.perf_counter() - self._loaded_at

    def described(self) -> dict[str, dict[str, Any]]:
        """The models and the engine of what was measured last; empty where nothing was loaded."""
        if self.used is None:
            return {}
        engine = self.used.engine
        described = {**engine.describe(), "capabilities": sorted(map(str, engine.capabilities))}
        if self.used.batch > 1:
            described[AT_ONCE] = self.used.batch
        models = {**self.used.pair.descriptions, "engine": described}
        if self.config.budget:
            models["draft"] = self._budget_draft()
            models["engine"] = {**described, "tree": BY_DOMAIN, "rule": self.config.rule}
        return models

    def tokens_of(self, prompt: Prompt, record: CaseRecord) -> str:
        """The digest of a prompt's token ids; empty for a case that was not measured here.

        Later turns of a conversation hold answers, which are outputs; they have none either.
        """
        if self.used is None or prompt.earlier or record.verdict is Verdict.ERROR:
            return ""
        return token_digest(prompt_ids(self.used.pair, prompt))

    def close(self) -> None:
        """Free what the engines hold."""
        for bench in (*self._benches.values(), self._other):
            if bench is not None:
                bench.engine.close()

    def _pair(self, config: RunConfig) -> ModelPair:
        """The models of some settings: one target, and each draft model once.

        Raises:
            ModelError: A model cannot be loaded, or the two do not fit together.
        """
        if config.draft not in self._pairs:
            known = next(iter(self._pairs.values()), None)
            if known is None:
                pair = load_pair(config, self._report)
                self._pairs[config.draft] = judging_pair(pair, config)
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


def budget_drafts(config: RunConfig) -> list[str]:
    """The drafts of a run with a budget, by domain; large trees by their size."""
    found = []
    for domain, draft, text in config.budget:
        tree, shown = parse_tree(text), text.partition(",base")[0]
        if len(shown) > _LONGEST_TREE:
            shown = f"tree of {tree.most_nodes} nodes"
        found.append(f"{domain}: {draft} {shown}")
    return found
