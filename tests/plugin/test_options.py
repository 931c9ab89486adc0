"""Every option: in --help, in the ini file, and refused in one line before a model is loaded."""

import json

import pytest

from draftproof.errors import UsageError
from draftproof.plugin.options import OPTIONS, given
from draftproof.plugin.settings import run_config
from draftproof.prompt_sources import parse_columns

USAGE_ERROR = 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--spec-dtype=float31"],
            "--spec-dtype: unknown value 'float31'; did you mean 'float32'?",
        ),
        (["--spec-device=cudo"], "--spec-device: unknown value 'cudo'; did you mean 'cuda'?"),
        (["--spec-prompts=reel"], "--spec-prompts: unknown value 'reel'; did you mean 'real'?"),
        (["--spec-rule=greddy"], "--spec-rule: unknown value 'greddy'; did you mean 'greedy'?"),
        (
            ["--spec-preset=acceptance"],
            "--spec-preset: unknown value 'acceptance'; did you mean 'acceptance-dynamics'?",
        ),
        (["--spec-tree=wide"], "--spec-tree: cannot read 'wide'; give one of: 3x2, chain:5"),
        (["--spec-tree=0x2"], "--spec-tree: '0x2' has no node"),
        (["--spec-tree=20x9"], "--spec-tree: '20x9' has more than 4096 nodes"),
        (["--spec-tree=chain:0"], "--spec-tree: 'chain:0': length is 1 to 4096"),
        (["--spec-limit=0"], "--spec-limit: 0 leaves no prompts"),
        (["--spec-limit=few"], "--spec-limit: 'few' is not a whole number or 'all'"),
        (["--spec-max-new-tokens=0"], "--spec-max-new-tokens: 0 leaves nothing to decode"),
        (["--spec-temperature=-1"], "--spec-temperature: -1.0 is not a temperature"),
        (["--spec-temperature=nan"], "--spec-temperature: nan is not a temperature"),
        (["--spec-temperature=hot"], "--spec-temperature: 'hot' is not a number"),
        (["--spec-seed=-1"], "--spec-seed: -1 is negative"),
        (
            ["--spec-temperature=1", "--spec-rule=greedy"],
            "--spec-rule greedy: is not valid for --spec-tree 3x2 (siblings are deterministic) at "
            "temperature 1; use one of: auto, point-mass",
        ),
        (
            ["--spec-rule=rejection"],
            "--spec-rule rejection: is not valid for --spec-tree 3x2 (siblings are deterministic)",
        ),
        (["--spec-top-p=0"], "--spec-top-p: 0.0 is not in (0, 1]"),
        (["--spec-min-p=2"], "--spec-min-p: 2.0 is not in [0, 1]"),
        (["--spec-top-k=-1"], "--spec-top-k: -1 is negative"),
        (["--spec-repetition-penalty=0"], "--spec-repetition-penalty: 0.0 is not a positive"),
        (["--spec-stop="], "--spec-stop: an empty text would end every output"),
        (["--spec-data=."], "--spec-data: holds public data sets, which 'builtin' prompts are not"),
        (["--spec-prompts=gsm8k,gsm9k"], "unknown value 'gsm9k'; did you mean 'gsm8k'?"),
        (["--spec-prompts=gsm8k,real"], "--spec-prompts: 'gsm8k' occurs twice"),
        (["--spec-prompts=builtin,gsm8k"], "mixes the built-in prompts with others"),
        (["--spec-prompts=bbh:navigat"], "bbh: unknown value 'navigat'; did you mean 'navigate'?"),
        (["--spec-prompts=bbh:../../etc"], "bbh: unknown value '../../etc'"),
        (["--spec-prompts=gsm8k:main"], "gsm8k has no parts to choose from; leave out ':main'"),
        (["--spec-prompts=gsm8k@../x"], "'../x' is not a revision of gsm8k"),
        (["--spec-prompts=own"], "--spec-prompts: 'own' is the file of --spec-jsonl FILE; add it"),
        (["--spec-jsonl=none.jsonl"], "--spec-jsonl: there is no file 'none.jsonl'"),
        (
            ["--spec-jsonl=none.jsonl", "--spec-prompts=gsm8k"],
            "--spec-jsonl: is read for --spec-prompts own, not for 'gsm8k'; add ',own' to it",
        ),
        (["--spec-columns=prompt=q"], "--spec-columns: describes --spec-jsonl FILE; add it"),
        (["--spec-turns=0"], "--spec-turns: 0 asks nothing"),
        (["--spec-data=none", "--spec-prompts=real"], "--spec-data: 'none' is not a folder"),
        (["--spec-target=no/such/model/x"], "--spec-target: there is no folder no/such/model/x"),
        (["--spec-draft=missing.gguf"], "--spec-draft: cannot read missing.gguf"),
        (["--spec-log-draws=x", "--spec-engine=vllm"], "--spec-log-draws: the engine 'vllm' does"),
        (["--report", "--spec-resume"], "--spec-resume needs --report-dir"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(run, options, message):
    result = run(*options, models=False)
    assert result.ret == USAGE_ERROR
    errors = [line for line in result.errlines + result.outlines if "ERROR: " in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_help_explains_every_option(pytester):
    text = " ".join(pytester.runpytest("--help").stdout.str().split())
    for option in OPTIONS:
        assert option.flag in text
        assert option.help[:40] in text


def test_every_option_has_an_ini_equivalent(run, pytester, metrics, pair):
    target, draft, _ = (option.partition("=")[2] for option in pair)
    pytester.makeini(
        f"""
        [pytest]
        spec_report = true
        spec_report_dir = out
        spec_target = {target}
        spec_draft = {draft}
        spec_dtype = float64
        spec_tree = chain:2
        """
    )
    run(models=False).assert_outcomes(passed=3)
    assert metrics()["domains"]["letters"]["prompts"] == 3
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    assert described["config"]["tree"] == described["models"]["engine"]["tree"] == "chain:2"
    text = pytester.runpytest("--help").stdout.str()
    for option in OPTIONS:
        assert f"\n  {option.attribute} (" in text


def test_an_option_wins_over_the_preset_and_the_preset_over_the_default(run, pytester):
    import json

    run("--report", "--report-dir=out", "--spec-preset=acceptance-dynamics", "--spec-limit=7")
    config = json.loads((pytester.path / "out" / "run.json").read_text())["config"]
    assert (config["tree"], config["limit"], config["sampling"]["temperature"]) == ("3x2", 7, 0.0)


def test_a_bad_ini_value_is_refused_too(run, pytester):
    pytester.makeini("[pytest]\nspec_tree = bush")
    result = run()
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --spec-tree: cannot read 'bush'*"])


def settings(pytester, *words):
    return run_config(pytester.parseconfig(*words))


def test_what_may_be_given_several_times_adds_up(pytester):
    found = settings(
        pytester,
        "--spec-engine=openai",
        "--spec-stop=END",
        "--spec-engine-option=url=http://a,model=m",
        "--spec-stop",
        "\n\n",
        "--spec-engine-option",
        "timeout=5",
        "--spec-engine-option=model=m",
    )
    assert found.stop_strings == ("END", "\n\n")
    assert found.engine_options == (("url", "http://a"), ("model", "m"), ("timeout", "5"))


def test_columns_given_one_by_one_add_up(pytester):
    (pytester.path / "own.jsonl").write_text('{"q": "a", "s": "1"}\n')
    words = ["--spec-jsonl=own.jsonl", "--spec-columns=prompt=q", "--spec-columns=answer=s"]
    assert parse_columns(settings(pytester, *words).columns) == {"prompt": "q", "answer": "s"}


def test_lines_of_the_ini_file_add_up(pytester):
    pytester.makeini(
        """
        [pytest]
        spec_engine = openai
        spec_stop =
            END
            STOP
        spec_engine_option =
            url=http://a
            model=m,timeout=5
        """
    )
    found = settings(pytester)
    assert found.stop_strings == ("END", "STOP")
    assert dict(found.engine_options) == {"url": "http://a", "model": "m", "timeout": "5"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--spec-engine-option=url=a", "--spec-engine-option=model=m,url=b"],
            "--spec-engine-option: url is given twice, as 'a' and as 'b'; give it once",
        ),
        (["--spec-engine-option=url=a,url=b"], "url is given twice, as 'a' and as 'b'"),
        (["--spec-against=tree=3x2,tree=chain:4"], "--spec-against: tree is given twice"),
        (
            ["--spec-limit=2", "--spec-limit", "3"],
            "--spec-limit: given more than once, as '2' and as '3'; give it once",
        ),
        (
            ["--spec-prompts=gsm8k", "--spec-prompts=folio"],
            "--spec-prompts: given more than once, as 'gsm8k' and as 'folio'",
        ),
        (
            ["--spec-columns=prompt=a", "--spec-columns=prompt=b", "--spec-jsonl=own.jsonl"],
            "--spec-columns: 'prompt' is given twice",
        ),
    ],
)
def test_two_values_for_one_thing_are_refused(run, pytester, words, message):
    (pytester.path / "own.jsonl").write_text('{"a": "x", "b": "y"}\n')
    result = run(*words, "--report", models=False)
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.metavar and not o.joined])
def test_no_option_with_one_value_loses_one(pytester, option):
    config = pytester.parseconfig(f"{option.flag}=1", option.flag, "2")
    with pytest.raises(UsageError, match=f"{option.flag}: given more than once, as '1' and as '2'"):
        given(config, option.name)


def test_the_same_value_twice_is_no_clash(pytester):
    assert settings(pytester, "--spec-limit=2", "--spec-limit=2").limit == 2


def test_the_command_line_wins_over_addopts_and_adds_to_its_lists(pytester):
    pytester.makeini("[pytest]\naddopts = --spec-limit=5 --spec-seed=3 --spec-stop=END")
    found = settings(pytester, "--spec-limit=all", "--spec-stop=STOP")
    assert (found.limit, found.seed, found.stop_strings) == (None, 3, ("END", "STOP"))
