"""Writes the tables and the figure of docs/study.md from the committed reports of the study.

python docs/make_study.py
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from draftproof.statistics.findings import (
    FAMILYWISE_ERROR,
    PUBLISHED,
    PUBLISHED_CORRELATIONS,
    PUBLISHED_LENGTHS,
)

DOCUMENT = Path(__file__).parent / "study.md"
FIGURE = Path(__file__).parent / "study.svg"
REPORTS = Path(__file__).parent.parent / "reports"
RUNS = ("study-t0", "study-t1")
SOURCE = "the study (arXiv 2604.14682)"


class Run:
    """A committed report, as far as the page shows it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.run = json.loads((REPORTS / folder / "run.json").read_text(encoding="utf-8"))
        self.metrics = json.loads((REPORTS / folder / "metrics.json").read_text(encoding="utf-8"))

    @property
    def title(self) -> str:
        """The run's name in tables."""
        return f"temperature {self.run['config']['sampling']['temperature']:g}"

    @property
    def groups(self) -> dict[str, Any]:
        """The figures of each domain, in the study's order, and of all prompts."""
        domains = {name: self.metrics["domains"][name] for name in PUBLISHED}
        return {**domains, "overall": self.metrics["overall"]}


def committed() -> list[Run]:
    """The study's runs."""
    return [Run(folder) for folder in RUNS]


def verdicts(runs: list[Run]) -> str:
    """Each finding of the study, and what each run says of it."""
    rows = [
        _row("finding", *(f"[{run.title}](../reports/{run.folder}/summary.md)" for run in runs)),
        _row("---", *("---" for _ in runs)),
    ]
    for findings in zip(*(run.metrics["findings"] for run in runs), strict=True):
        claim = f"{findings[0]['number']}. {findings[0]['claim']}"
        rows.append(_row(claim, *(f"**{each['said']}**" for each in findings)))
        for parts in zip(*(each["parts"] for each in findings), strict=True):
            what = parts[0]["claim"] + ("" if parts[0]["decides"] else " (does not decide)")
            rows.append(_row(f"– {what}", *(each["verdict"] for each in parts)))
    every = sum(len(run.metrics["findings"]) for run in runs)
    rows += [
        "",
        "That any of the five verdicts of a run is wrong has a chance of at most "
        f"{FAMILYWISE_ERROR:.0%} (Holm's method over the five), as far as intervals cover what they "
        f"say; over all {every} of the {len(runs)} runs, of at most "
        f"{len(runs) * FAMILYWISE_ERROR:.0%}. Parts are judged at the error of their finding.",
    ]
    return "\n".join(rows)


def evidence(runs: list[Run]) -> str:
    """Why each run says so."""
    lines = []
    for run in runs:
        lines.append(f"At {run.title}:\n")
        lines += [f"{each['number']}. {each['evidence']}." for each in run.metrics["findings"]]
        lines.append("")
    return "\n".join(lines).rstrip()


def figures(runs: list[Run]) -> str:
    """What was found, domain by domain, beside what the study published."""
    rows = [
        _row(
            "domain", "run", "acceptance probability of a node",
            "study's expected accepted length", "expected accepted length (first-child path)",
            "draft entropy (nats)", "Spearman's ρ", "block efficiency",
        ),
        _row("---", "---", *("---:",) * 6),
    ]  # fmt: skip
    for domain in (*PUBLISHED, "overall"):
        if domain in PUBLISHED:
            low, high = PUBLISHED_CORRELATIONS
            rows.append(
                _row(
                    domain,
                    SOURCE,
                    f"{PUBLISHED[domain]:.3f}",
                    f"{PUBLISHED_LENGTHS[domain]:.3f}",
                    "",
                    "",
                    f"{low:.2f} to {high:.2f}",
                    "",
                )
            )
        for run in runs:
            group = run.groups[domain]
            rows.append(
                _row(
                    domain,
                    run.title,
                    _estimate(group["acceptance_probability"], 3),
                    _estimate(group["study_expected_length"], 2),
                    _estimate(group["first_child_expected_length"], 2),
                    _estimate(run.metrics["draft_entropy"].get(domain), 2),
                    _estimate(run.metrics["entropy_correlation"].get(domain), 3),
                    _estimate(group["block_efficiency"], 2),
                )
            )
    return "\n".join(rows)


def depths(runs: list[Run]) -> str:
    """Acceptance by depth."""
    deepest = max(len(run.metrics["depth_profile"]) for run in runs)
    rows = [
        _row("run", *(f"depth {depth}" for depth in range(1, deepest + 1))),
        _row("---", *("---:" for _ in range(deepest))),
    ]
    for run in runs:
        profile = run.metrics["depth_profile"]
        rows.append(
            _row(run.title, *(_estimate(at["acceptance_probability"], 3) for at in profile))
        )
    return "\n".join(rows)


