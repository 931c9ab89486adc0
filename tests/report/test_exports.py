"""What other programs are given: tables, OpenMetrics, a badge, annotations, loggers, schemas."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_tools import make_source

from draftproof.errors import UsageError
from draftproof.report.export import loggers
from draftproof.report.export.badge import GREEN, GREY, RED, YELLOW, badge_svg, run_badge
from draftproof.report.export.github import (
    MOST_SUMMARY_BYTES,
    Annotation,
    add_summary,
    run_annotations,
)
from draftproof.report.export.openmetrics import openmetrics_text
from draftproof.report.export.schema import SCHEMAS, schema_text
from draftproof.report.export.tables import all_tables, csv_text, tables_document
from draftproof.report.metrics_json import metrics_document
from draftproof.trace import CaseRecord, Verdict

ODD = 'co"de\\ =1+1\n, \u2028 ü'


@pytest.fixture(scope="module")
def source(make_cases, run_facts):
    """A whole run of another pair than the toy one."""
    models = {role: {"name": f"{role}-model"} for role in ("target", "draft")}
    data = {domain: {"prompts": 3, "available": 3} for domain in ("code", "math", "logic", "chat")}
    config = {**run_facts.config, "target": "t", "draft": "d"}
    run = replace(run_facts, models=models, data=data, config=config)
    return make_source(run, make_cases(prompts=12), resamples=100)


def changed(source, *, cases=None, **facts):
    """The source with other cases or facts of the run, and the same figures of the rest."""
    complete = facts.pop("complete", True)
    run = replace(source.run, **facts)
    return make_source(run, list(cases or source.cases), resamples=100, complete=complete)


def with_verdict(source, verdict, message):
    first, *rest = source.cases
    return changed(source, cases=[replace(first, verdict=verdict, message=message), *rest])


def validator(name):
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, of the test extra")
    schema = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def assert_valid(name, values):
    errors = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator(name).iter_errors(json.loads(json.dumps(values)))
    ]
    assert errors == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one_and_refuses_what_it_does_not_describe(name):
    found = validator(name)
    assert not found.is_valid({})
    assert not found.is_valid([])


def test_tables_and_metrics_are_as_their_schemas_say(source):
    document = tables_document(source)
    assert_valid("tables", document)
    assert_valid(
        "metrics", metrics_document(source.summary, source.study, ["a note"], source.cases)
    )
    # The schema is no empty one.
    document["tables"]["figures"][0]["vale"] = 1
    assert not validator("tables").is_valid(document)


def test_tables_of_a_run_in_which_everything_failed_are_valid_too(source):
    cases = [
        CaseRecord(case_id=f"x/{n}", domain="code", prompt_tokens=0, verdict=Verdict.ERROR)
        for n in range(3)
    ]
    assert_valid("tables", tables_document(changed(source, cases=cases)))


def test_every_value_of_the_metrics_is_in_a_table(source):
    tables = {table.name: table for table in all_tables(source)}
    metrics = metrics_document(source.summary, source.study)
    rows = {(row["domain"], row["figure"]): row for row in tables["figures"].as_objects()}
    for domain, group in (*metrics["domains"].items(), ("overall", metrics["overall"])):
        for name in group["prompt_means"]:
            for end in ("value", "low", "high", "n"):
                assert rows[domain, name][end] == group[name][end]
    assert len(tables["cases"].rows) == 12
    assert {"chart-accepted-lengths", "depths", "verdicts", "prompts"} <= set(tables)


def test_csv_is_read_back_value_for_value(source):
    first, *rest = source.cases
    odd = changed(source, cases=[replace(first, case_id=ODD, domain=ODD), *rest])
    for table in all_tables(odd):
        read = list(csv.reader(io.StringIO(csv_text(table), newline="")))
        assert tuple(read[0]) == table.columns
        assert read[1:] == [["" if v is None else str(v) for v in row] for row in table.rows]
    cases = next(table for table in all_tables(odd) if table.name == "cases")
    assert ODD in [row[0] for row in cases.rows]


def test_open_metrics_is_what_prometheus_own_parser_reads(source):
    parser = pytest.importorskip(
        "prometheus_client.openmetrics.parser", reason="needs prometheus-client, of the test extra"
    )
    first, *rest = source.cases
    odd = changed(source, cases=[replace(first, domain=ODD), *rest], name='na"me\\\n')
    families = {
        family.name: family
        for family in parser.text_string_to_metric_families(openmetrics_text(odd))
    }
    estimates = {**odd.summary.domains, "overall": odd.summary.overall}
    samples = {s.labels["domain"]: s.value for s in families["draftproof_block_efficiency"].samples}
    assert samples == {
        domain: group.metrics["block_efficiency"].value for domain, group in estimates.items()
    }
    assert ODD in samples
    assert families["draftproof_run"].samples[0].labels["name"] == 'na"me\\\n'
    lows = families["draftproof_block_efficiency_low"].samples
    assert all(math.isfinite(sample.value) for sample in lows)
    [complete] = families["draftproof_complete"].samples
    assert complete.value == 1
    cases = families["draftproof_cases"].samples
    assert sum(s.value for s in cases if s.labels["domain"] == "overall") == 12


def test_what_cannot_be_estimated_is_no_sample(source):
    case = CaseRecord(case_id="x/0", domain="code", prompt_tokens=0, verdict=Verdict.ERROR)
    text = openmetrics_text(changed(source, cases=[case], started="yesterday"))
    assert "nan" not in text.lower()
    assert "draftproof_block_efficiency" not in text
    assert text.endswith("# EOF\n")


def test_a_whole_lossless_run_has_a_green_badge(source):
    value = source.summary.overall.metrics["block_efficiency"].value
    assert run_badge(source) == ("speculation", f"block efficiency {value:.2f}", GREEN)
    code = source.summary.domains["code"].metrics["accepted_length"].value
    badge = run_badge(source, figure="accepted_length@code")
    assert badge.text == f"accepted length in code {code:.2f}"


@pytest.mark.parametrize(
    ("make", "colour", "says"),
    [
        (lambda s: (changed(s, complete=False), None), GREY, "partial run"),
        (
            lambda s: (changed(s, data={"code": {"prompts": 3, "available": 164}}), None),
            GREY,
            "12 of 173 prompts",
        ),
        (lambda s: (with_verdict(s, Verdict.ERROR, "died"), None), YELLOW, "1 in error · 11 of 12"),
        (lambda s: (with_verdict(s, Verdict.ALGORITHMIC, "x"), None), RED, "not lossless"),
        (lambda s: (s, {"outcome": "fail"}), RED, "gate failed"),
        (lambda s: (s, {"outcome": "inconclusive"}), YELLOW, "gate inconclusive"),
        (lambda s: (s, {"outcome": "pass"}), GREEN, "block efficiency"),
        (
            lambda s: (changed(s, config={**s.run.config, "draft": "builtin"}, models={}), None),
            GREEN,
            "toy pair",
        ),
        (lambda s: (changed(s, law_test={"verdict": "output differs"}), None), RED, "not lossless"),
    ],
)
def test_the_badge_says_what_the_figure_is_not(source, make, colour, says):
    found = run_badge(*make(source))
    assert found.colour == colour
    assert says in found.text


def test_the_badge_is_svg_that_asks_for_nothing_and_whose_text_is_text(source):
    odd = changed(source, cases=[replace(case, domain="<b>&\"'") for case in source.cases])
    svg = badge_svg(run_badge(odd, figure="block_efficiency@<b>&\"'"))
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "in <b>&\"'" in texts[1]
    assert not re.search(r"href|url\((?!#r)|<script|<image", svg)


def test_a_badge_of_nothing_is_refused(source):
    with pytest.raises(UsageError, match="did you mean 'block_efficiency'"):
        run_badge(source, figure="block_eficiency")
    with pytest.raises(UsageError, match="did you mean 'chat'"):
        run_badge(source, figure="speedup@chatt")


def unescaped(text):
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, character)
    return text


@settings(max_examples=50)
@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_ends_an_annotation_or_begins_another(message, title):
    line = str(Annotation("error", title, message))
    assert len(line.splitlines()) == 1
    assert "\n" not in line
    assert "\r" not in line
    properties, _, data = line.removeprefix("::error ").partition("::")
    assert "," not in properties
    assert properties.count(":") == 0
    if message.isprintable():
        assert unescaped(data) == message


INJECTION = "x\n::set-env name=PATH::/evil\r\n::error::no %0A::warning::\x1b[31m"


def test_failures_gates_and_notes_are_annotations(source):
    first, second, *rest = source.cases
    cases = [
        replace(first, verdict=Verdict.ALGORITHMIC, message=INJECTION),
        replace(second, verdict=Verdict.ERROR, message="died"),
        *rest,
    ]
    gate = {
        "gate": "acceptance_rate:-0.02", "scope": "code", "outcome": "fail", "before": 0.5,
        "now": 0.4, "change": -0.1, "low": None, "high": -0.05, "reason": INJECTION,
    }  # fmt: skip
    gates = [gate, {**gate, "outcome": "inconclusive"}, {**gate, "outcome": "pass"}]
    lines = [str(each) for each in run_annotations(changed(source, cases=cases), {"gates": gates})]
    text = "\n".join(lines)
    assert len(text.splitlines()) == len(lines)
    assert all(re.match(r"::(error|warning) title=draftproof", line) for line in lines)
    assert "\x1b" not in text
    assert sum(line.startswith("::error") for line in lines) == 3
    assert next(line for line in lines if "acceptance_rate:-0.02 in code" in line).startswith(
        "::error title=draftproof%3A gate fail::acceptance_rate:-0.02 in code (before 0.5, now 0.4"
    )
    assert any(line.startswith("::warning") and "1 ended in an error" in line for line in lines)


def test_a_run_without_a_fault_has_no_annotation(source):
    assert run_annotations(source, {"gates": [{"gate": "x", "outcome": "pass"}]}) == []


def test_as_many_annotations_as_are_shown(source):
    cases = [replace(case, verdict=Verdict.ALGORITHMIC, message="x") for case in source.cases]
    found = run_annotations(changed(source, cases=cases))
    errors = [each for each in found if each.kind == "error"]
    assert len(errors) == 10
    assert errors[-1].message == "3 more: see the report"


def test_the_summary_is_added_to_and_never_too_long_to_be_shown(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("# before\n")
    variables = {"GITHUB_STEP_SUMMARY": str(path)}
    assert add_summary(["# one", "two"], variables) == path
    assert path.read_text() == "# before\n# one\n\ntwo\n"
    add_summary(["ü" * 99 + "\n"] * 9999, variables)
    assert path.stat().st_size <= MOST_SUMMARY_BYTES
    assert "The rest is left out" in path.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY is not set"):
        add_summary(["x"], {})


class Recorder:
    """Stands for a client's module: keeps every call with what it was given."""

    def __init__(self):
        self.calls = []
        self.info = SimpleNamespace(run_id="run-7")
        self.id = "run-8"
        self.summary = {}

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return self

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def given(self, name):
        return [arguments[0] if arguments else None for n, arguments, _ in self.calls if n == name]


