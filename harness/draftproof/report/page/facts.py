"""What the pages say in words and tables: facts of a run and figures as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from draftproof.report import labels
from draftproof.report.context import (
    coupling_lines,
    fact_name,
    fact_text,
    failure_lines,
    findings_lines,
    interval_line,
    law_lines,
    plain_lines,
    reference_lines,
    study_lines,
)
from draftproof.report.notes import run_notes
from draftproof.report.page.source import PageSource
from draftproof.report.run_info import RunInfo
from draftproof.report.server_lines import server_lines
from draftproof.report.tables import (
    interval,
    not_estimable,
    number,
    prompt_mean_lines,
    verdict_lines,
)
from draftproof.statistics import Estimate

_ROLES = ("target", "draft")
_VERSIONS = ("draftproof", "torch", "transformers")


def key_figures(source: PageSource) -> list[dict[str, str]]:
    """The few figures at the head of the page, each with its name and interval."""
    overall = source.summary.overall
    tiles = []
    for name in ("acceptance_probability", "accepted_length", "block_efficiency"):
        label, estimate = labels.METRIC_LABELS[name], overall.metrics[name]
        tiles.append(
            {
                "value": ("≤ " if name in overall.at_least else "")
                + number(estimate.value, label.decimals),
                "name": label.header.replace("\n", " "),
                "interval": _interval(estimate, label.decimals),
            }
        )
    speedup = source.costs[1].speedup
    tiles.append(
        {
            "value": f"{speedup.value:.2f}×" if speedup.n else labels.NOT_ESTIMABLE,
            "name": "speedup",
            "interval": _interval(speedup, 2),
        }
    )
    tiles.append(_lossless(source))
    return tiles


def _lossless(source: PageSource) -> dict[str, str]:
    """How many outputs are identical; above temperature 0, what the test of the law decided."""
    verdicts, law = source.summary.overall.verdicts, source.run.law_test
    counts = ", ".join(verdict_lines(verdicts)) or "no case"
    compared = verdicts.compared
    if not compared and law is not None:
        name = "outputs and the target’s law (anytime-valid test)"
        return {"value": str(law["verdict"]), "name": name, "interval": counts}
    return {
        "value": f"{verdicts.identical} of {compared}" if compared else labels.NOT_ESTIMABLE,
        "name": "outputs identical to the target’s own",
        "interval": counts,
    }


def _interval(estimate: Estimate, decimals: int) -> str:
    text = interval(estimate, decimals)
    return "no interval" if text == labels.NOT_ESTIMABLE else f"95% {text}"


def lines(source: PageSource) -> dict[str, list[str]]:
    """Lines of text, as the other reports print them, by what they are about."""
    return {
        "study": study_lines(source.study),
        "findings": findings_lines(source.run),
        "not_estimable": not_estimable(source.summary),
        "prompt_means": prompt_mean_lines(source.summary),
        "law": [
            *coupling_lines(source.study.coupling),
            *law_lines(source.run),
            *reference_lines(source.run),
            *plain_lines(source.cases),
            *server_lines(source.run, source.cases),
        ],
        "notes": run_notes(source.run, source.summary, source.cases, complete=source.complete),
        "failures": failure_lines(source.cases),
        "interval": [interval_line(source.summary)],
    }


def verdicts(source: PageSource) -> list[dict[str, Any]]:
    """A row a domain: how many cases ended in each verdict, and what share that is."""
    rows = []
    for name, group in {**source.summary.domains, labels.OVERALL: source.summary.overall}.items():
        total = group.verdicts.cases
        counts = [(key, getattr(group.verdicts, key)) for key in labels.VERDICT_LABELS]
        rows.append(
            {
                "name": name,
                "total": total,
                "parts": [
                    {"key": key, "count": count, "percent": 100 * count / total if total else 0}
                    for key, count in counts
                ],
            }
        )
    return rows


def cost_rows(source: PageSource) -> list[dict[str, str]]:
    """A row a domain: seconds, speedup, and what speculation spent its seconds on."""
    by_domain, overall = source.costs
    return [
        {
            "name": name,
            "prompts": f"{cost.prompts:,}",
            "plain": _milliseconds(cost.plain.value),
            "speculative": _milliseconds(cost.speculative.value),
            "speedup": number(cost.speedup.value, 2),
            "interval": interval(cost.speedup, 2),
            "draft": _percent(cost.draft_share),
            "verify": _percent(cost.verify_share),
            "rest": _percent(1 - cost.draft_share - cost.verify_share),
        }
        for name, cost in {**by_domain, labels.OVERALL: overall}.items()
    ]


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == share else labels.NOT_ESTIMABLE


def model_names(run: RunInfo) -> dict[str, str]:
    """The models by what people call them: a file's or folder's name, not its path."""
    models = run.models
    return {
        role: Path(
            str(models.get(role, {}).get("name") or run.config.get(role, "not recorded"))
        ).name
        for role in _ROLES
    }


def model_sizes(run: RunInfo) -> dict[str, str]:
    """The models' parameters in millions, as " (3.9 M)"; empty where they are not known."""
    counts = {role: run.models.get(role, {}).get("parameters") for role in _ROLES}
    return {
        role: f" ({count / 1e6:,.{1 if count < 1e8 else 0}f} M)" if isinstance(count, int) else ""
        for role, count in counts.items()
    }


def settings(run: RunInfo) -> list[tuple[str, str]]:
    """Every setting of the run as a row; nested ones by their own names."""
    rows = []
    for name, value in run.config.items():
        if isinstance(value, dict):
            rows += [(key.replace("_", " "), _shown(inner)) for key, inner in value.items()]
        elif name == "promises":
            continue  # a table of its own
        elif name == "budget" and value:
            rows.append((name, "; ".join(" ".join(each) for each in value)))
        else:
            rows.append((name.replace("_", " "), _shown(value)))
    return rows


def _shown(value: Any) -> str:
    if value is None or value == [] or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def models(run: RunInfo) -> list[tuple[str, list[tuple[str, str]]]]:
    """The facts of each model, by role."""
    return [
        (
            "draft model" if role == "draft" else role,
            [
                (fact_name(name), f"{value:,}" if isinstance(value, int) else fact_text(value))
                for name, value in facts.items()
            ],
        )
        for role, facts in run.models.items()
    ]


def run_line(run: RunInfo) -> str:
    """Models, hardware and versions in short, as every figure names them."""
    names, sizes = model_names(run), model_sizes(run)
    target = run.models.get("target", {})
    where = [str(target[key]) for key in ("dtype", "device") if key in target]
    parts = [
        *(f"{'draft model' if r == 'draft' else r} {names[r]}{sizes[r]}" for r in _ROLES),
        " on ".join(where),
        f"tree {run.config.get('tree', 'not recorded')}",
        f"temperature {_temperature(run)}",
        _hardware(run),
        ", ".join(f"{name} {run.versions[name]}" for name in _VERSIONS if name in run.versions),
    ]
    return " · ".join(part for part in parts if part)


def _temperature(run: RunInfo) -> str:
    sampling = run.config.get("sampling")
    return _shown(sampling.get("temperature")) if isinstance(sampling, dict) else "not recorded"


def _hardware(run: RunInfo) -> str:
    facts = run.hardware
    cpus = f"{facts['cpus']} × " if "cpus" in facts else ""
    kinds = [str(facts[name]) for name in ("accelerator", "gpu", "cpu") if name in facts]
    return cpus + ", ".join(kinds) if kinds else "hardware not recorded"
