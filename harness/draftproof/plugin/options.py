"""The plugin's options: one table that makes the command line, the ini file and ``--help``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from draftproof.choices import DEVICES, DTYPES, FORMS, PRESETS, RULE_NAMES, SPREAD
from draftproof.engines.names import BUILT_IN
from draftproof.errors import UsageError
from draftproof.laws import RULES
from draftproof.plugin.pairs import one_of_each, pairs_of
from draftproof.prompt_sources import COLUMN_KEYS, OWN_PROMPTS, PARTS

GROUP = "draftproof"
GROUP_TITLE = "draftproof: speculative decoding"


_LOSSY = tuple(name for name, facts in RULES.items() if not facts.lossless)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, on the command line (``--spec-dtype``) and in the ini file (``spec_dtype``).

    In the ini file it has no short name: a project's own ``report = html`` is read as nothing of
    ours.

    Attributes:
        flag: As on the command line.
        help: For ``--help``.
        metavar: Stands for the value in ``--help``; None for a switch.
        parse: From the text given to the value; raises `ValueError` or `UsageError`.
        joined: Makes one value of those that were given, of an option that may be given more than
            once (in the ini file, a line each); None for one that has a single value.
    """

    flag: str
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    joined: Callable[[Sequence[Any]], Any] | None = None

    @property
    def name(self) -> str:
        """What the other modules call it: ``spec_dtype``, ``report_dir``."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def own_flag(self) -> str:
        """The name on the command line that nobody else has: ``--spec-report`` of ``--report``."""
        return f"--spec-{self.flag.removeprefix('--spec-').removeprefix('--')}"

    @property
    def attribute(self) -> str:
        """The attribute of pytest's parsed options, and the ini key."""
        return self.own_flag.removeprefix("--").replace("-", "_")


ALL = "all"
"""The value of ``--spec-limit`` that stands for every prompt."""


AUTO = "auto"
"""The value of ``--spec-batch`` that stands for as many as the device has room for."""


def _batch(text: str) -> int | str:
    return text if text == AUTO else int(text)


def _limit(text: str) -> int | str:
    return text if text == ALL else int(text)