def test_mlflow_is_given_figures_settings_and_files(source, tmp_path):
    (tmp_path / "summary.md").write_text("x")
    client = Recorder()
    first, *rest = source.cases
    odd = changed(source, cases=[replace(first, domain="a(b"), *rest])
    assert loggers.log_to_mlflow(odd, tmp_path, "nightly", client) == "run-7"
    [metrics], [params] = client.given("log_metrics"), client.given("log_params")
    expected = odd.summary.overall.metrics["block_efficiency"]
    assert metrics["overall/block_efficiency"] == expected.value
    whole = loggers.figures(source)["overall/block_efficiency.low"]
    assert whole == source.summary.overall.metrics["block_efficiency"].low
    assert "a_x28_b/block_efficiency" in metrics
    assert all(re.fullmatch(r"[\w./: -]+", name) for name in (*metrics, *params))
    assert params["target.name"] == "target-model"
    assert client.given("set_experiment") == ["nightly"]
    assert client.given("log_artifact") == [str(tmp_path / "summary.md")]


def test_wandb_is_given_figures_tables_and_files(source, tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    client = Recorder()
    assert loggers.log_to_wandb(source, tmp_path, "speculation", client) == "run-8"
    value = source.summary.overall.metrics["block_efficiency"].value
    assert client.summary["overall/block_efficiency"] == value
    assert client.given("add_file") == [str(tmp_path / "metrics.json")]
    assert [name for name, *_ in client.calls][-1] == "finish"
    assert {"figures", "cases"} <= {name for given in client.given("log") for name in given}


@pytest.mark.parametrize("log", [loggers.log_to_mlflow, loggers.log_to_wandb])
def test_a_client_that_is_missing_is_said(source, tmp_path, log, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(loggers, "import_module", absent)
    with pytest.raises(UsageError, match="pip install 'draftproof"):
        log(source, tmp_path, "x")
