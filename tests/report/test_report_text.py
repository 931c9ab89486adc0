"""The terminal's tables, ``summary.md`` and ``metrics.json``: golden text of figures given by hand.

The figures are not computed here, so that nothing but a change of layout can move the text.
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from draftproof.data.prompt import DOMAINS
from draftproof.report import (
    PAGE_FILE,
    failure_lines,
    metrics_document,
    terminal_report,
    write_report,
)
from draftproof.report.context import coupling_lines
from draftproof.report.labels import DEPTH_LABELS, METRIC_LABELS, VERDICT_LABELS
from draftproof.report.markdown import markdown_report
from draftproof.report.metrics_json import strict_json
from draftproof.report.study_json import study_json
from draftproof.report.tables import number
from draftproof.report.writing import METRICS_FILE, SUMMARY_FILE
from draftproof.statistics import (
    DEPTH_METRICS,
    METRICS,
    DepthSummary,
    DomainOrder,
    Estimate,
    Finding,
    FindingVerdict,
    GroupSummary,
    PositionProfile,
    PositionRange,
    Resampling,
    RunSummary,
    Study,
    TaskOrDepth,
    VerdictCounts,
    WaldTest,
    coupling,
)
from draftproof.statistics.findings import Part
from draftproof.statistics.metrics import STUDY_LENGTH
from draftproof.trace import CaseRecord, Verdict

NAN = float("nan")
ONE_PROMPT = "an interval needs 3 prompts with this figure, and 1 has it"


def estimate(value, half, n, design_effect=NAN):
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=n,
        design_effect=design_effect,
        effective_n=n / design_effect,
    )


def group(prompts, rates, lengths, verdicts, reason=""):
    names = list(METRIC_LABELS)
    metrics = {
        name: Estimate(value=value, low=NAN, high=NAN, n=9, reason=reason)
        if reason
        else estimate(value, half, 9, design_effect=2.5)
        for name, value, half in zip(
            names,
            [rates[0], lengths[0], *rates[1:], *lengths[1:]],
            [0.012, 0.1, *[0.012] * 3, *[0.1] * 3],
            strict=True,
        )
    }
    profile = (
        DepthSummary(
            depth=1,
            nodes=240,
            metrics={metric.name: estimate(0.5, 0.06, 240) for metric in DEPTH_METRICS},
        ),
        DepthSummary(
            depth=2,
            nodes=480,
            metrics={
                **{metric.name: estimate(0.25, 0.06, 480) for metric in DEPTH_METRICS},
                "conditional_acceptance": Estimate(
                    value=NAN, low=NAN, high=NAN, n=0, reason="no step got there"
                ),
            },
        ),
    )
    return GroupSummary(
        prompts=prompts,
        steps=prompts * 120,
        nodes=prompts * 720,
        metrics=metrics,
        depth_profile=profile,
        verdicts=verdicts,
        # Two figures whose prompts differ: one by too little to be said.
        prompt_means={
            **{name: replace(metric, n=prompts) for name, metric in metrics.items()},
            "greedy_match": estimate(metrics["greedy_match"].value + 0.005, 0.02, prompts),
            "accepted_length": estimate(metrics["accepted_length"].value + 0.2, 0.2, prompts),
        },
    )


@pytest.fixture
def found():
    """What a run says on the study's questions, by hand."""
    order = ("chat", "code")
    orders = [
        DomainOrder(
            metric=metric,
            domains=order,
            above={order: 0.875, order[::-1]: 0.125},
            probabilities=((order, 0.875), (order[::-1], 0.125)),
        )
        for metric in ("acceptance_probability", "draft_entropy")
    ]
    unknown = Estimate(value=NAN, low=NAN, high=NAN, n=0, reason="no entropy")
    parts = ("domain", "depth", "domain_given_depth", "depth_given_domain")
    return Study(
        draft_entropy={"code": estimate(1.5, 0.25, 9), "chat": unknown},
        entropy_correlation={"code": estimate(-0.25, 0.125, 9), "chat": unknown},
        positions=PositionProfile(
            ranges=(
                PositionRange(first=1, last=16, acceptance_probability=estimate(0.5, 0.25, 9)),
                PositionRange(first=513, last=None, acceptance_probability=estimate(0.25, 0.25, 4)),
            ),
            early=estimate(0.5, 0.25, 9),
            late=estimate(0.25, 0.25, 4),
            late_minus_early=estimate(-0.25, 0.125, 13),
        ),
        task_or_depth=TaskOrDepth(
            information=dict.fromkeys(parts, estimate(0.5, 0.25, 9)),
            deviance=dict.fromkeys(parts, estimate(0.25, 0.125, 9)),
            information_difference=estimate(0.125, 0.5, 9),
            depth_rise=estimate(0.0625, 0.03125, 9),
            wald={"domain": WaldTest(statistic=4.0, degrees=1, p_value=0.0455)},
            sentence="Task or depth is not resolved at 3 prompts.",
        ),
        acceptance_order=orders[0],
        entropy_order=orders[1],
        findings=tuple(
            Finding(
                number=number,
                claim=f"claim {number}",
                verdict=verdict,
                evidence=f"evidence {number}",
                estimates={"code": estimate(0.5, 0.25, 9)},
                parts=tuple(
                    Part(
                        claim=f"part {decides}",
                        verdict=verdict if decides else FindingVerdict.REFUTED,
                        decides=decides,
                    )
                    for decides in (True, False)
                    if number == 1
                ),
            )
            for number, verdict in enumerate(FindingVerdict, start=1)
        ),
    )