def _engine_options(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    option = "--spec-engine-option"
    pairs = (pair for text in texts for pair in pairs_of(option, text))
    return tuple(one_of_each(option, pairs).items())


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
    Option(
        "--spec-finished",
        "Write the exit code into FILE when the session has come to its end, and remove FILE when "
        "it begins: where there is none after the run, the run did not finish, whatever its exit "
        "code says.",
        "FILE",
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
        "for the built-in pair and, on a CPU, for a .gguf or where the processor has no "
        "instructions for half precision).",
        "DTYPE",
    ),
    Option(
        "--spec-device",
        f"Where the models run: {', '.join(DEVICES)}, one of several as cuda:1, or {SPREAD}: the "
        "target's layers on all accelerators. Default auto: the first that is there.",
        "DEVICE",
    ),
    Option(
        "--spec-draft-device",
        "Where the draft model runs, if not where the target does.",
        "DEVICE",
    ),
    Option(
        "--spec-engine",
        f"Engine under test: {', '.join(BUILT_IN)}, one that a package registered under the entry "
        "point draftproof.engines, or package.module:callable. Default reference. See "
        "`draftproof docs engines`.",
        "NAME",
    ),
    Option(
        "--spec-engine-option",
        "A setting of the engine's own, for example url=http://localhost:8000. Several are "
        "separated by commas, or the option is given several times.",
        "KEY=VALUE",
        joined=_engine_options,
    ),
    Option(
        "--spec-engine-timeout",
        "Seconds an engine may take for one output before its case fails and it is given up; 0 for "
        "any time. Default 600. The reference engine is not timed.",
        "SECONDS",
        float,
    ),
    Option(
        "--spec-batch",
        "Prompts that are decoded at once, plainly and with speculation: a number, or 'auto' for "
        "as many as the device has room for (16 at most on a CPU). A prompt's output and "
        "acceptance are those that it has alone; seconds, and so the speedup, are those of the "
        "batch. Default 1. Not with several workers of pytest-xdist.",
        "N",
        _batch,
    ),
    Option(
        "--spec-concurrency",
        "Requests in flight at once, plainly and with speculation, in shuffled order: for servers, "
        "and every engine that decodes many requests at once. Each prompt is judged by itself, as "
        "it is alone; seconds are those under this load. Default 1. Not with --spec-batch, or "
        "several workers of pytest-xdist.",
        "N",
        int,
    ),
    Option(
        "--spec-executor",
        "Measure cases in actors of Ray, one a GPU: 'ray', or 'ray:N' for N. See `draftproof docs "
        "fleet`.",
        "NAME",
    ),
    Option(
        "--spec-tree",
        "Shape of the drafts. Default 3x2. Forms: "
        + "; ".join(f"{form} ({meaning})" for form, meaning in FORMS.items())
        + ".",
        "SHAPE",
    ),
    Option(
        "--spec-budget",
        "Give each domain the draft model and the tree of a budget file, which `draftproof advise "
        "--budget FILE` writes, in place of --spec-draft and --spec-tree.",
        "FILE",
    ),
    Option(
        "--spec-rule",
        f"Acceptance rule: {', '.join(RULE_NAMES)}. Default auto: a lossless rule for the drafts "
        f"and the temperature. LOSSY: {', '.join(_LOSSY)}. Or package.module:name of a rule of "
        "your own: a class, or a function that returns one.",
        "RULE",
    ),
    Option(
        "--spec-drafter",
        "A drafter of your own, in place of the one of --spec-tree: package.module:name of a "
        "class, or a function, that takes the draft model and returns a drafter.",
        "PLACE",
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
    Option(
        "--spec-stop",
        "Text that ends an output, at the token that completes it. May be given several times.",
        "TEXT",
        joined=tuple,
    ),
    Option("--spec-seed", "Seeds the choice of prompts and every draw. Default 0.", "N", int),
    Option(
        "--spec-limit",
        "Prompts a domain, chosen by seed; 'all' for every one. Default 50; of prompts that a "
        "suite lists itself, all.",
        "N",
        _limit,
    ),
    Option(
        "--spec-prompts",
        "Prompts: 'builtin' (default) was written for draftproof; 'real' is HumanEval, GSM8K, "
        "BIG-Bench Hard and MT-Bench; or data sets by name, with commas between: "
        f"{', '.join(PARTS)}, {OWN_PROMPTS} (--spec-jsonl). A name may go on with parts and a "
        "revision on the hub: bbh:navigate+web_of_lies@main. `draftproof docs data` lists "
        "them.",
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
        "Your own prompts: JSON Lines, a JSON array, CSV (each perhaps .gz), Parquet, or a folder "
        "of datasets' save_to_disk. Prompts, turns, OpenAI messages and batch lines, ShareGPT "
        "conversations and token ids are understood. Alone it stands for --spec-prompts own.",
        "FILE",
    ),
    Option(
        "--spec-columns",
        "What the columns of --spec-jsonl hold, as in prompt=question,answer=solution. Keys: "
        f"{', '.join(COLUMN_KEYS)}; one that is left out is the column of that name.",
        "KEY=COLUMN[,KEY=COLUMN]",
        joined=",".join,
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
        "Score outputs that are code by running them, in a sandbox (`draftproof docs security` "
        "says what it keeps out). Without, code is not scored.",
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
        "(see `draftproof docs lossless`); a lossless engine is rejected with at most this "
        "probability. 0 leaves the test out. Default 0.0001.",
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
        "an earlier one. A history of all that was saved, with commits, lies beside it: see "
        "`draftproof history`. Needs --report.",
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
        "all the same, and runs that did not come to their end.",
    ),
    Option(
        "--spec-fail",
        "Fail where a figure changed by more than a margin: METRIC[@SCOPE]:-MARGIN[%%], for "
        "example 'acceptance_rate:-0.02' (in each domain, and both ways), "
        "'block_efficiency@chat:-3%%', 'speedup@overall:-10%%', or 'identical'; or where it is "
        "beyond a bound, which needs no baseline: 'block_efficiency:>=1.2'. May be given several "
        "times. Exit code 1 where one fails, 7 where one is inconclusive. See `draftproof docs "
        "gate`.",
        "EXPR",
        joined=tuple,
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

BY_NAME = {option.name: option for option in OPTIONS}
"""The options by their names, such as ``spec_tree``."""


def given(config: pytest.Config, name: str) -> Any:
    """The value of an option: from the command line, else from the ini file, else None.

    Of an option with a single value, the command line's wins over that of ``addopts``.

    Raises:
        UsageError: The text cannot be read as the option's type, or two values are given on the
            command line for an option that has one.
    """
    option = BY_NAME[name]
    texts = config.getoption(option.attribute)
    if option.metavar is None:
        return texts or config.getini(option.attribute) or None
    if texts is None:
        found = config.getini(option.attribute)
        texts = found if option.joined or not found else [found]
    elif option.joined is None:
        texts = _typed(config, {option.flag, option.own_flag}) or texts[-1:]
    return value_of(option, texts) if texts else None


def value_of(option: Option, texts: Sequence[str]) -> Any:
    """The value of an option that has one, of the texts that were given for it.

    Args:
        option: Not a switch.
        texts: At least one, in the order in which they were given.

    Raises:
        UsageError: A text cannot be read as the option's type, or several are given for an option
            that has a single value.
    """
    if option.joined is not None:
        return option.joined(texts)
    text, *others = dict.fromkeys(texts)
    if others:
        shown = " and as ".join(repr(other) for other in (text, *others))
        raise UsageError(f"{option.flag}: given more than once, as {shown}; give it once")
    try:
        return option.parse(text)
    except ValueError as error:
        kind = {
            int: "a whole number",
            float: "a number",
            _limit: f"a whole number or '{ALL}'",
            _batch: f"a whole number or '{AUTO}'",
        }
        raise UsageError(
            f"{option.flag}: '{text}' is not {kind.get(option.parse, 'valid')}"
        ) from error


def _typed(config: pytest.Config, flags: set[str]) -> list[str]:
    """The values that the command line itself gives to an option; those of addopts are not there.

    None on a worker of pytest-xdist, which is not given the command line as it was typed.
    """
    words = [str(word) for word in config.invocation_params.args]
    if "--" in words:
        words = words[: words.index("--")]
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        if flag in flags:
            found.append(value if equals else after)
    return found
