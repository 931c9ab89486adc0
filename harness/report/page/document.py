"""Puts the page together: text and tables in the template, data and scripts beside them."""

from __future__ import annotations

import base64
import json
import re
import shlex
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report import labels
from harness.report.context import (
    failure_lines,
    interval_line,
    study_lines,
)
from harness.report.files import write_text
from harness.report.page.figure import Figure
from harness.report.page.figures import figures
from harness.report.page.library import compressed_library
from harness.report.page.source import PageSource
from harness.report.page.trees import viewer_block
from harness.report.run_info import TOY_NOTICE
from harness.report.tables import (
    depth_table,
    domain_table,
    has_design_effect,
    interval,
    not_estimable,
    number,
    prompt_mean_lines,
    sample_table,
    verdict_lines,
)

if TYPE_CHECKING:
    import jinja2

PAGE_FILE = "report.html"
_ROLES = ("target", "draft")
_VERSIONS = ("draftproof", "torch", "transformers")


def write_page(directory: Path, source: PageSource) -> Path:
    """Writes ``report.html`` into a report's folder, whole or not at all.

    Raises:
        DraftproofError: It cannot be written.
    """
    path = directory / PAGE_FILE
    write_text(path, page_html(source))
    return path


def page_html(source: PageSource) -> str:
    """The page: one HTML document that asks for nothing but itself."""
    shown = figures(source)
    return (
        _environment()
        .get_template("page.html")
        .render(
            run=source.run,
            source=source,
            labels=labels,
            toy_notice=TOY_NOTICE,
            figures={figure.key: figure for figure in shown},
            names=_names(source),
            sizes=_sizes(source),
            key_figures=_key_figures(source),
            domain_table=domain_table(source.summary),
            depth_table=depth_table(source.summary.overall),
            sample_table=sample_table(source.summary)
            if has_design_effect(source.summary)
            else None,
            lines=_lines(source),
            verdicts=_verdicts(source),
            costs=_cost_rows(source),
            settings=_settings(source),
            models=_models(source),
            command=shlex.join(source.run.command),
            run_line=_run_line(source),
            style=_asset("page.css"),
            scripts=[_asset("theme.js"), _asset("charts.js"), _asset("viewer.js")],
            data=script_json(_page_data(source, shown)),
            library=_base64(compressed_library()),
            trees=_base64(viewer_block(source.cases, source.texts)),
        )
    )


def script_json(values: Any) -> str:
    r"""JSON that can stand inside a script element: it cannot end it, or open a comment.

    Example:
        >>> script_json({"token": "</script>"})
        '{"token":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _page_data(source: PageSource, shown: tuple[Figure, ...]) -> dict[str, Any]:
    return {
        "name": source.run.name,
        "domains": list(source.domains),
        "figures": [
            {
                "key": figure.key,
                "title": figure.title,
                "columns": list(figure.columns),
                "rows": list(figure.rows),
                "spec": figure.spec,
            }
            for figure in shown
            if not figure.reason
        ],
    }


def _key_figures(source: PageSource) -> list[dict[str, str]]:
    overall, verdicts = source.summary.overall, source.summary.overall.verdicts
    tiles = []
    for name in ("acceptance_probability", "accepted_length", "block_efficiency"):
        label, estimate = labels.METRIC_LABELS[name], overall.metrics[name]
        tiles.append(
            {
                "value": number(estimate.value, label.decimals),
                "name": label.header.replace("\n", " "),
                "interval": f"95% {interval(estimate, label.decimals)}",
            }
        )
    speedup = source.costs[1].speedup
    tiles.append(
        {
            "value": f"{speedup.value:.2f}×" if speedup.n else labels.NOT_ESTIMABLE,
            "name": "speedup",
            "interval": f"95% {interval(speedup, 2)}",
        }
    )
    compared = verdicts.cases - verdicts.sampled - verdicts.errors
    tiles.append(
        {
            "value": f"{verdicts.identical} of {compared}" if compared else labels.NOT_ESTIMABLE,
            "name": "outputs identical to the target’s own",
            "interval": ", ".join(verdict_lines(verdicts)) or "no case",
        }
    )
    return tiles


def _lines(source: PageSource) -> dict[str, list[str]]:
    return {
        "study": study_lines(source.study),
        "not_estimable": not_estimable(source.summary),
        "prompt_means": prompt_mean_lines(source.summary),
        "failures": failure_lines(source.cases),
        "interval": [interval_line(source.summary)],
    }


def _verdicts(source: PageSource) -> list[dict[str, Any]]:
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


def _cost_rows(source: PageSource) -> list[dict[str, str]]:
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


def _names(source: PageSource) -> dict[str, str]:
    """The models by what people call them: a file's or folder's name, not its path."""
    models = source.run.models
    return {
        role: Path(
            str(models.get(role, {}).get("name") or source.run.config.get(role, "not recorded"))
        ).name
        for role in _ROLES
    }


def _sizes(source: PageSource) -> dict[str, str]:
    """The models' parameters in millions, as " (3.9 M)"; empty where they are not known."""
    counts = {role: source.run.models.get(role, {}).get("parameters") for role in _ROLES}
    return {
        role: f" ({count / 1e6:,.{1 if count < 1e8 else 0}f} M)" if isinstance(count, int) else ""
        for role, count in counts.items()
    }


