"""``--spec-engine``: built-in engines, registered ones, one's own; and what reports say of them."""

import json
from dataclasses import replace

import pytest
from plugin_sources import SUITE

USAGE_ERROR = 4

ENGINE = """
from draftproof.engines.protocol import Capability, Counts, Generation
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import unknown_value


class Mine:
    name = "mine"
    capabilities = frozenset({Capability.COUNTS})

    def __init__(self, config, pair):
        self.options = dict(config.engine_options)
        self.inner = ReferenceEngine(pair, config)

    def speculate(self, request):
        if self.options.get("fails") == request.request_id:
            raise ValueError("no more memory on the card")
        out = self.inner.speculate(request)
        wanted = out.counts if self.options.get("counts") == "yes" else None
        return Generation(
            token_ids=out.token_ids, stop_reason=out.stop_reason, seconds=1.0, counts=wanted
        )

    def plain(self, request):
        raise NotImplementedError

    def describe(self):
        return {"name": "mine", "version": "3"}

    def close(self):
        open("closed.txt", "w").close()


class Inherits(ReferenceEngine):
    def __init__(self, config, pair):
        self.fails = dict(config.engine_options).get("fails")
        super().__init__(pair, config)

    def speculate(self, request):
        if request.request_id == self.fails:
            raise ValueError("mine alone")
        return super().speculate(request)


class Strict(Mine):
    @classmethod
    def check_settings(cls, config):
        for name, _ in config.engine_options:
            if name != "speed":
                raise unknown_value("--spec-engine-option", name, ["speed"])


class Unmade(Mine):
    def __init__(self, config, pair):
        raise OSError("no card")


def one_argument(config):
    return Mine(config, None)
"""


@pytest.fixture
def mine(pytester, monkeypatch):
    """The options for an engine of one's own, which an installed distribution also registers."""
    pytester.makepyfile(my_engine=ENGINE)
    about = pytester.mkdir("mine-1.0.dist-info")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[draftproof.engines]\nmine = my_engine:Mine\nbroken = my_engine:Missing\n"
    )
    monkeypatch.syspath_prepend(pytester.path)
    return pytester


@pytest.mark.parametrize("name", ["mine", "my_engine:Mine"])
def test_an_engine_by_its_registered_name_or_its_place(mine, run, name):
    result = run(f"--spec-engine={name}", "--report", "--report-dir=out")
    result.assert_outcomes(passed=3)
    described = json.loads((mine.path / "out" / "run.json").read_text())["models"]["engine"]
    assert described["name"] == "mine"
    assert described["capabilities"] == ["acceptance counts"]
    assert (mine.path / "closed.txt").exists()


def test_what_an_engine_does_not_tell_is_not_available(mine, run, metrics):
    result = run("--spec-engine=mine", "--report", "--report-dir=out")
    overall = metrics()["overall"]
    for name in ("acceptance_rate_drafted", "block_efficiency", "acceptance_probability"):
        assert overall[name]["value"] is None
        assert "the engine does not tell" in overall[name]["reason"]
    assert overall["depth_profile"] == []
    result.stdout.fnmatch_lines(["*not available: *steps, nodes*", "*engine mine 3*"])
    lines = [line for line in result.outlines if line.startswith("overall")]
    assert " 0 " not in lines[0].replace("  ", " ")


def test_counts_alone_give_rates_and_lengths(mine, run, metrics):
    told = run(
        "--spec-engine=mine", "--spec-engine-option=counts=yes", "--report", "--report-dir=out"
    )
    told.assert_outcomes(passed=3)
    run("--report", "--report-dir=reference")
    own, reference = (metrics(name)["overall"] for name in ("out", "reference"))
    for name in ("acceptance_rate_drafted", "accepted_length", "block_efficiency"):
        assert own[name]["value"] == pytest.approx(reference[name]["value"])
        assert own[name]["n"] == reference[name]["n"]
    assert "design_effect" not in own["block_efficiency"]
    assert "design_effect" in reference["block_efficiency"]
    assert own["acceptance_probability"]["value"] is None


