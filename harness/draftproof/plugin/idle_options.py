"""Options that were given and do nothing: refused, or said at the head of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from draftproof.config import BUILTIN, NO_DRAFT, RunConfig
from draftproof.engines.names import BUILT_IN, PROBE, REFERENCE
from draftproof.errors import UsageError
from draftproof.plugin.options import BY_NAME, given
from draftproof.prompt_sources import OWN_PROMPTS, parse_prompts
from draftproof.shapes import LookupShape

_NEEDED: dict[str, tuple[str, ...]] = {
    "report_dir": ("report",),
    "spec_open": ("report",),
    "spec_keep_prompts": ("report",),
    "spec_name": ("report",),
    "spec_resume": ("report",),
    "spec_save_traces": ("spec_save",),
    "spec_storage": ("spec_save", "spec_compare"),
    "spec_compare_anyway": ("spec_compare",),
    "spec_alpha": ("spec_fail",),
}
"""Options that do nothing without one of some others."""

_OF_DRAWING = ("spec_top_k", "spec_top_p", "spec_min_p", "spec_law_alpha")
"""Options that do nothing at temperature 0."""

_OF_REFERENCE = ("spec_tree", "spec_rule", "spec_check_state")
"""Settings of the reference engine, which other engines are handed and need not read."""

_READ_BY = {"spec_tree": (REFERENCE, PROBE), "spec_rule": (REFERENCE, PROBE)}
"""By which engines, where it is not the reference engine alone."""

_ASSISTED_LOOKUP = "transformers-lookup"

_OWN_DRAFTS = ("openai",)
"""Engines that do not tell how many tokens they score in a block."""


def option_notes(config: pytest.Config, settings: RunConfig) -> tuple[str, ...]:
    """What is said of the options on the command line that do nothing in this run, a line each.

    The ini file is not meant: it holds settings for many runs.

    Raises:
        UsageError: An option does nothing without another one, which is not given.
    """
    for name, needed in _NEEDED.items():
        if _typed(config, name) and not any(given(config, other) for other in needed):
            others = " or ".join(map(_flag, needed))
            raise UsageError(
                f"{_flag(name)} does nothing without {others}: add it, or leave {_flag(name)} out"
            )
    return tuple(_notes(config, settings))


def _notes(config: pytest.Config, settings: RunConfig) -> Iterator[str]:
    for name in _OF_REFERENCE:
        if _typed(config, name) and settings.engine not in _READ_BY.get(name, (REFERENCE,)):
            yield f"{_flag(name)} {_for_another_engine(name, settings.engine)}"
    if _typed(config, "spec_engine_option") and settings.engine not in BUILT_IN:
        from draftproof.engines.registry import checks_settings

        if not checks_settings(settings.engine):
            yield f"--spec-engine-option {_for_another_engine('', settings.engine)}"
    if _typed(config, "spec_tree") and settings.drafter is not None:
        yield f"--spec-tree does nothing: --spec-drafter {settings.drafter} proposes"
    if _typed(config, "spec_draft") and settings.draft != NO_DRAFT and _looks_up(settings):
        yield (
            "--spec-draft does nothing: drafts are looked up in the text, and no model proposes; "
            "--spec-draft none loads none"
        )
    is_timed = settings.engine != REFERENCE or given(config, "spec_executor") is not None
    if _typed(config, "spec_engine_timeout") and not is_timed:
        yield "--spec-engine-timeout does nothing: the reference engine is not timed"
    if _typed(config, "spec_draft_device") and settings.draft == NO_DRAFT and not settings.budget:
        yield "--spec-draft-device does nothing: there is no draft model (--spec-draft none)"
    if settings.sampling.greedy:
        for name in _OF_DRAWING:
            if _typed(config, name):
                yield f"{_flag(name)} does nothing at temperature 0, where no token is drawn"
        if _typed(config, "spec_seed") and settings.limit is None:
            yield (
                "--spec-seed does nothing: at temperature 0 no token is drawn, and with "
                "--spec-limit all no prompts are chosen"
            )
    if settings.turns > 1 and not _has_conversations(settings):
        yield f"--spec-turns does nothing: '{settings.prompts}' prompts have one turn each"
    if settings.trust_remote_code and settings.target == settings.draft == BUILTIN:
        yield "--spec-trust-remote-code does nothing: the built-in pair comes without code"
    if _typed(config, "spec_keep_prompts") and settings.prompts == BUILTIN:
        yield "--spec-keep-prompts does nothing for built-in prompts, whose text is kept anyway"
    if settings.execute_code and settings.prompts == BUILTIN:
        yield "--spec-execute-code does nothing: no built-in prompt comes with tests of its answer"
    folder = given(config, "report_dir")
    if _typed(config, "spec_resume") and folder is not None:
        from draftproof.report import JOURNAL_FILE

        if not (Path(folder) / JOURNAL_FILE).exists():
            yield f"--spec-resume does nothing: {folder} holds no unfinished run; this one is new"


def _for_another_engine(name: str, engine: str) -> str:
    if engine not in BUILT_IN:
        return f"is handed to the engine {engine}, which may use it or not"
    if name == "spec_tree" and engine in _OWN_DRAFTS:
        return (
            f"does not reach --spec-engine {engine}, which drafts as its server was started; it "
            "only says how wide a block the certificate is to assume"
        )
    return (
        f"does nothing with --spec-engine {engine}: it is a setting of the reference engine; what "
        "this one has of its own is given by --spec-engine-option"
    )


def _looks_up(settings: RunConfig) -> bool:
    """Whether drafts come from the text itself."""
    if settings.engine == _ASSISTED_LOOKUP:
        return True
    is_ours = settings.engine in (REFERENCE, PROBE) and not settings.budget
    return is_ours and settings.drafter is None and isinstance(settings.tree, LookupShape)


def _has_conversations(settings: RunConfig) -> bool:
    names = [choice.name for choice in parse_prompts(settings.prompts)]
    if OWN_PROMPTS in names:
        return True
    from draftproof.data.specs import DATASETS

    return any(name in DATASETS and DATASETS[name].turns is not None for name in names)


def _typed(config: pytest.Config, name: str) -> bool:
    return config.getoption(BY_NAME[name].attribute) not in (None, False)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
