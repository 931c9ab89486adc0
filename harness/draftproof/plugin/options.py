"""The plugin's options: one table that makes the command line, the ini file and ``--help``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from draftproof.config import (
    DEVICES,
    DTYPES,
    PRESETS,
    RULE_NAMES,
    RunConfig,
    Sampling,
)
from draftproof.engines.names import BUILT_IN
from draftproof.errors import UsageError, unknown_value
from draftproof.laws import RULES
from draftproof.prompt_sources import COLUMN_KEYS, OWN_PROMPTS, PARTS
from draftproof.shapes import FORMS, parse_tree

GROUP = "draftproof"
GROUP_TITLE = "draftproof: speculative decoding"


_LOSSY = tuple(name for name, facts in RULES.items() if not facts.lossless)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, on the command line (``--spec-dtype``) and in the ini file (``spec_dtype``).

    Attributes:
        flag: As on the command line.
        help: For ``--help``.
        metavar: Stands for the value in ``--help``; None for a switch.
        parse: From the text given to the value; raises `ValueError` or `UsageError`.
        several: Whether it may be given more than once; in the ini file, a line each.
    """

    flag: str
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    several: bool = False

    @property
    def name(self) -> str:
        """The ini key, and the attribute of the parsed options."""
        return self.flag.removeprefix("--").replace("-", "_")


def _limit(text: str) -> int | None:
    return None if text == "all" else int(text)


