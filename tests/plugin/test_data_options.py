"""Which suites run on which data sets, conversations, and what the report says of the data."""

import json

import pytest
from checkpoints import save_checkpoint

from draftproof.report import load_run

MATH_AND_OTHER = """
import pytest


@pytest.mark.suite("math")
def test_math(case, speculation):
    speculation.run(case).assert_lossless()


@pytest.mark.suite("other")
def test_other(case, speculation):
    speculation.run(case).assert_lossless()
"""


@pytest.fixture
def own(pytester, pair):
    """Runs a math suite and the suite of other domains on a file of one's own."""
    pytester.makepyfile(test_own=MATH_AND_OTHER)

    def run(rows, *options, name="mine.jsonl"):
        (pytester.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "--spec-max-new-tokens=4", f"--spec-jsonl={name}",
            *pair, *options, no_reraise_ctrlc=True,
        )  # fmt: skip

    return run


ROWS = [
    {"q": "a b c", "topic": "math"},
    {"q": "c b a", "topic": "sql"},
    {"q": "d e", "topic": "sql"},
]
COLUMNS = "--spec-columns=prompt=q,domain=topic"


def test_own_prompts_run_in_the_suites_of_their_domains(own, pytester, metrics):
    own(ROWS, COLUMNS, "--report", "--report-dir=out").assert_outcomes(passed=3)
    found = metrics()
    assert {name: group["prompts"] for name, group in found["domains"].items()} == {
        "math": 1,
        "sql": 2,
    }
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    data = described["data"]
    assert {domain: facts["prompts"] for domain, facts in data.items()} == {"math": 1, "other": 2}
    assert data["math"]["origins"][0]["dataset"] == "own"
    assert len(data["math"]["sha256"]) == len(data["math"]["origins"][0]["sha256"]) == 64


COUNTS_READS = """
import draftproof.data.own

read = draftproof.data.own.read_prompt_file

def noted(path, columns):
    with open("reads.txt", "a") as log:
        log.write("read\\n")
    return read(path, columns)

draftproof.data.own.read_prompt_file = noted

def pytest_unconfigure():
    draftproof.data.own.read_prompt_file = read
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "two workers"])
def test_a_file_is_read_once_and_not_once_a_suite_and_worker(own, pytester, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    pytester.makeconftest(COUNTS_READS)
    rows = [
        {"prompt": "a b", "domain": "math", "answer": 4},
        {"prompt": "c", "domain": "letters", "id": "x"},
        {"turns": ["d", "e \ud83d\ude00"], "domain": "letters"},
        {"token_ids": [1, 2, 3], "domain": "letters"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}]},
    ]
    result = own(rows, "--spec-turns=2", "--report", "--report-dir=out", *workers)
    result.assert_outcomes(passed=6)
    assert (pytester.path / "reads.txt").read_text().count("read") == 1
    pytester.path.joinpath("conftest.py").unlink()
    cases = {case.case_id: case for case in load_run(pytester.path / "out").cases}
    assert cases["own/letters/3"].prompt_tokens == 3
    again = own(rows, "--spec-turns=2", "--report", "--report-dir=alone")
    again.assert_outcomes(passed=6)
    for alone in load_run(pytester.path / "alone").cases:
        assert alone.speculative.token_ids == cases[alone.case_id].speculative.token_ids


def test_a_suite_without_prompts_is_left_out_in_silence(own):
    result = own(ROWS[:1], COLUMNS, "-v")
    result.assert_outcomes(passed=1)
    assert "test_other" not in result.stdout.str()


def test_a_run_without_any_prompt_says_why(own, pytester):
    own(ROWS[:1], COLUMNS)
    pytester.makepyfile(test_own=MATH_AND_OTHER.replace('"math"', '"chat"'))
    result = own(ROWS[:1], COLUMNS)
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --spec-prompts own: none of these data sets has a prompt*"]
    )


def test_a_bad_line_ends_the_run_in_one_line(own):
    result = own([{"q": "a", "topic": "../x"}], COLUMNS)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: mine.jsonl, line 1: 'domain' is '../x', expected*"])


def test_a_run_on_changed_prompts_is_not_resumed(own, pytester):
    options = (COLUMNS, "--report", "--report-dir=out")
    own(ROWS, *options, "-x", "--maxfail=1", "-k", "math")
    # A finished run has no journal: one is made as a killed run leaves it.
    pytester.makeconftest(
        "import pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_logreport(report):\n"
        "    if report.when == 'teardown': raise KeyboardInterrupt\n"
    )
    own(ROWS, COLUMNS, "--report", "--report-dir=killed")
    (pytester.path / "conftest.py").unlink()
    resumed = (COLUMNS, "--report", "--report-dir=killed", "--spec-resume")
    changed = [{**ROWS[0], "q": "e e"}, *ROWS[1:]]
    result = own(changed, *resumed)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *those of math have changed since*"])
    own(ROWS, *resumed).assert_outcomes(passed=3)


TEMPLATE = (
    "{% for m in messages %}{{ 'a' if m['role'] == 'user' else 'b' }} {{ m['content'] }} "
    "{% endfor %}{{ 'h' if add_generation_prompt else '' }}"
)
CONVERSATION = [{"turns": ["a b c", "d e", "f g"], "domain": "chat"}]
CHAT = MATH_AND_OTHER.replace('"math"', '"chat"')


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_later_turns_follow_the_targets_own_plain_answers(pytester, tmp_path, temperature):
    """A turn's case gives the answer that the next turn's prompt is made with, in any order."""
    from draftproof.report import load_run

    models = [
        f"--spec-{role}={save_checkpoint(tmp_path / role, seed=seed, chat_template=TEMPLATE)}"
        for seed, role in enumerate(("target", "draft"))
    ]
    pytester.makepyfile(test_own=CHAT)
    (pytester.path / "talk.jsonl").write_text(json.dumps(CONVERSATION[0]) + "\n")

    def run(folder, *options):
        pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", *models, "--spec-dtype=float64", "--spec-max-new-tokens=4",
            "--spec-jsonl=talk.jsonl", "--spec-turns=3", f"--spec-temperature={temperature}",
            "--report", f"--report-dir={folder}", *options,
        )  # fmt: skip
        return {case.case_id: case for case in load_run(pytester.path / folder).cases}

    cases = run("all")
    assert list(cases) == ["own/chat/0", "own/chat/0/turn2", "own/chat/0/turn3"]
    answers = [[t for t in case.plain.token_ids if t != 1] for case in cases.values()]
    # User and assistant are one token each, and so is the word that asks for the answer.
    lengths = [1 + 3 + 1]
    lengths.append(lengths[0] - 1 + (1 + len(answers[0])) + (1 + 2) + 1)
    lengths.append(lengths[1] - 1 + (1 + len(answers[1])) + (1 + 2) + 1)
    assert [case.prompt_tokens for case in cases.values()] == lengths
    alone = run("alone", "-k", "turn3")
    assert list(alone) == ["own/chat/0/turn3"]
    assert alone["own/chat/0/turn3"].plain.token_ids == cases["own/chat/0/turn3"].plain.token_ids
