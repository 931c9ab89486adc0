"""``--spec-budget``: each domain has its own draft model and tree."""

import json
import shutil

import pyarrow.parquet
import pytest

SUITE = """
import pytest

from draftproof import Prompt

PROMPTS = [
    Prompt(prompt_id=f"{domain}/{i}", domain=domain, text=text)
    for i, text in enumerate(["a b c", "c b a"])
    for domain in ("one", "two", "three")
]
pytestmark = pytest.mark.suite("one", prompts=PROMPTS)


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
"""


@pytest.fixture
def budget(pytester, pair):
    """Writes a budget of the tiny pair, with some fields changed."""
    pytester.makepyfile(test_letters=SUITE)
    target, draft, _ = (option.partition("=")[2] for option in pair)

    def write(**changes):
        values = {
            "kind": "draftproof budget",
            "schema_version": 1,
            "target": target,
            "temperature": 0.0,
            "domains": {
                "one": {"draft": draft, "tree": "chain:3"},
                "two": {"draft": target, "tree": "static:[[0],[1]]"},
            },
            "otherwise": {"draft": "none", "tree": "none"},
        }
        (pytester.path / "budget.json").write_text(json.dumps({**values, **changes}))
        return [pair[0], pair[2], "--spec-budget=budget.json"]

    return write


def nodes(pytester, folder):
    """Nodes of every step, by domain."""
    steps = pyarrow.parquet.read_table(pytester.path / folder / "steps.parquet").to_pylist()
    found = {}
    for step in steps:
        found.setdefault(step["case_id"].partition("/")[0], set()).add(step["nodes"])
    return found


@pytest.mark.parametrize("batch", [1, 4])
def test_each_domain_has_its_own_tree_and_draft_model(run, pytester, budget, batch):
    result = run(
        *budget(),
        f"--spec-batch={batch}",
        "--report",
        "--report-dir=out",
        "--spec-check-state=0",
        models=False,
    )
    result.assert_outcomes(passed=6)
    found = nodes(pytester, "out")
    assert found["one"] <= {0, 1, 2, 3}
    assert 3 in found["one"]
    assert found["two"] <= {0, 2}
    assert found["three"] == {0}
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    assert "one: " in described["models"]["draft"]["name"]
    assert described["config"]["budget"][-1] == ["*", "none", "none"]
    # The target drafts for itself in the second domain: everything is accepted.
    metrics = json.loads((pytester.path / "out" / "metrics.json").read_text())["domains"]
    assert metrics["two"]["accepted_length"]["value"] == 1
    summary = (pytester.path / "out" / "summary.md").read_text()
    assert "tree by domain" in summary


def test_the_hash_is_of_all_its_draft_models(run, pytester, pair, budget):
    target, draft, _ = (option.partition("=")[2] for option in pair)

    def drafted_by(own):
        domains = {"three": {"draft": draft, "tree": "chain:1"}, "one": own}
        options = [*budget(domains=domains), "--report-dir=out", "--spec-check-state=0"]
        run(*options, "-k", "three", "--report", models=False).assert_outcomes(
            passed=2, deselected=4
        )
        return json.loads((pytester.path / "out" / "run.json").read_text())["models"]["draft"]

    shutil.copytree(draft, pytester.path / "other")
    first = drafted_by({"draft": "other", "tree": "chain:2"})
    assert drafted_by({"draft": "other", "tree": "chain:2"}) == first
    shutil.rmtree(pytester.path / "other")
    shutil.copytree(target, pytester.path / "other")
    later = drafted_by({"draft": "other", "tree": "chain:2"})
    assert (later["name"], later["sha256"] == first["sha256"]) == (first["name"], False)


def test_a_draft_model_that_is_not_there_ends_the_run_before_it_begins(run, pytester, budget):
    domains = {"three": {"draft": "./nowhere", "tree": "chain:1"}}
    result = run(*budget(domains=domains), "--report", "--report-dir=out", models=False)
    assert result.ret == 4
    said = result.stdout.str() + result.stderr.str()
    assert "--spec-budget, the domain three, the draft model: there is no folder ./nowhere" in said
    assert "--spec-draft" not in said
    assert "passed" not in result.stdout.str()