def test_a_failing_engine_fails_its_case_and_the_run_goes_on(mine, run):
    result = run(
        "--spec-engine=mine", "--spec-engine-option=fails=letters/1", "--report", "--report-dir=out"
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*letters/1: mine died: ValueError: no more memory on the card (my_engine.py, line *"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spec-engine=transfomers-assisted"], "did you mean 'transformers-assisted'?"),
        (["--spec-engine=min"], "unknown value 'min'; did you mean 'mine'?"),
        (["--spec-engine-timeout=-1"], "--spec-engine-timeout: -1.0 is not a time"),
        (["--spec-engine-timeout=soon"], "--spec-engine-timeout: 'soon' is not a number"),
        (["--spec-engine-option=url"], "'url' is not KEY=VALUE"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(mine, run, options, message):
    result = run(*options, models=False)
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message.replace('[', '[[]')}*"])


UNUSABLE = [
    (["--spec-engine=broken"], "--spec-engine broken: cannot be imported"),
    (["--spec-engine=my_engine:Nothing"], "my_engine.py) has no 'Nothing'"),
    (["--spec-engine=my_engine:Mine.name"], "cannot be called: it is a str"),
    (["--spec-engine=my_engine:one_argument"], "is called with the run's settings and the pair"),
    (["--spec-engine=my_engine:Strict", "--spec-engine-option=sped=3"], "did you mean 'speed'?"),
    (["--spec-engine=no_such_module:Mine"], "there is no module 'no_such_module', neither inst"),
    (["--spec-engine=syntax_error:Mine"], "SyntaxError"),
    (["--spec-engine=needs_another:Mine"], "No module named 'surely_absent' (needs_another.py, l"),
    (["--spec-engine=reference", "--spec-engine-option=a=b"], "has no settings of its own"),
    (["--spec-engine=openai"], "--spec-engine openai needs --spec-engine-option url="),
    (
        ["--spec-engine=openai", "--spec-engine-option=url=http://x,api_key=SURELY_ABSENT"],
        "api_key=SURELY_ABSENT: there is no such environment variable",
    ),
    (
        ["--spec-engine=transformers-lookup", "--spec-engine-option=ngrams=2"],
        "unknown value 'ngrams'; did you mean 'ngram'?",
    ),
    (
        ["--report", "--spec-against=engine=transformers-lookup,option.ngrams=2"],
        "unknown value 'ngrams'; did you mean 'ngram'?",
    ),
]


@pytest.mark.parametrize(("options", "message"), UNUSABLE)
def test_an_engine_that_cannot_be_used_is_refused_once_before_anything(
    mine, run, options, message, monkeypatch
):
    mine.makepyfile(syntax_error="def broken(:\n", needs_another="import surely_absent\n")
    monkeypatch.setattr("draftproof.models.loading.load_pair", None)
    result = run(*options)
    assert result.ret == USAGE_ERROR
    said = result.stderr.str() + result.stdout.str()
    assert said.count(message) == 1
    assert "test_letters" not in said


def test_under_xdist_it_is_refused_once_too(mine, pair):
    mine.makepyfile(test_letters=SUITE)
    result = mine.runpytest_subprocess(
        *pair, "-n2", "--spec-engine=transformers-lookup", "--spec-engine-option=ngrams=2"
    )
    assert result.ret == USAGE_ERROR
    assert (result.stderr.str() + result.stdout.str()).count("unknown value 'ngrams'") == 1


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_an_engine_that_cannot_be_made_ends_the_run_once(mine, pair, workers):
    """Only its constructor knows: models are loaded by then, and no case can be measured."""
    mine.makepyfile(test_letters=SUITE)
    result = mine.runpytest_subprocess(*pair, *workers, "--spec-engine=my_engine:Unmade")
    assert result.ret == USAGE_ERROR
    said = result.stderr.str() + result.stdout.str()
    assert said.count("--spec-engine my_engine:Unmade: OSError: no card (my_engine.py, line") == 1
    assert "failed" not in said


