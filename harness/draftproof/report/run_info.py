"""What a run was: everything a figure must name beside its value, n and interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from draftproof.config import BUILTIN, BUILTIN_SMALL
from draftproof.errors import TraceError

TOY_NOTICE = (
    "The built-in pair is a toy pair: these figures describe only this pair, and nothing about "
    "other models."
)


TOYS = (BUILTIN, BUILTIN_SMALL)
"""Names of models that the notice is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The description of a run, kept in ``run.json`` and in the journal's header.

    Attributes:
        name: What the run is called.
        started: When it began: ISO 8601, UTC.
        config: Its settings, `RunConfig.to_json`'s.
        fingerprint: Equal for two runs exactly when settings, models and prompts are.
        models: ``target`` and ``draft``, each a mapping of facts; ``name``, ``dtype`` and
            ``device`` are what was resolved, where the settings say ``auto``.
        versions: Of draftproof, Python and every library that can move a number, by name.
        hardware: Facts of the machine, by name.
        command: The command line, one word each.
        law_test: The decision of the anytime-valid test, as
            `draftproof.lossless.evidence.verdict.LawCertificate.to_json`; None where it was not
            run.
        data: By domain, what its suite was given: the number of prompts, how many the data has
            (older reports do not know it), a hash of their texts, and where they came from
            (`draftproof.plugin.collection.described_prompts`).
        server_counters: What the server counted over this session, by its own metrics
            (`draftproof.engines.server_watch.ServerWatch.stop`); None where they were not read.
        prompts: `prompt_digest` of each measured prompt, by case id; empty where it is not known.
        prompt_tokens: `token_digest` of each prompt as the target read it, chat template included,
            by case id; of cases that this session measured, later turns of conversations aside.
        imported: Of another tool's result, what was read and what it does not tell
            (`draftproof.importing.saving.imported_run`); None of a run of our own.
    """

    name: str
    started: str
    config: Mapping[str, Any]
    fingerprint: str
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    law_test: Mapping[str, Any] | None = None
    server_counters: Mapping[str, Any] | None = None
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: Mapping[str, str] = field(default_factory=dict)
    imported: Mapping[str, Any] | None = None

    @property
    def uses_builtin(self) -> bool:
        """Whether target or draft model is the built-in one, so that `TOY_NOTICE` applies."""
        return any(
            self.config.get(role) in TOYS and self.models.get(role, {}).get("name", BUILTIN) in TOYS
            for role in ("target", "draft")
        )

    @property
    def is_drawn_chain(self) -> bool:
        """Whether drafts were chains drawn from the draft model's law: above temperature 0."""
        if self.config.get("drafter"):
            return False
        sampling, tree = self.config.get("sampling") or {}, str(self.config.get("tree"))
        return bool(sampling.get("temperature")) and tree.startswith("chain")

    def to_json(self) -> dict[str, Any]:
        """The description as plain JSON values; `from_json`'s inverse."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **values,
            "config": dict(self.config),
            "models": {role: dict(facts) for role, facts in self.models.items()},
            "versions": dict(self.versions),
            "hardware": dict(self.hardware),
            "command": list(self.command),
            "law_test": None if self.law_test is None else dict(self.law_test),
            "server_counters": None if self.server_counters is None else dict(self.server_counters),
            "data": {domain: dict(facts) for domain, facts in self.data.items()},
            "prompts": dict(self.prompts),
            "prompt_tokens": dict(self.prompt_tokens),
            "imported": None if self.imported is None else dict(self.imported),
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The description from JSON values.

        Raises:
            TraceError: A field is missing, unknown or of another type.
        """
        if not isinstance(values, dict):
            raise TraceError("the description of a run is not a JSON object")
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise TraceError(f"the description of a run has an unknown field '{unknown[0]}'")
        values = {"prompts": {}, "prompt_tokens": {}, **values}
        for name, kind in _KINDS.items():
            if name not in values:
                raise TraceError(f"the description of a run has no '{name}'")
            if not isinstance(values[name], kind):
                raise TraceError(f"the description of a run: '{name}' is not a {kind.__name__}")
        values = {"data": {}, **values}
        if not isinstance(values.get("imported"), dict | None):
            raise TraceError("the description of a run: 'imported' is not a dict")
        for name, what in (("models", "model"), ("data", "domain")):
            if not isinstance(values[name], dict) or not all(
                isinstance(facts, dict) for facts in values[name].values()
            ):
                raise TraceError(
                    f"the description of a run: '{name}' does not hold a mapping a {what}"
                )
        return cls(**{**values, "command": tuple(values["command"])})


_KINDS: dict[str, type] = {
    "name": str,
    "started": str,
    "config": dict,
    "fingerprint": str,
    "models": dict,
    "versions": dict,
    "hardware": dict,
    "command": list,
    "prompts": dict,
    "prompt_tokens": dict,
}
