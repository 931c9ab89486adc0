"""Completions of functions: what program an output makes, and its score by running it."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from draftproof.errors import DraftproofError
from draftproof.scoring import score, score_code, score_pair
from draftproof.scoring.code import completed
from draftproof.scoring.sandbox import run_python

HEAD = 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n    """The sum."""\n'
TEST = "assert total([1, 2, 3]) == 6\nassert total([]) == 0\n"


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    try:
        run_python("pass")
    except DraftproofError as error:
        pytest.skip(str(error))


RIGHT = {
    "a continued body": "    return sum(numbers)\n",
    "a body and something else": "    return sum(numbers)\n\nprint(total([1, 2\n",
    "a body with blank lines": "    result = 0\n\n    for n in numbers:\n        result += n\n\n"
    "    return result\n\n\ndef other():\n    1/0",
    "the function in a fence": "Here it is:\n```python\ndef total(numbers: List[int]) -> int:\n"
    "    return sum(numbers)\n```\nIt adds them. Done (really",
    "a fence that was cut off": "```python\ndef total(numbers):\n    return sum(numbers)",
    "the right one of two fences": "```\npip install x\n```\n```py\ndef total(numbers):\n"
    "    return sum(numbers)\n```",
    "the whole function without a fence": "from typing import List\ndef total(numbers):\n"
    "    return sum(numbers)\n",
    "a body in a fence": "```python\n    return sum(numbers)\n```",
    "a body with an escape that Python warns of": "    '\\d'\n    return sum(numbers)\n",
    "a body in a fence, not indented": "```python\nreturn sum(numbers)\n```",
    "a file of its own that begins with the future": "```python\nfrom __future__ import (\n"
    "    annotations,\n)\nimport os\ndef total(numbers: Unheard) -> Of:\n"
    "    return sum(numbers)\n```",
    "a main block with tests of its own": "```python\ndef total(numbers):\n"
    "    return sum(numbers)\n\nif __name__ == '__main__':\n    import unittest\n"
    "    unittest.main()\n```",
    "a main block that asks": "```python\ndef total(numbers):\n    return sum(numbers)\n\n"
    "if __name__ == '__main__':\n    print(total([int(input())]))\n```",
    "a body that a fence closes": "    return sum(numbers)\n```\n\nExplanation\n",
    "a body and an example in a fence": "    return sum(numbers)\n```\n\nTry it:\n```python\n"
    "print(total([1]))\n```\n",
    "the function that a fence closes": "def total(numbers):\n    return sum(numbers)\n```\nDone",
    "a fence in a list": "1. Here:\n\n   ```python\n   def total(numbers):\n"
    "       return sum(numbers)\n   ```\n2. Done",
    "a fence beside a list's number": "1. ```python\n   def total(numbers):\n"
    "       return sum(numbers)\n   ```\n",
    "a fence of tildes": "Here:\n~~~python\ndef total(numbers):\n    return sum(numbers)\n~~~\n",
    "a fence of four": "````python\ndef total(numbers):\n    '''a\n```\n'''\n"
    "    return sum(numbers)\n````\n",
    "a string in column 0": '    text = """\nabc\n"""\n    return sum(numbers)\n\n\nx = 1 +',
    "brackets in column 0": "    more = [\n0,\n# (\n]\n    return sum(numbers + more)\nDone (or",
    "a backslash before column 0": "    all = numbers + \\\n[0]\n    return sum(all)\nprint(",
    "quotes and brackets that count for nothing": "    a = '([{'  # It's (\n    b = \"'''\"\n"
    "    return sum(numbers)\nThat's it (",
    "a fence within a docstring in a fence": "So:\n```python\ndef total(numbers):\n    '''\n"
    "    ```\n    total([1])\n    ```\n    '''\n    return sum(numbers)\n```\nDone",
    "a fence within a docstring": "    '''\n    ```python\n    total([1])\n    ```\n    '''\n"
    "    return sum(numbers)\n",
    "words with an indented line before a fence": "    So it is:\n```python\n"
    "def total(numbers):\n    return sum(numbers)\n```\n",
    "a comment before a fence": "    # So it is:\n```python\ndef total(numbers):\n"
    "    return sum(numbers)\n```\n",
    "much that is printed": "    print('a' * 100_000)\n    return sum(numbers)\n",
    "a helper and the function": "```python\ndef add(a, b):\n    return a + b\n\n"
    "def total(numbers):\n    result = 0\n    for n in numbers:\n"
    "        result = add(result, n)\n    return result\n```",
}
WRONG = {
    "nothing": "",
    "a wrong body": "    return len(numbers)\n",
    "words": "You can add the numbers with a loop.",
    "a body that ends the program": "    import os\n    os._exit(0)\n",
    "a string that is not closed in a fence": "```python\ndef total(numbers):\n"
    "    '''\n    return sum(numbers)\n```\nText\n```\nmore\n```\n",
    "a fence with an error": "```python\ndef total(numbers):\n    return sum(numbers\n```",
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_right_completion(case):
    assert score_code(RIGHT[case], prompt=HEAD, answer=TEST) == 1.0


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_completion(case):
    assert score_code(WRONG[case], prompt=HEAD, answer=TEST) == 0.0


def test_a_body_ends_at_the_first_line_that_is_not_indented():
    program = completed("    return 1\n# next\n    return 2", "def one():\n")
    assert program == "def one():\n    return 1"


def test_helpers_of_the_prompt_stay():
    head = "def helper():\n    return 6\n\n\ndef total(numbers):\n    '''Six.'''\n"
    output = "```python\ndef total(numbers):\n    return helper() if numbers else 0\n```"
    assert score_code(output, prompt=head, answer=TEST) == 1.0


def test_code_is_not_run_unless_that_is_asked_for(monkeypatch):
    monkeypatch.delattr("draftproof.scoring.code.run_python")
    assert score("    return 1", prompt=HEAD, answer=TEST, scoring="code") is None


def test_equal_outputs_are_scored_once(monkeypatch):
    scores = iter([1.0, 0.0])
    monkeypatch.setattr("draftproof.scoring.scores.score_code", lambda *_, **__: next(scores))
    same = score_pair("a", "a", prompt="p", answer="t", scoring="code", execute_code=True)
    assert same == (1.0, 1.0)


def test_what_is_not_scored_has_no_score():
    assert score("7", prompt="p", answer=None, scoring=None) is None
    assert score_pair("7", "8", prompt="p", answer="7", scoring="number") == (1.0, 0.0)


@pytest.fixture
def problems():
    """Every 16th problem of HumanEval, to be quick; DRAFTPROOF_ALL=1 gives all 164."""
    folder = Path(os.environ.get("DRAFTPROOF_DATA", Path(__file__).parents[4] / "shared" / "data"))
    path = folder / "humaneval" / "HumanEval.jsonl.gz"
    if not path.is_file():
        pytest.skip("needs the published data sets: set DRAFTPROOF_DATA to their folder")
    from draftproof.data import load_prompts

    lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    step = 1 if os.environ.get("DRAFTPROOF_ALL") else 16
    prompts = load_prompts("code", source="humaneval", data_dir=folder)
    return list(zip(rows, prompts, strict=True))[::step]


def test_the_published_solutions_pass_and_empty_ones_fail(problems):
    for row, prompt in problems:
        right, wrong = (
            score(body, prompt=prompt.text, answer=prompt.answer, scoring="code", execute_code=True)
            for body in (row["canonical_solution"], "    raise NotImplementedError")
        )
        assert (right, wrong) == (1.0, 0.0), prompt.prompt_id
        fenced = f"Sure!\n```python\n{row['prompt']}{row['canonical_solution']}```\n"
        assert completed(fenced, prompt.text).count(f"def {row['entry_point']}(") == 2


OWN_HARNESS = """
import sys
problem_and_completion = sys.stdin.read()
sys.stdin.close()
exec(problem_and_completion, {})
"""
MAIN = "\n\nif __name__ == '__main__':\n    import unittest\n    unittest.main()\n"
CHANGES = (
    ("the solution", lambda body: body),
    ("with a main block", lambda body: body.rstrip("\n") + MAIN),
    ("a sum for a difference", lambda body: body.replace(" + ", " - ", 1)),
    ("another comparison", lambda body: body.replace(" < ", " <= ", 1).replace(" > ", " >= ", 1)),
    ("a truth turned around", lambda body: body.replace("True", "False", 1)),
    ("a number more", lambda body: body.replace("1", "2", 1)),
    ("a line less", lambda body: "\n".join(body.rstrip().split("\n")[:-1]) + "\n"),
)


def test_scores_are_those_of_the_data_sets_own_harness(problems):
    """Its program, in its words: the prompt, the completion, the test and the call of the test."""
    scores = []
    for row, prompt in problems:
        for name, change in CHANGES:
            body = change(row["canonical_solution"])
            program = f"{row['prompt']}{body}\n{row['test']}\ncheck({row['entry_point']})"
            command = [sys.executable, "-I", "-c", OWN_HARNESS]
            try:
                ran = subprocess.run(
                    command, input=program.encode(), timeout=10, check=False, capture_output=True
                )
                theirs = float(ran.returncode == 0)
            except subprocess.TimeoutExpired:
                theirs = 0.0
            ours = score(
                body, prompt=prompt.text, answer=prompt.answer, scoring="code", execute_code=True
            )
            assert ours == theirs, f"{prompt.prompt_id}, {name}"
            scores.append(theirs)
    assert 2 * len(problems) <= sum(scores) < len(scores)
