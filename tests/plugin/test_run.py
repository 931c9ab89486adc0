"""A run from its first test to its report."""

import json

import pyarrow.parquet as pq
import pytest
from plugin_sources import SUITE, WRONG_RULE

from draftproof.report import load_run

NODE_COLUMNS = (
    "case_id domain step node parent depth sibling_rank position token_id target_probability "
    "draft_probability acceptance_probability overlap target_entropy draft_entropy target_rank "
    "draft_rank reached accepted"
).split()
METRICS = (
    "acceptance_probability study_expected_length greedy_match acceptance_rate_drafted "
    "acceptance_rate_reached first_child_expected_length accepted_length block_efficiency"
).split()


def test_one_test_a_prompt_and_no_report_unless_asked(run, pytester):
    result = run("-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_lossless?letters/0? PASSED*"])
    result.stdout.no_fnmatch_line("*acceptance*")
    assert not (pytester.path / "reports").exists()


def test_the_report_has_every_table_and_file(run, pytester, metrics):
    result = run("--report", "--report-dir=out")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["*acceptance*greedy*", "letters *", "overall *", "depth *", "Report: *out"]
    )
    found = metrics()
    assert found["schema_version"] == 3
    assert found["lossless"]["cases"] == found["lossless"]["identical"] == 3
    assert found["lossless"]["algorithmic"] == 0
    for scope in (found["domains"]["letters"], found["overall"]):
        assert scope["prompts"] == 3
        for name in METRICS:
            assert set(scope[name]) >= {"value", "low", "high", "n"}
            assert scope[name]["low"] <= scope[name]["value"] <= scope[name]["high"]
    assert [row["depth"] for row in found["depth_profile"]] == [1, 2, 3]
    nodes = pq.read_table(pytester.path / "out" / "nodes.parquet")
    assert nodes.column_names == NODE_COLUMNS
    assert nodes.num_rows == found["overall"]["nodes"]
    steps = pq.read_table(pytester.path / "out" / "steps.parquet").to_pydict()
    assert len(steps["step"]) == found["overall"]["steps"]
    assert sum(steps["committed_tokens"]) == sum(
        len(case.plain.token_ids) - 1 for case in load_run(pytester.path / "out").cases
    )
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    assert described["models"]["target"]["parameters"] > 0
    assert "torch" in described["versions"]
    assert not (pytester.path / "out" / "journal.jsonl").exists()


def test_a_default_folder_and_the_pointer_to_the_newest(run, pytester):
    run("--report", "--spec-name=first")
    run("--report", "--spec-name=second")
    folders = sorted(path.name for path in (pytester.path / "reports").iterdir())
    assert len(folders) == 3
    latest = (pytester.path / "reports" / "latest").resolve()
    assert latest.name.endswith("-second")


def test_a_difference_is_shown_with_text_tokens_and_logits(run, pytester, metrics):
    pytester.makeconftest(WRONG_RULE)
    result = run("--report", "--report-dir=out")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "letters/*: speculation changed the output: * of 8 tokens are not the target's own *",
            "  token *, after *",
            "    the target's choice  * (id *)",
            "    emitted instead      * (id *), and then *",
            "    the logit margin * exceeds the tie tolerance 1e-09: not rounding, *",
            "  What to do: look at the step that emitted token *",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    found = metrics()["lossless"]
    assert found["algorithmic"] > 0
    assert found["identical"] + found["algorithmic"] == 3


def test_an_error_fails_its_case_only_and_is_recorded(run, pytester, metrics):
    pytester.makepyfile(
        test_letters=SUITE.replace('"c b a"', '"a " * 200'),
    )
    result = run("--report", "--report-dir=out")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*letters/1: the prompt has 200 tokens and the target's context*"])
    assert metrics()["lossless"]["errors"] == 1
    assert metrics()["overall"]["prompts"] == 2


def test_a_sampled_run_says_that_outputs_were_not_compared(run, metrics):
    run("--report", "--report-dir=out", "--spec-temperature=0.8").assert_outcomes(passed=3)
    assert metrics()["lossless"] == {
        "cases": 3,
        "identical": 0,
        "numerical": 0,
        "algorithmic": 0,
        "sampled": 3,
        "errors": 0,
    }


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run, pytester):
    def tokens(folder, seed):
        run("--report", f"--report-dir={folder}", "--spec-temperature=1", f"--spec-seed={seed}")
        return {
            case.case_id: case.speculative.token_ids
            for case in load_run(pytester.path / folder).cases
        }

    assert tokens("a", 5) == tokens("b", 5)
    assert tokens("c", 6) != tokens("a", 5)


