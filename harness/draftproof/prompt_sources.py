"""The forms of ``--spec-prompts`` and ``--spec-columns``: which data sets, read from a short text.

Names and parts only, so that options are checked without the libraries that load data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from draftproof.errors import UsageError, unknown_value

BUILTIN_PROMPTS, REAL_PROMPTS, OWN_PROMPTS = "builtin", "real", "own"
OPTION = "--spec-prompts"

BBH_DEDUCTIVE: tuple[str, ...] = (
    "boolean_expressions",
    "formal_fallacies",
    "logical_deduction_three_objects",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "web_of_lies",
)
"""The deductive tasks of BIG-Bench Hard, taken where no task is named: premises are stated, and
their logical form alone (connectives, quantifiers, an order relation, chained truth values) settles
the answer."""

BBH_TASKS: tuple[str, ...] = (
    *BBH_DEDUCTIVE,
    "causal_judgement",
    "navigate",
    "temporal_sequences",
    "tracking_shuffled_objects_three_objects",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
)
"""The tasks that are often counted as logic. Those beyond `BBH_DEDUCTIVE` simulate a procedure
(``navigate``, ``tracking_shuffled_objects_*``), need premises that are not stated
(``temporal_sequences``), or ask what a typical person would say (``causal_judgement``)."""

SPEC_BENCH_PARTS: tuple[str, ...] = (
    "mt_bench",
    "translation",
    "summarization",
    "qa",
    "math_reasoning",
    "rag",
)
"""The six subtasks of Spec-Bench; its file names ``mt_bench`` by MT-Bench's eight categories."""

SPEED_BENCH_PARTS: tuple[str, ...] = (
    "coding",
    "humanities",
    "math",
    "multilingual",
    "qa",
    "rag",
    "reasoning",
    "roleplay",
    "stem",
    "summarization",
    "writing",
)
"""The eleven categories of SPEED-Bench's qualitative split."""

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "humaneval": (),
        "gsm8k": (),
        "bbh": BBH_TASKS,
        "mt_bench": (),
        "folio": (),
        "folio_v2": (),
        "vicuna": (),
        "spec_bench": SPEC_BENCH_PARTS,
        "speed_bench": SPEED_BENCH_PARTS,
    }
)
"""Every public data set, and the parts that can be chosen from it."""

REAL: tuple[str, ...] = ("humaneval", "gsm8k", "bbh", "mt_bench")
"""What ``real`` stands for: one data set for each of the four domains."""

COLUMN_KEYS: tuple[str, ...] = (
    "prompt",
    "turns",
    "messages",
    "token_ids",
    "answer",
    "scoring",
    "domain",
    "id",
)
"""What a column of one's own file can hold (see `draftproof.data.own`)."""

_CHOICE = re.compile(r"(?P<name>[^:@]*)(:(?P<parts>[^@]*))?(@(?P<revision>.*))?")
_REVISION = re.compile(r"[\w][\w./-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One data set of ``--spec-prompts``.

    Attributes:
        name: A key of `PARTS`, ``builtin`` or ``own``.
        parts: The parts to take; empty for the data set's default.
        revision: A commit, tag or branch on the hub in place of the pinned one; None for that.
    """

    name: str
    parts: tuple[str, ...] = ()
    revision: str | None = None


def parse_prompts(text: str) -> tuple[Choice, ...]:
    """The data sets that a text names.

    Args:
        text: ``builtin``; or names with commas between: ``real`` (the four of `REAL`), a key of
            `PARTS`, ``own``. A name may go on with ``:PART+PART`` and with ``@REVISION``.

    Raises:
        UsageError: A name or a part is not known, a data set occurs twice, or the built-in prompts
            are mixed with others.

    Example:
        >>> [choice.name for choice in parse_prompts("real,vicuna")]
        ['humaneval', 'gsm8k', 'bbh', 'mt_bench', 'vicuna']
        >>> parse_prompts("bbh:navigate+web_of_lies@main")[0].parts
        ('navigate', 'web_of_lies')
    """
    choices: list[Choice] = []
    for word in text.split(","):
        choice = _parse_choice(word.strip())
        if choice.name == REAL_PROMPTS:
            choices += [Choice(name=name) for name in REAL]
        else:
            choices.append(choice)
    names = [choice.name for choice in choices]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{OPTION}: '{name}' occurs twice in '{text}'; name it once")
    if BUILTIN_PROMPTS in names and len(names) > 1:
        raise UsageError(
            f"{OPTION}: '{text}' mixes the built-in prompts with others; run them apart"
        )
    return tuple(choices)


def parse_columns(text: str) -> dict[str, str]:
    """Which column of one's own file holds what.

    Args:
        text: ``KEY=COLUMN`` with commas between; keys are those of `COLUMN_KEYS`.

    Raises:
        UsageError: It has another form, or a key is unknown or occurs twice.

    Example:
        >>> parse_columns("prompt=question, answer=solution")
        {'prompt': 'question', 'answer': 'solution'}
    """
    columns: dict[str, str] = {}
    for pair in text.split(","):
        key, equals, column = (part.strip() for part in pair.partition("="))
        if not equals or not key or not column:
            raise UsageError(
                f"--spec-columns: '{pair.strip()}' is not KEY=COLUMN, as in prompt=question"
            )
        if key not in COLUMN_KEYS:
            raise unknown_value("--spec-columns", key, COLUMN_KEYS)
        if key in columns:
            raise UsageError(f"--spec-columns: '{key}' is given twice")
        columns[key] = column
    return columns


def _parse_choice(word: str) -> Choice:
    match = _CHOICE.fullmatch(word)
    names = (BUILTIN_PROMPTS, REAL_PROMPTS, OWN_PROMPTS, *PARTS)
    name = match["name"] if match else word
    if match is None or name not in names:
        raise unknown_value(OPTION, name, names)
    parts, revision = match["parts"], match["revision"]
    if name not in PARTS and (parts is not None or revision is not None):
        raise UsageError(f"{OPTION}: '{name}' has neither parts nor revisions")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise UsageError(
            f"{OPTION}: '{revision}' is not a revision of {name}; give a commit, tag or branch"
        )
    return Choice(name=name, parts=_parse_parts(name, parts), revision=revision)


def _parse_parts(name: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    if not PARTS[name]:
        raise UsageError(f"{OPTION}: {name} has no parts to choose from; leave out ':{text}'")
    parts = tuple(part.strip() for part in text.split("+"))
    for part in parts:
        if part not in PARTS[name]:
            raise unknown_value(f"{OPTION} {name}", part, PARTS[name])
        if parts.count(part) > 1:
            raise UsageError(f"{OPTION}: '{part}' occurs twice in '{name}:{text}'")
    return parts
