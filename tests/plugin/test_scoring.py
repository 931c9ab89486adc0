"""Scores of a run: in the records, the terminal, summary.md and metrics.json."""

import json

import pytest

from draftproof.errors import DraftproofError
from draftproof.report import load_run
from draftproof.scoring.sandbox import run_python

SUITE = """
import pytest


@pytest.mark.suite("logic")
def test_logic(case, speculation):
    speculation.run(case).assert_lossless()


@pytest.mark.suite("code")
def test_code(case, speculation):
    speculation.run(case)


@pytest.mark.suite("chat")
def test_chat(case, speculation):
    speculation.run(case)
"""


@pytest.fixture
def scored(pytester, pair):
    """Runs a suite of scored prompts; gives the result and the records by id."""
    pytester.makepyfile(test_scored=SUITE)

    def run(rows, *options):
        (pytester.path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", *pair, "--spec-max-new-tokens=4", "--spec-jsonl=own.jsonl",
            "--report", "--report-dir=out", *options,
        )  # fmt: skip
        return result, {case.case_id: case for case in load_run(pytester.path / "out").cases}

    return run


def rows(*answers):
    texts = ("a b c", "c b a", "d e", "f", "g h a")
    return [
        {"prompt": text, "answer": answer, "domain": "logic"}
        for text, answer in zip(texts, answers, strict=False)
    ]


def written(pytester, case):
    """The first word of a case's plain output."""
    from transformers import AutoTokenizer

    folder = json.loads((pytester.path / "out" / "run.json").read_text())["config"]["target"]
    return AutoTokenizer.from_pretrained(folder).decode(case.plain.token_ids).split()[0]


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_a_lossless_engine_scores_the_same(scored, pytester, metrics, temperature):
    _, cases = scored(rows("x", "x", "x"), f"--spec-temperature={temperature}")
    first = written(pytester, cases["own/logic/0"])
    result, cases = scored(rows(first, "zzz", "zzz"), f"--spec-temperature={temperature}")
    assert cases["own/logic/0"].plain_score == 1.0
    assert cases["own/logic/1"].plain_score == 0.0
    found = metrics()["accuracy"]
    assert found["logic"]["plain"]["value"] == pytest.approx(1 / 3)
    assert found["logic"]["plain"]["n"] == found["logic"]["cut"] == 3
    assert set(found) == {"logic", "overall"}
    if temperature == "0":
        assert found["logic"]["plain"] == found["logic"]["speculative"]
        assert found["logic"]["gained"] == found["logic"]["lost"] == 0
        assert all(case.plain_score == case.speculative_score for case in cases.values())
        result.stdout.fnmatch_lines(
            ["domain*scored*accuracy*accuracy*right only*", "logic * 3 * .333 * .333 * 0 * 0 * 3"]
        )
        summary = (pytester.path / "out" / "summary.md").read_text()
        assert "## Accuracy" in summary
        assert "| logic | 3 | .333 [.008–.906] | .333 [.008–.906] | 0 | 0 | 3 |" in summary


def test_chat_has_no_score_and_no_table(scored, metrics):
    result, cases = scored([{"prompt": "a b", "domain": "chat"}])
    assert cases["own/chat/0"].plain_score is None
    assert "accuracy" not in metrics()
    result.stdout.no_fnmatch_line("*accuracy*")


CODE = [{"prompt": "a b", "domain": "code", "scoring": "code", "answer": "pass", "id": "free"}]


def test_code_is_run_only_when_asked(scored, pytester):
    mark = pytester.path / "ran"
    harmful = [{**CODE[0], "answer": f"open({str(mark)!r}, 'w')"}]
    _, cases = scored(harmful)
    assert cases["own/code/free"].plain_score is None
    assert not mark.exists()


def test_code_is_run_in_the_sandbox_and_the_run_says_how(scored):
    try:
        run_python("pass")
    except DraftproofError as error:
        pytest.skip(str(error))
    failing = {**CODE[0], "answer": "assert False", "id": "bound"}
    # An output of this pair's words, such as "a b", is no Python; as a comment it is.
    rows = [{**row, "prompt": "a b #"} for row in (*CODE, failing)]
    result, cases = scored(rows, "--spec-execute-code")
    result.stdout.fnmatch_lines(["draftproof: *outputs that are code are executed *"])
    assert {case.plain_score for case in cases.values()} <= {0.0, 1.0}
    assert cases["own/code/bound"].plain_score == 0.0


def test_scores_survive_a_resumed_run(scored, pytester):
    from draftproof.trace import CaseRecord

    _, cases = scored(rows("x", "y"))
    for case in cases.values():
        again = CaseRecord.from_json(json.loads(json.dumps(case.to_json())))
        assert (again.plain_score, again.speculative_score) == (0.0, 0.0)


def test_each_score_has_its_own_column_and_files_without_them_are_read(tmp_path):
    import pyarrow.parquet as pq

    from draftproof.report import columns, stored
    from draftproof.trace import CaseRecord, Verdict

    cases = [
        CaseRecord(
            case_id=str(number),
            domain="math",
            prompt_tokens=1,
            verdict=Verdict.SAMPLED,
            plain_score=plain,
            speculative_score=speculative,
        )
        for number, (plain, speculative) in enumerate([(1.0, 0.0), (0.0, 1.0), (None, None)])
    ]
    for name in ("cases", "steps", "nodes"):
        with (tmp_path / f"{name}.parquet").open("wb") as file:
            getattr(columns, f"write_{name}")(file, cases)

    def scores():
        found = stored.read_cases(tmp_path)
        return [(case.plain_score, case.speculative_score) for case in found]

    assert scores() == [(1.0, 0.0), (0.0, 1.0), (None, None)]
    path = tmp_path / "cases.parquet"
    table = pq.read_table(path).drop_columns(["plain_score", "speculative_score"])
    pq.write_table(table, path)
    assert scores() == [(None, None)] * 3