@pytest.fixture
def summary():
    return RunSummary(
        domains={
            "code": group(
                2,
                [0.538, 0.5, 0.125, 1.0],
                [0.93, 0.98, 1.25, 2.25],
                VerdictCounts(identical=1, algorithmic=1),
            ),
            "own": group(
                1,
                [0.0, 0.25, 0.125, 0.5],
                [0.0, 0.5, 0.75, 1.75],
                VerdictCounts(sampled=1, errors=1),
                reason=ONE_PROMPT,
            ),
        },
        overall=group(
            3,
            [0.5, 0.4, 0.125, 0.75],
            [0.75, 0.8, 1.0, 2.0],
            VerdictCounts(identical=1, algorithmic=1, sampled=1, errors=1),
        ),
        resampling=Resampling(resamples=10_000),
    )


@pytest.fixture
def cases():
    kinds = [("code/1", "algorithmic"), ("code/0", "identical"), ("own/0", "error")]
    return [
        CaseRecord(
            case_id=case_id,
            domain="code",
            prompt_tokens=1,
            verdict=Verdict(verdict),
            message="SECRET TEXT",
        )
        for case_id, verdict in kinds
    ]


TERMINAL = """\
domain   prompts  steps  nodes   acceptance     greedy   accepted    accepted  1st-child   accepted       block  verdicts
                                probability      match  ÷ drafted   ÷ reached   expected     length  efficiency
                                  of a node                                       length
-------  -------  -----  -----  -----------  ---------  ---------  ----------  ---------  ---------  ----------  -------------
code           2    240   1440         .538       .500       .125       1.000        .98       1.25        2.25  1 identical
                                  .526–.550  .488–.512  .113–.137  .988–1.012   .88–1.08  1.15–1.35   2.15–2.35  1 algorithmic
own            1    120    720         .000       .250       .125        .500        .50        .75        1.75  1 sampled
                                          –          –          –           –          –          –           –  1 in error
overall        3    360   2160         .500       .400       .125        .750        .80       1.00        2.00  1 identical
                                  .488–.512  .388–.412  .113–.137   .738–.762    .70–.90   .90–1.10   1.90–2.10  1 algorithmic
                                                                                                                 1 sampled
                                                                                                                 1 in error
study's expected accepted length (Σ αᵈ to depth 2, α the acceptance probability of a node): code .93 [.83–1.03], own .00
  [–], overall .75 [.65–.85]

depth  nodes   acceptance     greedy      reach  conditional
              probability      match       rate   acceptance
                of a node
-----  -----  -----------  ---------  ---------  -----------
1        240         .500       .500       .500         .500
                .440–.560  .440–.560  .440–.560    .440–.560
2        480         .250       .250       .250            –
                .190–.310  .190–.310  .190–.310

domain   nodes  design  effective  steps  design  effective
                effect     sample         effect     sample
-------  -----  ------  ---------  -----  ------  ---------
code         9     2.5          4      9     2.5          4
own          9       –          –      9       –          –
overall      9     2.5          4      9     2.5          4

Task or depth is not resolved at 3 prompts.
Domains by acceptance probability: chat > code in 87.5% of resamples.
Draft entropy and acceptance probability, Spearman's ρ: code -0.25 [-0.38, -0.12].
Acceptance probability in the second half of outputs − in the first: -0.250 [-0.375, -0.125].

The findings of the study (arXiv 2604.14682) in this run:
1. CONFIRMED IN WORDS, THE STUDY'S RANGE REFUTED: claim 1
   confirmed: part True
   refuted: part False (does not decide)
   evidence 1
2. REFUTED: claim 2
   evidence 2
3. NOT RESOLVED: claim 3
   evidence 3
The five verdicts are one family: that any of them is wrong has a chance of at most 5% (Holm's method), as far as
  intervals cover what they say.

– in own: every figure: an interval needs 3 prompts with this figure, and 1 has it
– in depth 2: conditional acceptance: no step got there
mean of prompts differs: accepted length: code 1.45 (pooled 1.25), overall 1.20 (pooled 1.00)
95% intervals: bootstrap-t over prompts, 10,000 resamples, overall within domains (with fewer than 7 prompts in one,
  from the variance over prompts). n: nodes for rates, probabilities and the study's length (reached nodes for ÷
  reached), steps for other lengths and block efficiency; metrics.json gives each.
target builtin · draft builtin · float32 on cpu · tree 3x2 · rule auto · temperature 0 · seed 7
hardware: cpu Example CPU, cores 2
versions: draftproof 0.1.0, torch 2.9.0
The built-in pair is a toy pair: these figures describe only this pair, and nothing about other models.

code: these figures are of 2 of the 3 prompts of the data: 1 ended in an error
plain decoding itself: not tried; that both ways are wrong alike is not excluded
1 case algorithmic: code/1
1 case ended in an error: own/0
"""  # noqa: E501

