"""The run's settings, made of the options that were given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from draftproof.budget import FILTERS, Budget, load_budget
from draftproof.choices import PRESETS
from draftproof.config import RunConfig, Sampling
from draftproof.errors import UsageError, unknown_value
from draftproof.plugin.options import ALL, AUTO, given
from draftproof.plugin.pairs import one_of_each, pairs_of
from draftproof.prompt_sources import OWN_PROMPTS
from draftproof.shapes import parse_tree

_CONFIG_FIELDS = {
    "spec_target": "target",
    "spec_draft": "draft",
    "spec_dtype": "dtype",
    "spec_device": "device",
    "spec_tree": "tree",
    "spec_rule": "rule",
    "spec_drafter": "drafter",
    "spec_max_new_tokens": "max_new_tokens",
    "spec_stop": "stop_strings",
    "spec_seed": "seed",
    "spec_limit": "limit",
    "spec_prompts": "prompts",
    "spec_data": "data_dir",
    "spec_law_alpha": "law_alpha",
    "spec_jsonl": "jsonl",
    "spec_columns": "columns",
    "spec_turns": "turns",
    "spec_execute_code": "execute_code",
    "spec_trust_remote_code": "trust_remote_code",
    "spec_check_state": "check_state",
    "spec_log_draws": "draw_log",
    "spec_engine": "engine",
    "spec_engine_option": "engine_options",
    "spec_engine_timeout": "engine_timeout",
    "spec_batch": "batch",
    "spec_concurrency": "concurrency",
    "spec_tie_tolerance": "tie_tolerance",
    "spec_budget": "budget",
}


_UNLIMITED = (("limit", ALL), ("batch", AUTO))
"""Fields whose value None has a word of its own."""

_SAMPLING_FIELDS = {
    "spec_temperature": "temperature",
    "spec_top_k": "top_k",
    "spec_top_p": "top_p",
    "spec_min_p": "min_p",
    "spec_repetition_penalty": "repetition_penalty",
    "spec_min_new_tokens": "min_new_tokens",
}


def against_config(text: str, settings: RunConfig) -> RunConfig:
    """The settings of ``--spec-against``: the run's own, but for those that it names.

    Raises:
        UsageError: It cannot be read, or a setting cannot differ within one session.
    """
    changed: dict[str, Any] = {}
    options: dict[str, str] = {}
    for key, value in one_of_each("--spec-against", pairs_of("--spec-against", text)).items():
        if key.startswith("option."):
            options[key.removeprefix("option.")] = value
        elif key in ("tree", "rule", "engine"):
            changed[key] = parse_tree(value) if key == "tree" else value
            if key == "tree":
                changed["budget"] = changed["promises"] = ()  # one tree for every domain
        else:
            raise unknown_value("--spec-against", key, ("tree", "rule", "engine", "option.NAME"))
    if changed.get("engine", settings.engine) == settings.engine:
        # Another engine has other settings.
        options = {**dict(settings.engine_options), **options}
    other = dataclasses.replace(settings, **changed, engine_options=tuple(options.items()))
    if other == settings:
        raise UsageError(f"--spec-against {text}: these are the run's own settings")
    return other


def run_config(config: pytest.Config) -> RunConfig:
    """The settings of the run, a preset's where no option is given.

    Raises:
        UsageError: An option's value is not valid.
    """
    preset = given(config, "spec_preset")
    if preset is not None and preset not in PRESETS:
        raise unknown_value("--spec-preset", preset, PRESETS)
    values = {name: given(config, name) for name in (*_CONFIG_FIELDS, *_SAMPLING_FIELDS)}
    return settings_of(values, **PRESETS.get(preset or "", {}))


def settings_of(values: Mapping[str, Any], **defaults: Any) -> RunConfig:
    """The settings that options make.

    Args:
        values: By the option's name, as `given` and `value_of` give them; None where it is not
            given.
        defaults: Fields of `RunConfig` for options that are not given; a tree as text, and sampling
            as the fields of `Sampling`.

    Raises:
        UsageError: A value is not valid.
    """
    settings: dict[str, Any] = dict(defaults)
    sampling: dict[str, Any] = dict(settings.pop("sampling", {}))
    for name, value in values.items():
        if value is None:
            continue
        if name in _SAMPLING_FIELDS:
            sampling[_SAMPLING_FIELDS[name]] = value
        else:
            field = _CONFIG_FIELDS[name]
            settings[field] = None if (field, value) in _UNLIMITED else value
    if "jsonl" in settings:
        settings.setdefault("prompts", OWN_PROMPTS)
    if "tree" in settings:
        settings["tree"] = parse_tree(settings["tree"])
    path = settings.pop("budget", None)
    if path is None:
        return RunConfig(**settings, sampling=Sampling(**sampling))
    budget = _budget(path, values)
    config = RunConfig(
        **settings,
        sampling=Sampling(**sampling),
        budget=budget.pairs,
        promises=budget.promises,
    )
    filters = {name: getattr(config.sampling, name) for name in FILTERS}
    budget.require_made_for(
        config.target, config.sampling.temperature, f"--spec-budget {path}", filters
    )
    return config


def _budget(path: str, values: Mapping[str, Any]) -> Budget:
    """What a budget file gives each domain.

    Args:
        path: Of the file.
        values: By the option's name, as for `settings_of`.

    Raises:
        UsageError: The file is none, or an option says the same.
    """
    for name in ("spec_tree", "spec_draft"):
        if values.get(name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--spec-budget {path} gives each domain its draft model and tree; leave {option} "
                "out"
            )
    return load_budget(Path(path))