def test_state_checks_can_be_switched_on(run):
    run("--spec-check-state=1").assert_outcomes(passed=3)
    refused = run("--spec-check-state=2")
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["*--spec-check-state: 2.0 is not a share of the steps*"])


def test_models_that_do_not_fit_end_the_run_with_exit_code_4(run, pytester, tmp_path):
    from checkpoints import WORDS, save_checkpoint

    other = save_checkpoint(tmp_path / "other", words=(*WORDS[:-1], "z"))
    result = run(f"--spec-draft={other}")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["*draftproof: the draft model has another tokenizer*id 9*"])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize("options", [[], ["--spec-temperature=1"]])
def test_a_draft_model_with_fewer_ids_runs_and_the_report_says_so(run, pytester, tmp_path, options):
    from checkpoints import WORDS, save_checkpoint

    draft = save_checkpoint(tmp_path / "fewer", words=WORDS[:-4], seed=1, stops=False)
    result = run(
        f"--spec-draft={draft}", "--report", "--report-dir=out", "--spec-check-state=1", *options
    )
    result.assert_outcomes(passed=3)
    said = "draft: lacks 4 ids (first 6, 'e') of the target: never proposed"
    assert said in result.stdout.str()
    assert said in (pytester.path / "out" / "summary.md").read_text().replace("\\", "")
    models = json.loads((pytester.path / "out" / "run.json").read_text())["models"]
    assert len(models["draft"]["notes"]) == 1


def test_prompts_that_cannot_be_loaded_end_the_run_with_exit_code_4(run, pytester, tmp_path):
    pytester.makepyfile(test_letters=SUITE.replace(', prompts=["a b c", "c b a", "d e"]', ""))
    result = run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *letters*"])


def test_a_test_outside_a_suite_may_use_the_name_case(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("case", [1, 2])
        def test_own(case):
            assert case
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_a_case_without_a_suite_says_what_is_missing(pytester):
    pytester.makepyfile("def test_own(case): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the fixture 'case' needs a suite*"])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("[]", "has no prompts"),
        (
            "['a', draftproof.Prompt(prompt_id='letters/0', domain='x', text='b')]",
            "has two prompts with the id 'letters/0'",
        ),
    ],
)
def test_unusable_prompts_of_ones_own_are_refused(pytester, prompts, message):
    pytester.makepyfile(
        f"""
        import draftproof, pytest

        @pytest.mark.suite("letters", prompts={prompts})
        def test_lossless(case, speculation): pass
        """
    )
    result = pytester.runpytest()
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: the suite 'letters' {message}*"])


def test_every_draw_is_logged_on_demand(run, pytester):
    run("--report", "--report-dir=out", "--spec-temperature=1", "--spec-log-draws=draws")
    for case in load_run(pytester.path / "out").cases:
        path = pytester.path / "draws" / (case.case_id.replace("/", "%2F") + ".jsonl")
        purposes = [json.loads(line)["purpose"] for line in path.read_text().splitlines()]
        assert {purpose: purposes.count(purpose) for purpose in purposes} == case.draws


def test_a_lossy_rule_is_labelled_in_the_header_and_in_every_report(run, pytester):
    result = run("--report", "--report-dir=out", "--spec-rule=typical", "--spec-temperature=1")
    result.stdout.fnmatch_lines(
        ["draftproof: engine reference*rule typical (LOSSY), target*", "*rule typical (LOSSY)*"]
    )
    assert "rule typical (LOSSY)" in (pytester.path / "out" / "summary.md").read_text()


def test_a_limit_chooses_among_a_suites_own_prompts_too(run, pytester, metrics):
    run("--report", "--report-dir=whole").assert_outcomes(passed=3)
    run("--report", "--report-dir=out", "--spec-limit=2").assert_outcomes(passed=2)
    said = "letters: these figures are of 2 of the 3 prompts of the data"
    assert said in (pytester.path / "out" / "summary.md").read_text()
    assert said not in (pytester.path / "whole" / "summary.md").read_text()
    assert metrics()["overall"]["prompts"] == 2


def test_no_domain_is_called_as_the_figures_of_all_are(run, pytester):
    source = SUITE.replace('suite("letters"', 'suite("overall"')
    pytester.makepyfile(test_letters=source)
    result = run("--report", "--report-dir=out")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*'overall': a domain cannot be called 'overall'*"])


def test_prompts_of_ones_own_may_hold_lists(run, pytester):
    source = SUITE.replace(
        'prompts=["a b c", "c b a", "d e"]',
        'prompts=[Prompt(prompt_id="a", domain="letters", text="a b", earlier=[])]',
    ).replace("import pytest", "import pytest\nfrom draftproof import Prompt", 1)
    pytester.makepyfile(test_letters=source)
    run("--report", "--report-dir=out").assert_outcomes(passed=1)