def test_a_module_in_the_current_folder_is_found(pytester, run):
    pytester.makepyfile(here_only=ENGINE)
    result = run("--spec-engine=here_only:Mine")
    result.assert_outcomes(passed=3)


def test_an_error_of_an_engine_made_of_another_is_not_called_the_others(mine, run, metrics):
    result = run(
        "--spec-engine=my_engine:Inherits",
        "--spec-engine-option=fails=letters/1",
        "--report",
        "--report-dir=out",
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*letters/1: my_engine:Inherits died: ValueError: mine alone (my_engine.py, line *"]
    )
    assert "reference died" not in result.stdout.str()
    described = json.loads((mine.path / "out" / "run.json").read_text())["models"]["engine"]
    assert described["name"] == "my_engine:Inherits"


def test_plain_outputs_of_the_judge_are_not_called_the_engines(mine, run, monkeypatch):
    """The engine does not decode plainly: what is wrong of plain outputs is not its own."""
    from draftproof.engines.reference import ReferenceEngine

    own = ReferenceEngine.plain
    monkeypatch.setattr(
        ReferenceEngine, "plain", lambda *given: replace(own(*given), stop_reason="boredom")
    )
    result = run("--spec-engine=mine", "-k", "letters-0 or letters/0")
    assert "reference, plain output: the output ended for" in result.stdout.str()
    assert "mine, plain output" not in result.stdout.str()


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ([], "draftproof: engine reference, tree 3x2, rule auto, target *"),
        (["--spec-engine=mine"], "draftproof: engine mine, target *"),
    ],
)
def test_the_header_names_the_engine(mine, run, engine, said):
    result = run(*engine, "--report", "--report-dir=out", "--collect-only")
    result.stdout.fnmatch_lines([said])


@pytest.mark.parametrize("engine", ["transformers-assisted", "transformers-lookup"])
def test_the_engines_of_transformers_run_the_suite(run, metrics, engine):
    result = run(f"--spec-engine={engine}", "--report", "--report-dir=out")
    result.assert_outcomes(passed=3)
    overall = metrics()["overall"]
    assert overall["block_efficiency"]["value"] >= 1
    assert overall["acceptance_probability"]["value"] is None
    result.stdout.fnmatch_lines(["*not available: *nodes*"])


def test_help_names_every_engine(run):
    from draftproof.engines.names import BUILT_IN

    text = " ".join(run("--help", models=False).stdout.str().split())
    assert all(name in text for name in BUILT_IN)


OWN_DRAFTER = """
import pytest
from draftproof.drafting import StaticTreeDrafter
from draftproof.shapes import KAryShape


class Mine(StaticTreeDrafter):
    def __init__(self, model):
        super().__init__(model, KAryShape(1, 2))


@pytest.fixture(scope="session")
def drafter():
    return Mine
"""


@pytest.mark.parametrize("named", [False, True])
def test_a_drafter_of_ones_own_is_run_and_named(run, pytester, monkeypatch, named):
    monkeypatch.syspath_prepend(pytester.path)
    module = f"own_drafter_{named}"
    pytester.makepyfile(**{module: OWN_DRAFTER})
    pytester.makeconftest("" if named else f"from {module} import drafter")
    options = [f"--spec-drafter={module}:Mine"] if named else []
    run("--report", "--report-dir=out", *options).assert_outcomes(passed=3)
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    assert described["models"]["engine"]["drafter"] == f"{module}:Mine"
    summary = (pytester.path / "out" / "summary.md").read_text()
    assert f"drafter {module}:Mine" in summary
    assert "tree 3x2" not in summary
    figures = json.loads((pytester.path / "out" / "metrics.json").read_text())["overall"]
    assert figures["nodes"] == 2 * figures["steps"]
