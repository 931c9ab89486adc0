"""Writes the score of a finished mutmut run into docs/mutants.md, each survivor explained or named.

python docs/make_mutation.py [FOLDER]

FOLDER is the checkout in which mutmut ran (default: this one). Needs mutmut.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

PAGE = Path(__file__).parent / "mutants.md"
TOOLS = ("mutmut", "pytest", "hypothesis", "torch", "transformers", "numpy")
CAUGHT = ("killed", "timeout", "segfault")

EQUIVALENT = [
    (r"prepend=(\+1|-2)", r"prepend=-1", "row 0 begins a group in any case"),
    (
        r"(token_ids, (self|tree)\.parents|tolist\(\)), (strict=(None|False))?\)",
        r"strict=True",
        "a `zip` of two that are as many: compared before, or made of one another",
    ),
    (r"\+1[,)]|shape\[\+1", r"-1[,)]|shape\[-1", "the last axis of a table with two"),
    (r"astype\(None\)", r"astype\(np\.float64\)", "the same type by another name"),
    (r"astype\(None\)", r"astype\(np\.int64\)", "the same whole numbers as float64"),
    (r"np\.(zeros|empty)\(.*, (None)?\)", r"bool\)|np\.int64\)", "truths or ranks as float64"),
    (r"np\.array\(.*, (None)?\)", r"np\.int64\)", "whole numbers are int64 without being asked"),
    (r'"NAN"', r'"nan"', "the same number"),
    (r'"STABLE"', r'"stable"', "the same sort"),
    (r"device=None|, \)", r"device=", "on a processor, its only device; to be seen on a GPU only"),
    (
        r"rows\[?.* (> 0|>= 1)\]",
        r"rows >= 0",
        "row 0 is a child of the root, and nobody's first child",
    ),
    (r"np\.full\(.*-2\)", r"np\.full\(.*-1\)", "any negative number says that there is no child"),
    (r"max\(\) \+ 2", r"max\(\) \+ 1", "a longer table whose last place is never looked at"),
    (r"at (> 0|>= 1)", r"at >= 0", "place 0 is prefill's token, and no node's"),
    (r"np\.append\((None|False), groups", r"np\.append\(True", "row 0 begins a group in any case"),
    (
        r">= (_TOLERANCE|1 \+ 1e-[56]|1e-30|whole)|<= .*- ?1e-5",
        r"> (_TOLERANCE|1 \+ 1e-[56]|1e-30|whole)|< .*- ?1e-5",
        "a bound that no quotient and no time is equal to",
    ),
    (
        r"weights\[index\]\) >= 0",
        r"> 0",
        "on a processor a sum only passes a value at a weight above 0",
    ),
    (r"AssertionError\(", r"the root is always kept", "the message of an error that cannot occur"),
    (r"np\.append\(None", r"np\.append\(False", "no truth and no number are one in a mask"),
    (r"top_p (<= 1|< 2):", r"top_p < 1:", "a filter that takes out what has no probability"),
    (r"is_greedy=None", r"is_greedy=False", "no truth and no number are one in a condition"),
    (
        r"probabilities\[\.\.\., 1\]",
        r"\.\.\., 0\]",
        "a softmax is NaN in all of a row or none of it",
    ),
    (r"sum\(dtype=None\)", r"for name in", "float32 rounds by less than clocks may differ by"),
    (r"\[row\] = None", r"= np\.nan", "the same number in a column of float64"),
]
"""What no test can see: a pattern of the changed line, one of the line it was, and the reason."""


def changed(diff: str) -> tuple[str, str]:
    """The lines that a mutant takes out and puts in."""
    lines = diff.splitlines()[2:]
    return tuple(
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )


def reason(before: str, after: str) -> str:
    """Why a survivor is equivalent; empty where nobody has said."""
    for new, old, why in EQUIVALENT:
        if re.search(new, after) and re.search(old, before):
            return why
    return ""


def collected() -> tuple[dict[str, Counter[str]], Counter[str], list[tuple[str, str, str]]]:
    """Statuses by module, survivors by reason, and the ones without."""
    statuses, reasons, unexplained = {}, Counter(), []
    for meta in sorted(Path("mutants").glob("harness/draftproof/**/*.meta")):
        path = meta.relative_to("mutants").with_suffix("")
        data = SourceFileMutationData(path=path)
        data.load()
        count = statuses[str(path)] = Counter()
        for name, code in data.exit_code_by_key.items():
            status = "caught" if status_by_exit_code[code] in CAUGHT else status_by_exit_code[code]
            if status in ("survived", "no tests"):
                before, after = changed(get_diff_for_mutant(name, path=path))
                why = reason(before, after)
                reasons[why] += bool(why)
                status = "equivalent" if why else "survived"
                if not why:
                    unexplained.append((name, before, after))
            count[status] += 1
    return statuses, +reasons, unexplained


def table(statuses: dict[str, Counter[str]]) -> list[str]:
    """A row for each module, and their sum."""
    columns = ("caught", "equivalent", "survived")
    rows = [
        "| module | mutants | caught | equivalent | survived | caught of those not equivalent |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    total = sum(statuses.values(), Counter())
    for name, count in [*statuses.items(), ("all", total)]:
        if not count:
            continue
        counts = " | ".join(f"{count[column]:,}" for column in columns)
        real = count.total() - count["equivalent"]
        rows.append(f"| {name} | {count.total():,} | {counts} | {count['caught'] / real:.1%} |")
    return rows


def section() -> str:
    """The text between the page's marks."""
    statuses, reasons, unexplained = collected()
    if left := sum(count["not checked"] for count in statuses.values()):
        sys.exit(f"{left} mutants were not checked; run mutmut to its end")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in TOOLS)
    lines = [*table(statuses), "", f"Python {platform.python_version()}, {versions}.", ""]
    lines += [f"- {count} × {why}" for why, count in reasons.most_common()]
    if unexplained:
        lines += ["", "Survived, and not shown to be equivalent:", ""]
        lines += [f"- `{name}`: `{before}` → `{after}`" for name, before, after in unexplained]
    return "\n".join(lines)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else PAGE.parent.parent)
    text = section()
    begin, end = "<!-- mutmut -->\n", "\n<!-- end of mutmut -->"
    page, found = re.subn(
        f"({begin}).*?({end})", lambda match: match[1] + text + match[2], page, flags=re.DOTALL
    )
    if found != 1:
        sys.exit(f"{PAGE} has no section between {begin.strip()} and {end.strip()}")
    PAGE.write_text(page, encoding="utf-8")