MARKDOWN = """\
# draftproof: nightly

target builtin · draft builtin · float32 on cpu · tree 3x2 · rule auto · temperature 0 · seed 7, started 2026-01-02T03:04:05Z.

**The built-in pair is a toy pair: these figures describe only this pair, and nothing about other models.**

## Verdicts

4 cases: 1 identical, 1 algorithmic, 1 sampled, 1 in error.

- code: these figures are of 2 of the 3 prompts of the data: 1 ended in an error
- plain decoding itself: not tried; that both ways are wrong alike is not excluded
- 1 case algorithmic: code/1
- 1 case ended in an error: own/0

## By domain

| domain | prompts | steps | nodes | acceptance probability of a node | study's expected length | greedy match | accepted ÷ drafted | accepted ÷ reached | 1st-child expected length | accepted length | block efficiency | verdicts |
| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| code | 2 | 240 | 1440 | .538 [.526–.550] | .93 [.83–1.03] | .500 [.488–.512] | .125 [.113–.137] | 1.000 [.988–1.012] | .98 [.88–1.08] | 1.25 [1.15–1.35] | 2.25 [2.15–2.35] | 1 identical, 1 algorithmic |
| own | 1 | 120 | 720 | .000 [–] | .00 [–] | .250 [–] | .125 [–] | .500 [–] | .50 [–] | .75 [–] | 1.75 [–] | 1 sampled, 1 in error |
| overall | 3 | 360 | 2160 | .500 [.488–.512] | .75 [.65–.85] | .400 [.388–.412] | .125 [.113–.137] | .750 [.738–.762] | .80 [.70–.90] | 1.00 [.90–1.10] | 2.00 [1.90–2.10] | 1 identical, 1 algorithmic, 1 sampled, 1 in error |

- – in own: every figure: an interval needs 3 prompts with this figure, and 1 has it
- – in depth 2: conditional acceptance: no step got there
- mean of prompts differs: accepted length: code 1.45 (pooled 1.25), overall 1.20 (pooled 1.00)

95% intervals: bootstrap-t over prompts, 10,000 resamples, overall within domains (with fewer than 7 prompts in one, from the variance over prompts). n: nodes for rates, probabilities and the study's length (reached nodes for ÷ reached), steps for other lengths and block efficiency; metrics.json gives each.

- Task or depth is not resolved at 3 prompts.
- Domains by acceptance probability: chat > code in 87.5% of resamples.
- Draft entropy and acceptance probability, Spearman's ρ: code -0.25 [-0.38, -0.12].
- Acceptance probability in the second half of outputs − in the first: -0.250 [-0.375, -0.125].

## Findings of the study

| finding | verdict | evidence |
| :--- | :--- | :--- |
| 1. claim 1 | confirmed in words, the study's range refuted | confirmed: part True; refuted: part False (does not decide); evidence 1 |
| 2. claim 2 | refuted | evidence 2 |
| 3. claim 3 | not resolved | evidence 3 |

- The five verdicts are one family: that any of them is wrong has a chance of at most 5% (Holm's method), as far as intervals cover what they say.

<details><summary>By depth</summary>

| depth | nodes | acceptance probability of a node | greedy match | reach rate | conditional acceptance |
| :--- | ---: | ---: | ---: | ---: | ---: |
| 1 | 240 | .500 [.440–.560] | .500 [.440–.560] | .500 [.440–.560] | .500 [.440–.560] |
| 2 | 480 | .250 [.190–.310] | .250 [.190–.310] | .250 [.190–.310] | – |

</details>

<details><summary>Effective sample size</summary>

| domain | nodes | design effect | effective sample | steps | design effect | effective sample |
| :--- | ---: | ---: | ---: | ---: | ---: | ---: |
| code | 9 | 2.5 | 4 | 9 | 2.5 | 4 |
| own | 9 | – | – | 9 | – | – |
| overall | 9 | 2.5 | 4 | 9 | 2.5 | 4 |

</details>

<details><summary>Environment</summary>

- target: name builtin, dtype float32, device cpu
- draft: name builtin, dtype float32, device cpu
- hardware: cpu Example CPU, cores 2
- versions: draftproof 0.1.0, torch 2.9.0
- fingerprint: 0123456789abcdef
- command: ``pytest suites/ --report -k 'code or `math`'``

</details>
"""  # noqa: E501