def test_a_rule_is_held_against_each_domains_own_tree(run, pytester, budget):
    """And not against the tree that runs without a budget have."""
    options = ["--spec-temperature=1", "--spec-rule=rejection", "--spec-check-state=0"]
    result = run(*budget(temperature=1.0), *options, models=False)
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["*--spec-budget, the domain two: --spec-rule rejection*not valid for --spec-tree static*"]
    )
    values = json.loads((pytester.path / "budget.json").read_text())
    chains = {"one": values["domains"]["one"]}
    result = run(*budget(temperature=1.0, domains=chains), *options, models=False)
    result.assert_outcomes(passed=6)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"target": "other"}, [], "was made for the target 'other'"),
        ({"temperature": 1.0}, [], "was made for temperature 1, and this run's is 0"),
        ({"domains": {}}, ["--spec-tree=3x2"], "leave --spec-tree out"),
        ({"domains": {}}, ["--spec-draft=x"], "leave --spec-draft out"),
        ({"kind": "other"}, [], "is not a budget file"),
        ({"domains": {}}, ["--spec-engine=openai"], "has drafts of its own"),
    ],
)
def test_a_budget_that_cannot_be_used_says_why(run, budget, changes, options, message):
    result = run(*budget(**changes), *options, models=False)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*--spec-budget*{message}*"])


def test_a_file_that_is_not_there(run, pytester, pair):
    result = run("--spec-budget=nowhere.json")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*leave --spec-draft out*"])
    result = run(pair[0], "--spec-budget=nowhere.json", models=False)
    result.stderr.fnmatch_lines(["*cannot read nowhere.json*draftproof advise --budget*"])


def promised(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_a_report_says_what_was_promised_beside_what_was_measured(run, pytester, budget):
    promises = {
        # The target drafts for itself there: 3 tokens a step, whatever the text.
        "two": {
            "block_efficiency": promised(2.0),
            "speedup": promised(1000.0),
            "off_policy": "off-policy: 3 texts of log.jsonl",
        },
        "one": {"block_efficiency": promised(0.2), "speedup": {**promised(1.0), "low": None}},
        "elsewhere": {"block_efficiency": promised(1.0), "speedup": promised(1.0)},
    }
    options = ["--report", "--spec-check-state=0"]
    texts = ["a b c", "c b a", "b a c", "c c a", "a a b", "b c b"]
    given = budget(promises=promises)
    pytester.makepyfile(test_letters=SUITE.replace('["a b c", "c b a"]', repr(texts)))
    run(*given, *options, "--report-dir=out", models=False).assert_outcomes(passed=18)
    summary = (pytester.path / "out" / "summary.md").read_text()
    rows = {
        tuple(cells[:2]): cells[2:]
        for line in summary.partition("## Promised and measured")[2].splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
    }
    metrics = json.loads((pytester.path / "out" / "metrics.json").read_text())["domains"]
    measured = metrics["two"]["block_efficiency"]["value"]
    assert rows["two", "block efficiency"][0] == "2.00 [1.90–2.10]"
    assert rows["two", "block efficiency"][1].startswith(f"{measured:.2f}")
    assert rows["two", "block efficiency"][2] == f"{measured / 2 - 1:+.1%}"
    assert rows["one", "speedup"][0] == "1.00 [–]"
    assert not any("elsewhere" in key for key in rows)
    assert "promise was not kept: two: speedup" in summary
    assert "promise was exceeded: one: block efficiency" in summary
    assert "the budget's promise is off-policy: 3 texts of log.jsonl: it was made for" in summary
    page = (pytester.path / "out" / "report.html").read_text()
    assert "Promised and measured" in page
    # What was promised moves no number: it is no setting that runs differ in.
    before = json.loads((pytester.path / "out" / "run.json").read_text())["fingerprint"]
    given = budget()
    pytester.makepyfile(test_letters=SUITE.replace('["a b c", "c b a"]', repr(texts)))
    run(*given, *options, "--report-dir=other", models=False).assert_outcomes(passed=18)
    assert json.loads((pytester.path / "other" / "run.json").read_text())["fingerprint"] == before
    assert "Promised" not in (pytester.path / "other" / "summary.md").read_text()


@pytest.mark.parametrize("wrong", [{"value": "much"}, {"value": float("nan")}, None, {}])
def test_promises_that_are_no_figures_are_refused(run, budget, wrong):
    figure = {**promised(1.0), **wrong} if wrong else wrong
    promises = {"one": {"block_efficiency": promised(1.0), "speedup": figure}}
    result = run(*budget(promises=promises), "--report", "--report-dir=out", models=False)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*promises: one: has block_efficiency and speedup*"])
