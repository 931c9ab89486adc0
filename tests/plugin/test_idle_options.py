"""Options that do nothing say so: refused without what they need, else a line before the run."""

import pytest

from draftproof.plugin.options import OPTIONS

USAGE_ERROR = 4
SWITCHES = {option.name for option in OPTIONS if option.metavar is None}
VALUES = {"spec_alpha": "0.1"}
NEEDED = {
    "report_dir": ("report",),
    "spec_open": ("report",),
    "spec_keep_prompts": ("report",),
    "spec_name": ("report",),
    "spec_resume": ("report",),
    "spec_save_traces": ("spec_save",),
    "spec_storage": ("spec_save", "spec_compare"),
    "spec_compare_anyway": ("spec_compare",),
    "spec_alpha": ("spec_fail",),
}


@pytest.mark.parametrize("name", NEEDED)
def test_an_option_without_what_it_needs_is_refused(run, name):
    flag = "--" + name.replace("_", "-")
    option = flag if name in SWITCHES else f"{flag}={VALUES.get(name, 'x')}"
    report = [] if NEEDED[name] == ("report",) else ["--report"]
    result = run(option, *report, models=False)
    assert result.ret == USAGE_ERROR
    needed = " or ".join("--" + other.replace("_", "-") for other in NEEDED[name])
    result.stderr.fnmatch_lines([f"*{flag} does nothing without {needed}: add it, or leave*"])


def test_settings_of_the_ini_file_are_for_many_runs(run, pytester):
    pytester.makeini("[pytest]\nspec_report_dir = out\nspec_alpha = 0.1\nspec_law_alpha = 0.01")
    result = run("--collect-only")
    assert result.ret == 0
    assert "does nothing" not in result.stdout.str()


NOTES = [
    (["--spec-engine=transformers-lookup", "--spec-tree=chain:3"], "--spec-tree does nothing with"),
    (["--spec-engine=transformers-lookup", "--spec-rule=greedy"], "--spec-rule does nothing with"),
    (["--spec-engine=transformers-assisted", "--spec-check-state=1"], "--spec-check-state does no"),
    (
        ["--spec-engine=openai", "--spec-engine-option=url=http://x", "--spec-tree=chain:3"],
        "--spec-tree does not reach --spec-engine openai",
    ),
    (
        ["--spec-draft=none", "--spec-tree=lookup:3", "--spec-draft-device=cpu"],
        "--spec-draft-device does nothing: there is no draft model",
    ),
    (["--spec-tree=lookup:3"], "--spec-draft does nothing: drafts are looked up in the text"),
    (["--spec-engine=transformers-lookup"], "--spec-draft does nothing: drafts are looked up"),
    (["--spec-engine-timeout=9"], "--spec-engine-timeout does nothing: the reference engine is"),
    (["--spec-top-k=5"], "--spec-top-k does nothing at temperature 0"),
    (["--spec-top-p=.5"], "--spec-top-p does nothing at temperature 0"),
    (["--spec-min-p=.1"], "--spec-min-p does nothing at temperature 0"),
    (["--spec-law-alpha=.01"], "--spec-law-alpha does nothing at temperature 0"),
    (["--spec-seed=3", "--spec-limit=all"], "--spec-seed does nothing: at temperature 0"),
    (["--spec-turns=2"], "--spec-turns does nothing: 'builtin' prompts have one turn each"),
    (["--spec-execute-code"], "--spec-execute-code does nothing"),
    (["--report", "--spec-keep-prompts"], "--spec-keep-prompts does nothing for built-in prompts"),
    (["--report", "--report-dir=new", "--spec-resume"], "new holds no unfinished run; this one is"),
]


@pytest.mark.parametrize("quiet", [[], ["-q"]])
@pytest.mark.parametrize(("options", "said"), NOTES)
def test_an_option_that_does_nothing_says_so(run, options, said, quiet):
    result = run(*options, *quiet, "--collect-only")
    assert result.ret == 0
    assert result.stdout.str().count(f"draftproof: {said}" if said[0] == "-" else said) == 1


def test_code_of_the_built_in_pair(run):
    result = run("--spec-trust-remote-code", "--collect-only", models=False)
    assert "--spec-trust-remote-code does nothing: the built-in pair" in result.stdout.str()


def test_an_engine_of_ones_own_may_read_every_setting(run, pytester):
    pytester.makepyfile(own_engine="def make(config, pair):\n    ...\n")
    words = ["--spec-tree=chain:3", "--spec-engine-option=foo=3", "--collect-only"]
    text = run("--spec-engine=own_engine:make", *words).stdout.str()
    for option in ("--spec-tree", "--spec-engine-option"):
        assert f"{option} is handed to the engine own_engine:make, which may use it or not" in text
    pytester.makepyfile(
        checks="def make(config, pair):\n    ...\n\nmake.check_settings = lambda config: None\n"
    )
    text = run("--spec-engine=checks:make", *words).stdout.str()
    assert "--spec-engine-option is handed" not in text, "it would be refused"


@pytest.mark.parametrize(
    "options",
    [
        ["--spec-tree=chain:3", "--spec-rule=greedy", "--spec-check-state=1"],
        ["--spec-temperature=1", "--spec-top-k=5", "--spec-law-alpha=.01", "--spec-seed=3"],
        ["--spec-engine=transformers-assisted", "--spec-engine-timeout=5"],
        ["--spec-prompts=mt_bench", "--spec-turns=2"],
        ["--report", "--report-dir=out", "--spec-name=x", "--spec-save=a", "--spec-storage=b"],
    ],
)
def test_options_that_do_something_say_nothing(run, options):
    result = run(*options, "--collect-only")
    assert "does nothing" not in result.stdout.str() + result.stderr.str()