def test_terminal_report_is_the_golden_text(summary, cases, run_info, found):
    assert terminal_report(run_info, summary, cases, found) + "\n" == TERMINAL


def test_markdown_report_is_the_golden_text(summary, cases, run_info, found):
    assert markdown_report(run_info, summary, cases, found) == MARKDOWN


def test_findings_have_a_section_only_where_there_are_some(summary, cases, run_info, found):
    without = replace(found, findings=())
    assert "Findings" not in markdown_report(run_info, summary, cases, without)
    assert "findings" not in terminal_report(run_info, summary, cases, without)
    assert "Task or depth" not in markdown_report(run_info, summary, cases)


def test_what_is_not_resolved_or_not_estimable_is_no_figure(found):
    document = json.loads(strict_json(study_json(found)), parse_constant=pytest.fail)
    assert document["entropy_correlation"]["chat"] == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "reason": "no entropy",
    }
    assert [finding["verdict"] for finding in document["findings"]] == [
        "confirmed",
        "refuted",
        "not resolved",
    ]
    assert list(document) == [
        "draft_entropy",
        "entropy_correlation",
        "position_profile",
        "task_or_depth",
        "domain_order",
        "findings",
        "familywise_error",
    ]
    assert "findings" not in study_json(replace(found, findings=()))