def engine_options(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of name and value from ``KEY=VALUE[,KEY=VALUE…]``.

    Raises:
        UsageError: A part has no name or no equals sign.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    for key, equals, _ in pairs:
        if not key.strip() or not equals:
            raise UsageError(f"--spec-engine-option: '{text}' is not KEY=VALUE[,KEY=VALUE…]")
    return tuple((key.strip(), value.strip()) for key, _, value in pairs)


OPTIONS: tuple[Option, ...] = (
    Option("--report", "Print acceptance tables and write a report folder (see --report-dir)."),
    Option(
        "--report-dir",
        "Folder for the report. Default: reports/<time>-<name>; reports/latest points at the "
        "newest.",
        "DIR",
    ),
    Option("--spec-open", "When the run ends, open the report's page in the browser."),
    Option(
        "--spec-keep-prompts",
        "Keep the text of prompts in the report, for its page. Outputs are always kept; the text "
        "of built-in prompts is too.",
    ),
    Option("--spec-name", "Name of the run, part of the default report folder.", "NAME"),
    Option(
        "--spec-resume",
        "Go on with the unfinished run in --report-dir: cases that it measured are not measured "
        "again. With a larger --spec-limit it goes on with more prompts.",
    ),
    Option(
        "--spec-preset",
        f"Settings of a published study: {', '.join(PRESETS)} (depth 3, branching 2, 50 prompts a "
        "domain, temperature 0). Options given beside it win.",
        "NAME",
    ),
    Option(
        "--spec-target",
        "Target model: 'builtin' (default; a toy), a local folder, a .gguf file or a hub id.",
        "MODEL",
    ),
    Option("--spec-draft", "Draft model, named like the target.", "MODEL"),
    Option(
        "--spec-dtype",
        f"Type of the weights: {', '.join(DTYPES)}. Default auto: the checkpoint's own (float32 "
        "for the built-in pair and, on a CPU, for a .gguf).",
        "DTYPE",
    ),
    Option(
        "--spec-device",
        f"Where the models run: {', '.join(DEVICES)}. Default auto: the first that is there.",
        "DEVICE",
    ),
    Option(
        "--spec-engine",
        f"Engine under test: {', '.join(BUILT_IN)}, one that a package registered under the entry "
        "point draftproof.engines, or package.module:callable. Default reference. See "
        "docs/engines.md.",
        "NAME",
    ),
    Option(
        "--spec-engine-option",
        "A setting of the engine's own, for example url=http://localhost:8000; several are "
        "separated by commas.",
        "KEY=VALUE",
        engine_options,
    ),
    Option(
        "--spec-engine-timeout",
        "Seconds an engine may take for one output before its case fails and it is given up; 0 for "
        "any time. Default 600. The reference engine is not timed.",
        "SECONDS",
        float,
    ),
    Option(
        "--spec-tree",
        "Shape of the drafts. Default 3x2. Forms: "
        + "; ".join(f"{form} ({meaning})" for form, meaning in FORMS.items())
        + ".",
        "SHAPE",
    ),
    Option(
        "--spec-rule",
        f"Acceptance rule: {', '.join(RULE_NAMES)}. Default auto: a lossless rule for the drafts "
        f"and the temperature. LOSSY: {', '.join(_LOSSY)}.",
        "RULE",
    ),
    Option(
        "--spec-temperature",
        "Sampling temperature; 0 (default) is greedy decoding, where outputs must be equal token "
        "for token.",
        "T",
        float,
    ),
    Option("--spec-top-k", "Draw from the k most probable tokens; 0 (default) is all.", "K", int),
    Option(
        "--spec-top-p",
        "Draw from the fewest tokens whose probabilities add up to P; 1 (default) is all.",
        "P",
        float,
    ),
    Option(
        "--spec-min-p",
        "Draw from tokens of at least this share of the largest probability; 0 (default) is all.",
        "P",
        float,
    ),
    Option(
        "--spec-repetition-penalty",
        "Divides positive logits of tokens that occurred, multiplies negative ones; 1 (default) "
        "changes nothing.",
        "X",
        float,
    ),
    Option("--spec-max-new-tokens", "Length limit of an output. Default 64.", "N", int),
    Option(
        "--spec-min-new-tokens",
        "Stop tokens are impossible before an output has N tokens. Default 0.",
        "N",
        int,
    ),
    Option("--spec-stop", "Text that ends an output, at the token that completes it.", "TEXT"),
    Option("--spec-seed", "Seeds the choice of prompts and every draw. Default 0.", "N", int),
    Option(
        "--spec-limit",
        "Prompts a domain, chosen by seed; 'all' for every one. Default 50.",
        "N",
        _limit,
    ),
    Option(
        "--spec-prompts",
        "Prompts: 'builtin' (default) was written for draftproof; 'real' is HumanEval, GSM8K, "
        "BIG-Bench Hard and MT-Bench; or data sets by name, with commas between: "
        f"{', '.join(PARTS)}, {OWN_PROMPTS} (--spec-jsonl). A name may go on with parts and a "
        "revision on the hub: bbh:navigate+web_of_lies@main. docs/data.md lists them.",
        "NAMES",
    ),
    Option(
        "--spec-data",
        "Folder with the public data sets (humaneval/, gsm8k/, bbh/, mt_bench/, ...), instead of "
        "the hub.",
        "DIR",
    ),
    Option(
        "--spec-jsonl",
        "Your own prompts: one JSON object a line; alone it stands for --spec-prompts own.",
        "FILE",
    ),
    Option(
        "--spec-columns",
        "What the columns of --spec-jsonl hold, as in prompt=question,answer=solution. Keys: "
        f"{', '.join(COLUMN_KEYS)}; one that is left out is the column of that name.",
        "KEY=COLUMN,...",
    ),
    Option(
        "--spec-turns",
        "How many turns of a conversation (MT-Bench, Spec-Bench, ...) are asked, each a case of "
        "its own; the target's own plain answers stand between. Default 1.",
        "N",
        int,
    ),
    Option(
        "--spec-execute-code",
        "Score outputs that are code by running them, in a sandbox (SECURITY.md says what it keeps "
        "out). Without, code is not scored.",
    ),
    Option(
        "--spec-trust-remote-code",
        "Let models run Python code that comes with them. Only for models whose code you have "
        "read.",
    ),
    Option(
        "--spec-check-state",
        "Share of the steps at which both models' cached logits are compared with a recompute from "
        "scratch: 0 for none, 1 for every step (slow; for debugging an engine change). Default "
        "0.02.",
        "SHARE",
        float,
    ),
    Option(
        "--spec-law-alpha",
        "Above temperature 0, emitted tokens are tested against the target's law "
        "(docs/lossless.md); a lossless engine is rejected with at most this probability. 0 leaves "
        "the test out. Default 0.0001.",
        "ALPHA",
        float,
    ),
    Option(
        "--spec-tie-tolerance",
        "Margin in logits within which rounding may be the reason of another greedy token, if the "
        "target alone does the same at that block width. Default: by dtype, as measured.",
        "LOGITS",
        float,
    ),
    Option(
        "--spec-log-draws",
        "Write every random draw of the reference engine to DIR, a file a case: its purpose, the "
        "number that decided it, the probability and the outcome. Slow; for debugging randomness.",
        "DIR",
    ),
    Option(
        "--spec-save",
        "Keep what was measured as the baseline NAME, for later runs to be compared with; replaces "
        "an earlier one. Needs --report.",
        "NAME",
    ),
    Option(
        "--spec-save-traces",
        "With --spec-save: keep every step and node too, so that the first step that changes can "
        "be shown beside what it was.",
    ),
    Option("--spec-storage", "Folder of the baselines. Default: .draftproof.", "DIR"),
    Option(
        "--spec-compare",
        "Compare the run with a baseline: its name, or the path of its file or of a report's "
        "folder. Refused where models, prompts, settings, versions or device differ. Needs "
        "--report.",
        "NAME|PATH",
    ),
    Option(
        "--spec-compare-anyway",
        "With --spec-compare: compare runs of other models, prompts, settings, versions or devices "
        "all the same.",
    ),
    Option(
        "--spec-fail",
        "Fail where a figure changed by more than a margin: METRIC[@SCOPE]:-MARGIN[%%], for "
        "example 'acceptance_rate:-0.02' (in each domain, and both ways), "
        "'block_efficiency@chat:-3%%', 'speedup@overall:-10%%', or 'identical'. May be given "
        "several times. Exit code 1 where one fails, 7 where one is inconclusive. docs/gate.md.",
        "EXPR",
        several=True,
    ),
    Option(
        "--spec-alpha",
        "Chance that changes within their margins fail, over all --spec-fail together. Default "
        "0.05.",
        "ALPHA",
        float,
    ),
    Option(
        "--spec-against",
        "Run every case with other settings too, in turn, and compare with those instead of a "
        "baseline: KEY=VALUE[,KEY=VALUE...] of tree, rule, engine and option.NAME (the engine's "
        "own). For gates on time.",
        "SETTINGS",
    ),
)

_CONFIG_FIELDS = {
    "spec_target": "target",
    "spec_draft": "draft",
    "spec_dtype": "dtype",
    "spec_device": "device",
    "spec_tree": "tree",
    "spec_rule": "rule",
    "spec_max_new_tokens": "max_new_tokens",
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
    "spec_tie_tolerance": "tie_tolerance",
}


_SAMPLING_FIELDS = {
    "spec_temperature": "temperature",
    "spec_top_k": "top_k",
    "spec_top_p": "top_p",
    "spec_min_p": "min_p",
    "spec_repetition_penalty": "repetition_penalty",
    "spec_min_new_tokens": "min_new_tokens",
}


def add_options(parser: pytest.Parser) -> None:
    """Register every option, with its ini equivalent."""
    group = parser.getgroup(GROUP, GROUP_TITLE)
    for option in OPTIONS:
        if option.metavar is None:
            group.addoption(option.flag, action="store_true", default=None, help=option.help)
            parser.addini(option.name, f"As {option.flag}.", type="bool", default=None)
        else:
            action = "append" if option.several else "store"
            group.addoption(
                option.flag, action=action, metavar=option.metavar, default=None, help=option.help
            )
            kind: Literal["linelist", "string"] = "linelist" if option.several else "string"
            parser.addini(option.name, f"As {option.flag}.", type=kind, default=None)


def given(config: pytest.Config, name: str) -> Any:
    """The value of an option: from the command line, else from the ini file, else None.

    A list, where it may be given several times.

    Raises:
        UsageError: The text cannot be read as the option's type.
    """
    option = next(option for option in OPTIONS if option.name == name)
    value = config.getoption(name)
    if value is None:
        value = config.getini(name)
    if value is None or option.metavar is None or option.several:
        return value or None
    try:
        return option.parse(value)
    except ValueError as error:
        kind = {int: "a whole number", float: "a number", _limit: "a whole number or 'all'"}
        raise UsageError(
            f"{option.flag}: '{value}' is not {kind.get(option.parse, 'valid')}"
        ) from error


def against_config(text: str, settings: RunConfig) -> RunConfig:
    """The settings of ``--spec-against``: the run's own, but for those that it names.

    Raises:
        UsageError: It cannot be read, or a setting cannot differ within one session.
    """
    changed: dict[str, Any] = {}
    options: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UsageError(f"--spec-against: '{part}' is not KEY=VALUE")
        if key.startswith("option."):
            options[key.removeprefix("option.")] = value
        elif key in ("tree", "rule", "engine"):
            changed[key] = parse_tree(value) if key == "tree" else value
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
    settings: dict[str, Any] = dict(PRESETS.get(preset or "", {}))
    for name, field in _CONFIG_FIELDS.items():
        value = given(config, name)
        if value is not None or (name == "spec_limit" and _is_all(config)):
            settings[field] = value
    if "jsonl" in settings:
        settings.setdefault("prompts", OWN_PROMPTS)
    if "tree" in settings:
        settings["tree"] = parse_tree(settings["tree"])
    sampling: dict[str, Any] = settings.pop("sampling", {})
    for name, field in _SAMPLING_FIELDS.items():
        value = given(config, name)
        if value is not None:
            sampling[field] = value
    stop = given(config, "spec_stop")
    if stop is not None:
        settings["stop_strings"] = (stop,)
    return RunConfig(**settings, sampling=Sampling(**sampling))


def _is_all(config: pytest.Config) -> bool:
    return "all" in (config.getoption("spec_limit"), config.getini("spec_limit"))