def samples(runs: list[Run]) -> str:
    """How much was measured, and what it is worth."""
    rows = [
        _row(
            "run", "prompts", "nodes", "design effect", "effective sample", "verdicts",
            "anytime-valid test of the law",
        ),
        _row("---", "---:", "---:", "---:", "---:", "---", "---"),
    ]  # fmt: skip
    for run in runs:
        overall, lossless = run.metrics["overall"], run.metrics["lossless"]
        nodes = overall["acceptance_probability"]
        counts = [
            f"{count} {name}" for name, count in lossless.items() if count and name != "cases"
        ]
        law = run.run["law_test"]
        rows.append(
            _row(
                run.title,
                f"{overall['prompts']}",
                f"{nodes['n']:,}",
                f"{nodes['design_effect']:.1f}",
                f"{nodes['effective_n']:,.0f}",
                ", ".join(counts),
                "–" if law is None else f"{law['verdict']}, {sum(law['tokens'].values()):,} tokens",
            )
        )
    return "\n".join(rows)


def environment(runs: list[Run]) -> str:
    """Models, machine, versions and commands."""
    models, hardware = runs[0].run["models"], runs[0].run["hardware"]
    described = [
        f"{role} {models[role]['name']} ({models[role]['parameters'] / 1e6:,.1f} M parameters, "
        f"{models[role]['dtype']}, content hash {models[role]['sha256'][:16]}…)"
        for role in ("target", "draft")
    ]
    versions = ", ".join(f"{name} {value}" for name, value in runs[0].run["versions"].items())
    lines = [
        f"{'; '.join(described)}. {hardware['cpus']} × {hardware['cpu']}, {hardware['system']}; "
        f"{versions}."
    ]
    for run in runs:
        lines += ["", f"At {run.title}:", "", "```", shlex.join(run.run["command"]), "```"]
    return "\n".join(lines)


TABLES = {
    "verdicts": verdicts,
    "evidence": evidence,
    "figures": figures,
    "depths": depths,
    "samples": samples,
    "environment": environment,
}


def updated(text: str) -> str:
    """The page with its tables as the reports have them."""
    runs = committed()

    def filled(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]](runs)}\n{match[3]}"

    names = "|".join(TABLES)
    return re.sub(rf"(<!-- ({names}) -->)\n.*?(<!-- end of \2 -->)", filled, text, flags=re.DOTALL)


PANELS = {
    "acceptance_probability": "acceptance probability of a node",
    "study_expected_length": "study's expected accepted length",
    "draft_entropy": "draft entropy (nats)",
}
COLOURS = {"the study": "#6b7280", "temperature 0": "#0b67a3", "temperature 1": "#c85a00"}


def points(runs: list[Run]) -> list[dict[str, Any]]:
    """What the figure shows: a row for each figure of a domain in a run, and what was published."""
    published = {"acceptance_probability": PUBLISHED, "study_expected_length": PUBLISHED_LENGTHS}
    rows: list[dict[str, Any]] = [
        {"panel": panel, "run": "the study", "domain": domain, "value": value}
        for panel, values in published.items()
        for domain, value in values.items()
    ]
    for run in runs:
        for panel in PANELS:
            for domain in PUBLISHED:
                estimate = run.groups[domain].get(panel) or run.metrics[panel][domain]
                ends = {end: estimate[end] for end in ("value", "low", "high")}
                rows.append({"panel": panel, "run": run.title, "domain": domain, **ends})
    return rows


def figure(runs: list[Run]) -> dict[str, Any]:
    """The figure as a Vega-Lite specification: a panel a figure, a dot and its interval a run."""
    names = [name for name in COLOURS if name in {row["run"] for row in points(runs)}]
    colour = {
        "field": "run",
        "type": "nominal",
        "sort": names,
        "title": None,
        "scale": {"domain": names, "range": [COLOURS[name] for name in names]},
        "legend": {"orient": "top"},
    }
    panels = []
    for panel, title in PANELS.items():
        first = not panels
        domain = {
            "field": "domain",
            "type": "nominal",
            "sort": list(PUBLISHED),
            "title": None,
            "axis": {"labels": first, "ticks": False, "domain": False, "labelPadding": 8},
        }
        place = {"y": domain, "yOffset": {"field": "run", "sort": names}, "color": colour}
        value = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False}}
        panels.append(
            {
                "width": 210,
                "height": 190,
                "transform": [{"filter": {"field": "panel", "equal": panel}}],
                "layer": [
                    {
                        "mark": {"type": "rule", "strokeWidth": 2},
                        "encoding": {
                            "x": {**value, "field": "low"},
                            "x2": {"field": "high"},
                            **place,
                        },
                    },
                    {
                        "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                        "encoding": {"x": value, **place},
                    },
                ],
            }
        )
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": "white",
        "padding": 12,
        "data": {"values": points(runs)},
        "hconcat": panels,
        "config": {
            "font": "sans-serif",
            "view": {"stroke": None},
            "axisX": {"tickCount": 5},
            "axisY": {"grid": True},
        },
    }


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _estimate(estimate: dict[str, Any] | None, decimals: int) -> str:
    if estimate is None or estimate["value"] is None:
        return ""
    text = f"{estimate['value']:.{decimals}f}"
    if estimate["low"] is not None:
        text += f" ({estimate['low']:.{decimals}f} to {estimate['high']:.{decimals}f})"
    return text


if __name__ == "__main__":
    import vl_convert

    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    FIGURE.write_text(vl_convert.vegalite_to_svg(figure(committed())) + "\n", encoding="utf-8")