def test_tables_fit_a_terminal_at_the_size_of_the_study(summary, run_info):
    many = VerdictCounts(identical=50)
    rates, lengths = [0.538, 0.5, 0.125, 0.9], [0.93, 0.98, 1.25, 2.25]
    group_of_50 = replace(group(50, rates, lengths, many), steps=3563, nodes=24_942)
    study = replace(
        summary,
        domains=dict.fromkeys(DOMAINS, group_of_50),
        overall=replace(group_of_50, nodes=99_768, verdicts=VerdictCounts(identical=200)),
    )
    assert max(len(line) for line in terminal_report(run_info, study, []).splitlines()) <= 125


def test_the_toy_sentence_stands_with_figures_of_the_built_in_pair_only(summary, run_info):
    for target, draft, toy in [
        ("builtin", "some/draft", True),
        ("some/target", "builtin", True),
        ("some/target", "some/draft", False),
    ]:
        run = replace(run_info, config={**run_info.config, "target": target, "draft": draft})
        for text in (terminal_report(run, summary, []), markdown_report(run, summary, [])):
            assert ("toy pair" in text) is toy


def test_models_are_named_as_resolved_and_settings_that_are_not_known_are_said_to_be(
    summary, run_info
):
    models = {
        "target": {"name": "big", "dtype": "bfloat16", "device": "cuda"},
        "draft": {"name": "small", "dtype": "float16", "device": "cuda"},
    }
    text = terminal_report(replace(run_info, models=models), summary, [])
    assert "target big · draft small · bfloat16/float16 on cuda · tree 3x2" in text
    bare = terminal_report(
        replace(run_info, models={}, config={}, hardware={}, versions={}), summary, []
    )
    assert "target not recorded" in bare
    assert "hardware: not recorded" in bare


def test_prompts_and_messages_stay_out_of_the_text(tmp_path, make_cases, run_info):
    cases = [replace(case, message="SECRET TEXT") for case in make_cases()]
    cases[0] = replace(cases[0], verdict=Verdict.ALGORITHMIC)
    write_report(tmp_path, run_info, cases)
    for name in ("summary.md", "metrics.json", "run.json"):
        assert "SECRET" not in (tmp_path / name).read_text(encoding="utf-8")


def test_markdown_cannot_be_broken_by_names(summary, run_info):
    run = replace(run_info, name="a|b\n# <b>*", command=("x", "`|`", "a\nb"))
    odd = replace(summary, domains={"a|b": summary.domains["code"]})
    text = markdown_report(run, odd, [])
    assert text.startswith("# draftproof: a\\|b # \\<b>\\*\n")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in table[:4]}) == 1
    assert "\n- command: ``x '`|`' 'a b'``\n" in text


def test_failure_lines_name_the_first_cases():
    def cases(count, verdict):
        return [
            CaseRecord(case_id=f"c{i}", domain="code", prompt_tokens=1, verdict=verdict)
            for i in range(count)
        ]

    assert failure_lines(cases(3, Verdict.IDENTICAL) + cases(3, Verdict.SAMPLED)) == []
    assert failure_lines(cases(7, Verdict.ALGORITHMIC) + cases(1, Verdict.ERROR)) == [
        "7 cases algorithmic: c0, c1, c2, c3, c4 and 2 more",
        "1 case ended in an error: c0",
    ]