def _settings(source: PageSource) -> list[tuple[str, str]]:
    """Every setting of the run as a row; nested ones by their own names."""
    rows = []
    for name, value in source.run.config.items():
        if isinstance(value, dict):
            rows += [(key.replace("_", " "), _shown(inner)) for key, inner in value.items()]
        else:
            rows.append((name.replace("_", " "), _shown(value)))
    return rows


def _shown(value: Any) -> str:
    if value is None or value == [] or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _models(source: PageSource) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (
            "draft model" if role == "draft" else role,
            [
                (name, f"{value:,}" if isinstance(value, int) else str(value))
                for name, value in facts.items()
            ],
        )
        for role, facts in source.run.models.items()
    ]


def _run_line(source: PageSource) -> str:
    """Models, hardware and versions in short, as every figure names them."""
    run, names, sizes = source.run, _names(source), _sizes(source)
    target = run.models.get("target", {})
    where = [str(target[key]) for key in ("dtype", "device") if key in target]
    parts = [
        *(f"{'draft model' if r == 'draft' else r} {names[r]}{sizes[r]}" for r in _ROLES),
        " on ".join(where),
        f"tree {run.config.get('tree', 'not recorded')}",
        f"temperature {_temperature(source)}",
        _hardware(source),
        ", ".join(f"{name} {run.versions[name]}" for name in _VERSIONS if name in run.versions),
    ]
    return " · ".join(part for part in parts if part)


def _temperature(source: PageSource) -> str:
    sampling = source.run.config.get("sampling")
    return _shown(sampling.get("temperature")) if isinstance(sampling, dict) else "not recorded"


def _hardware(source: PageSource) -> str:
    facts = source.run.hardware
    cpus = f"{facts['cpus']} × " if "cpus" in facts else ""
    kinds = [str(facts[name]) for name in ("accelerator", "gpu", "cpu") if name in facts]
    return cpus + ", ".join(kinds) if kinds else "hardware not recorded"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@cache
def _asset(name: str) -> str:
    return (files("harness.report.page") / "assets" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(counted=_counted, moment=_moment, minus=_minus)
    return environment


def _counted(text: str) -> str:
    """A cell's text on one line, with separators in a count."""
    return f"{int(text):,}" if text.isdecimal() else text.replace("\n", ", ")


def _minus(text: str) -> str:
    """Text with a minus sign before negative numbers in place of a hyphen."""
    return re.sub(r"(?<![\w.–-])-(?=\d)", "−", text)


def _moment(text: str) -> str:
    """A time to the minute: ``2026-01-02 03:04 UTC``; as it stands where it is no ISO 8601."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip()
