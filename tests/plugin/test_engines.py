"""``--spec-engine``: built-in engines, registered ones, one's own; and what reports say of them."""

import json

import pytest

USAGE_ERROR = 4

ENGINE = """
from draftproof.engines.protocol import Capability, Counts, Generation
from draftproof.engines.reference import ReferenceEngine


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
    result.stdout.fnmatch_lines(["*letters/1: mine died: ValueError: no more memory on the card*"])


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spec-engine=broken"], "--spec-engine broken: cannot be imported"),
        (["--spec-engine=my_engine:Nothing"], "--spec-engine my_engine:Nothing: cannot be imp"),
        (["--spec-engine=my_engine:ENGINE"], "--spec-engine my_engine:ENGINE: cannot be imp"),
        (["--spec-engine=builtins:dict"], "--spec-engine builtins:dict: TypeError"),
        (["--spec-engine=reference", "--spec-engine-option=a=b"], "has no settings of its own"),
        (["--spec-engine=openai"], "--spec-engine openai needs --spec-engine-option url="),
        (
            ["--spec-engine=transformers-lookup", "--spec-engine-option=ngrams=2"],
            "unknown value 'ngrams'; did you mean 'ngram'?",
        ),
    ],
)
def test_an_engine_that_cannot_be_made_fails_each_case(mine, run, options, message):
    result = run(*options)
    result.assert_outcomes(failed=3)
    assert message in result.stdout.str()


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