def test_every_figure_has_a_label():
    study = METRIC_LABELS.keys() - {metric.name for metric in METRICS}
    assert study == {STUDY_LENGTH}
    assert [name for name in METRIC_LABELS if name != STUDY_LENGTH] == [
        metric.name for metric in METRICS
    ]
    assert list(DEPTH_LABELS) == [metric.name for metric in DEPTH_METRICS]
    assert list(VERDICT_LABELS) == list(VerdictCounts.__dataclass_fields__)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.0, 3, ".000"),
        (0.9996, 3, "1.000"),
        (0.5, 3, ".500"),
        (12.345, 2, "12.35"),
        (NAN, 3, "–"),
    ],
)
def test_numbers(value, decimals, text):
    assert number(value, decimals) == text


@pytest.fixture
def drawn_chains(run_info, make_cases):
    """A run of chains at temperature 1: the first-child paths of the synthetic trees."""
    chain = np.array([0, 2, 6])
    cases = []
    for case in make_cases(prompts=12, steps=5):
        rows = (np.arange(5)[:, None] * 14 + chain).ravel()
        nodes = {name: column[rows] for name, column in case.nodes.items()}
        nodes["node"] = np.tile(np.arange(3), 5).astype(case.nodes["node"].dtype)
        nodes["parent"] = nodes["node"].astype(case.nodes["parent"].dtype) - 1
        steps = {**case.steps, "nodes": np.full_like(case.steps["nodes"], 3)}
        cases.append(replace(case, steps=steps, nodes=nodes, verdict=Verdict.SAMPLED))
    config = {**run_info.config, "tree": "chain:3", "sampling": {"temperature": 1.0}}
    return replace(run_info, config=config), cases


def test_drawn_chains_are_told_with_the_bound_on_what_a_rule_can_keep(drawn_chains, tmp_path):
    run, cases = drawn_chains
    report = write_report(tmp_path, run, cases)
    found = json.loads((tmp_path / METRICS_FILE).read_text())["coupling"]
    assert list(found) == ["code", "math", "logic", "chat", "overall"]
    in_code = [case.nodes for case in cases if case.domain == "code"]
    reached = np.concatenate([nodes["overlap"][nodes["reached"]] for nodes in in_code])
    assert found["code"]["overlap"]["value"] == pytest.approx(reached.mean())
    assert found["code"]["overlap"]["n"] == len(reached)
    code, overall = found["code"]["overlap"], found["overall"]
    told = f"coins: code {code['value']:.3f} [{code['low']:.3f}, {code['high']:.3f}], math "
    bound = f"{overall['kept']['value']:.3f} kept; no rule with the target's law keeps more"
    page = html.unescape((tmp_path / PAGE_FILE).read_text())
    for text in (report.terminal_text, (tmp_path / SUMMARY_FILE).read_text(), page):
        plain = " ".join(text.replace("\\", "").split())
        assert told in plain
        assert bound in plain


@pytest.mark.parametrize(
    "change", [{"tree": "3x2"}, {"sampling": {"temperature": 0.0}}, {"tree": "3x1"}]
)
def test_the_bound_is_of_drawn_chains_alone(drawn_chains, change, tmp_path):
    run, cases = drawn_chains
    other = replace(run, config={**run.config, **change})
    assert (run.is_drawn_chain, other.is_drawn_chain) == (True, False)
    report = write_report(tmp_path, other, cases)
    assert "coupling" not in json.loads((tmp_path / METRICS_FILE).read_text())
    assert "than the overlap" not in report.terminal_text


def test_a_domain_without_a_reached_position_is_left_out_of_the_bounds(drawn_chains):
    _, cases = drawn_chains
    unreached = [
        replace(case, nodes={**case.nodes, "reached": np.zeros_like(case.nodes["reached"])})
        if case.domain == "math"
        else case
        for case in cases
    ]
    bounds = coupling_lines(coupling(unreached))[1]
    assert "code" in bounds
    assert "math" not in bounds
    assert coupling_lines(coupling(cases[:4])) == []


