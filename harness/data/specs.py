"""The public data sets behind the four domains: where each lies, and how a row becomes a prompt.

A data set is a list of tables. Each table exists twice with the same rows in the same order:
as a configuration on the hub, and as the authors' own file in a local folder. The ids of the
prompts come from the rows, so they do not depend on which of the two was read.

A suite of one's own will be one more `DatasetSpec`, with a `to_prompt` made from the names of
its columns; nothing else here knows the four data sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.data.prompt import Prompt
from harness.data.record import Row, text_in

BBH_TASKS: tuple[str, ...] = (
    "boolean_expressions",
    "formal_fallacies",
    "logical_deduction_three_objects",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "web_of_lies",
)
"""The deductive tasks of BIG-Bench Hard: premises are stated, and their logical form alone
(connectives, quantifiers, an order relation, chained truth values) settles the answer.

Left out, of the tasks that are often counted as logic: ``navigate`` and
``tracking_shuffled_objects_*`` simulate a procedure (arithmetic on positions, swaps) rather
than derive a statement; ``temporal_sequences`` needs clock times and premises that are not
stated (nobody is in two places at once); ``causal_judgement`` asks what a typical person would
say, which no deduction settles.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a data set.

    Attributes:
        hub_name: Its configuration on the hub; None for the only one.
        local_path: Its file below the local folder, with ``/``.
        id_prefix: What the ids by position start with.
    """

    hub_name: str | None
    local_path: str
    id_prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A public data set.

    Attributes:
        title: Its name in messages.
        hub_id: Its repository on the hub.
        revision: The commit to load from the hub; None takes the current one.
        split: Always named: left out, a bare file becomes ``train`` whatever it holds.
        columns: What `to_prompt` reads; a row without them is refused.
        tables: In natural order.
        to_prompt: Makes a prompt from an id by position (the table's `id_prefix`, ``/`` and
            the row's position from 0), for rows that have none of their own, and the row;
            raises ValueError, saying what is wrong with the row.
        local_layout: How the local files are named, for messages.
        local_field: The key of the list of rows, where a local file is one JSON object.
            Without it such a file loads without complaint, as a single row.
    """

    title: str
    hub_id: str
    # No commit is pinned yet: the hub was out of reach when this table was written. The
    # fingerprint of the prompts shows when two runs were given different texts.
    revision: str | None = None
    split: str
    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    to_prompt: Callable[[str, Row], Prompt]
    local_layout: str
    local_field: str | None = None


def _human_eval(_: str, row: Row) -> Prompt:
    # No answer: a completion is scored by running `test` on it, which is in the record's row.
    return Prompt(prompt_id=text_in(row, "task_id"), domain="code", text=text_in(row, "prompt"))


def _gsm8k(position_id: str, row: Row) -> Prompt:
    return Prompt(
        prompt_id=position_id,
        domain="math",
        text=text_in(row, "question"),
        answer=final_number(text_in(row, "answer")),
    )


def _bbh(position_id: str, row: Row) -> Prompt:
    return Prompt(
        prompt_id=position_id,
        domain="logic",
        text=text_in(row, "input"),
        answer=text_in(row, "target"),
    )


def _mt_bench(_: str, row: Row) -> Prompt:
    number = row["question_id"]
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"'question_id' is {type(number).__name__}, expected a whole number")
    turns = row["turns"]
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise ValueError("'turns' is not a list that starts with a text")
    # Later turns answer a reply, so they are no prompts of their own.
    return Prompt(prompt_id=f"mt_bench/{number}", domain="chat", text=turns[0])


def final_number(solution: str) -> str:
    r"""The number after the last ``####`` of a GSM8K solution, without thousands commas.

    Raises:
        ValueError: There is no ``####``, or something else than a number follows it.

    Example:
        >>> final_number("2 + 3 = 5 thousand\n#### 5,000")
        '5000'
    """
    _, marker, tail = solution.rpartition("####")
    number = tail.strip().replace(",", "")
    if not marker or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", number):
        raise ValueError("'answer' does not end in '#### NUMBER'")
    return number


REAL: Mapping[str, DatasetSpec] = MappingProxyType(
    {
        "code": DatasetSpec(
            title="HumanEval",
            hub_id="openai/openai_humaneval",
            split="test",
            columns=("task_id", "prompt", "entry_point", "canonical_solution", "test"),
            tables=(
                Table(
                    hub_name="openai_humaneval",
                    local_path="humaneval/HumanEval.jsonl.gz",
                    id_prefix="HumanEval",
                ),
            ),
            to_prompt=_human_eval,
            local_layout="humaneval/HumanEval.jsonl.gz",
        ),
        "math": DatasetSpec(
            title="GSM8K",
            hub_id="openai/gsm8k",
            split="test",
            columns=("question", "answer"),
            tables=(Table(hub_name="main", local_path="gsm8k/test.jsonl", id_prefix="gsm8k/test"),),
            to_prompt=_gsm8k,
            local_layout="gsm8k/test.jsonl",
        ),
        "logic": DatasetSpec(
            title="BIG-Bench Hard",
            hub_id="SaylorTwift/bbh",
            split="test",
            columns=("input", "target"),
            # The task is always named: the hub's default configuration is another task.
            tables=tuple(
                Table(hub_name=task, local_path=f"bbh/{task}.json", id_prefix=f"bbh/{task}")
                for task in BBH_TASKS
            ),
            to_prompt=_bbh,
            local_layout="bbh/TASK.json",
            local_field="examples",
        ),
        "chat": DatasetSpec(
            title="MT-Bench",
            hub_id="lighteval/mt-bench",
            split="train",
            columns=("question_id", "turns"),
            tables=(
                Table(hub_name=None, local_path="mt_bench/question.jsonl", id_prefix="mt_bench"),
            ),
            to_prompt=_mt_bench,
            local_layout="mt_bench/question.jsonl",
        ),
    }
)
"""The data set of each domain."""