def test_what_an_engine_can_do_is_a_list_of_words(run_info, make_cases, tmp_path):
    engine = {"name": "mine", "capabilities": ["nodes", "steps"], "tokenizer_sha256": "ab" * 32}
    run = replace(run_info, models={**run_info.models, "engine": engine})
    write_report(tmp_path, run, make_cases(prompts=4))
    assert "capabilities (nodes, steps)" in (tmp_path / SUMMARY_FILE).read_text()
    page = html.unescape((tmp_path / PAGE_FILE).read_text())
    assert "<dd>nodes, steps</dd>" in page
    assert f'<dt>tokenizer content hash</dt><dd title="{"ab" * 32}">{"ab" * 8}…</dd>' in page


FIGURES = list(METRIC_LABELS)


def test_metrics_json_has_exactly_the_documented_keys(summary):
    document = metrics_document(summary)
    assert list(document) == ["schema_version", "domains", "overall", "depth_profile", "lossless"]
    assert document["schema_version"] == 3
    assert list(document["domains"]) == ["code", "own"]
    for found in (document["overall"], *document["domains"].values()):
        assert list(found) == [
            "prompts",
            "steps",
            "nodes",
            *FIGURES,
            "prompt_means",
            "depth_profile",
        ]
        for depth in found["depth_profile"]:
            assert list(depth) == ["depth", "nodes", *(metric.name for metric in DEPTH_METRICS)]
    assert document["depth_profile"] == document["overall"]["depth_profile"]
    assert document["lossless"] == {
        "cases": 4,
        "identical": 1,
        "numerical": 0,
        "algorithmic": 1,
        "sampled": 1,
        "errors": 1,
    }
    assert document["domains"]["code"]["accepted_length"] == {
        "value": 1.25,
        "low": 1.15,
        "high": 1.35,
        "n": 9,
        "design_effect": 2.5,
        "effective_n": 3.6,
    }


def test_what_is_not_estimable_is_null_with_a_reason(summary):
    document = json.loads(strict_json(metrics_document(summary)), parse_constant=pytest.fail)
    assert document["domains"]["own"]["greedy_match"] == {
        "value": 0.25,
        "low": None,
        "high": None,
        "n": 9,
        "reason": ONE_PROMPT,
    }
    assert document["depth_profile"][1]["conditional_acceptance"]["value"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json({"value": NAN})


def test_files_on_disk_are_strict_json_and_agree_with_the_report(tmp_path, make_cases, run_info):
    # One domain of three prompts, three of one.
    cases = [case for case in make_cases(prompts=12) if case.domain == "code"]
    cases += make_cases(prompts=4)[1:]
    report = write_report(tmp_path, run_info, cases)
    for name in (METRICS_FILE, "run.json"):
        json.loads((tmp_path / name).read_text(encoding="utf-8"), parse_constant=pytest.fail)
    document = json.loads((tmp_path / METRICS_FILE).read_text(encoding="utf-8"))
    assert list(document["domains"]) == list(DOMAINS)
    for name, found in (*document["domains"].items(), ("overall", document["overall"])):
        expected = report.summary.domains.get(name, report.summary.overall)
        for figure in FIGURES:
            estimate = expected.metrics[figure]
            assert found[figure]["value"] == estimate.value
            assert (found[figure]["low"] is None) is math.isnan(estimate.low)
            assert found[figure].get("reason", "") == estimate.reason
    assert document["domains"]["code"]["accepted_length"]["low"] is not None
    assert document["overall"]["accepted_length"]["reason"].endswith("math, logic, chat")
    text = (tmp_path / SUMMARY_FILE).read_text(encoding="utf-8")
    assert "<summary>Environment</summary>" in text
    assert report.terminal_text.startswith("domain")
