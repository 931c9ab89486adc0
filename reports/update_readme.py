"""Copies tables of committed reports into the README, between their markers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"

COLUMNS = {
    "prompts": "prompts",
    "nodes": "nodes",
    "acceptance_probability": "acceptance probability of a node",
    "greedy_match": "greedy match",
    "acceptance_rate_reached": "acceptance rate ÷ reached",
    "accepted_length": "accepted length",
    "block_efficiency": "block efficiency",
}


def excerpt(folder: str) -> str:
    """A report's domain table in short, with all that its figures must name."""
    run, metrics = _read(folder, "run"), _read(folder, "metrics")
    rows = [
        "| domain | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, scope in (*metrics["domains"].items(), ("overall", metrics["overall"])):
        rows.append(f"| {name} | " + " | ".join(_cell(scope[key]) for key in COLUMNS) + " |")
    lossless = metrics["lossless"]
    target, draft = run["models"]["target"], run["models"]["draft"]
    config, hardware, versions = run["config"], run["hardware"], run["versions"]
    rows.append("")
    rows.append(
        f"Target {_model(target)}, draft {_model(draft)}, {target['dtype']} on {target['device']}; "
        f"tree {config['tree']}, temperature {config['sampling']['temperature']:g}, "
        f"{config['max_new_tokens']} new tokens, seed {config['seed']}, prompts "
        f"{config['prompts']}. Verdicts: {lossless['cases']} cases, {lossless['identical']} "
        f"identical, {lossless['numerical']} numerical, {lossless['algorithmic']} algorithmic. "
        f"95% intervals by bootstrap over prompts. "
        f"{hardware['cpus']} × {hardware['cpu']}; torch {versions['torch']}, transformers "
        f"{versions['transformers']}. From [reports/{folder}](reports/{folder}/summary.md), made "
        f"by `{' '.join(run['command'])}`."
    )
    return "\n".join(rows)


def findings(folders: str) -> str:
    """Which of the study's findings each of some reports confirms, refutes or leaves open."""
    lines = []
    for folder in folders.split():
        run, metrics = _read(folder, "run"), _read(folder, "metrics")
        told = []
        for verdict in ("confirmed", "refuted", "not resolved"):
            numbers = [
                f"{each['number']}{_added(each)}"
                for each in metrics["findings"]
                if each["verdict"] == verdict
            ]
            if numbers:
                told.append(f"{verdict} {', '.join(numbers)}")
        temperature = run["config"]["sampling"]["temperature"]
        lines.append(f"- at temperature {temperature:g}: {'; '.join(told)}")
    return "\n".join(lines)


def scoreboard(folder: str) -> str:
    """The self-test's scoreboard by class, with what it was made with."""
    found = _read(folder, "scoreboard")
    rows = ["| class of fault | planted | caught | median tokens |", "|---|---:|---:|---:|"]
    for row in found["classes"]:
        tokens = "–" if row["median_tokens"] is None else f"{row['median_tokens']:.0f}"
        rows.append(f"| {row['class']} | {row['planted']} | {row['caught']} | {tokens} |")
    summary, alarms = found["summary"], found["false_alarms"]
    missed = ", ".join(summary["missed"]) or "none"
    low, high = alarms["interval"]
    target, draft = found["models"]["target"], found["models"]["draft"]
    hardware, versions = found["hardware"], found["versions"]
    rows += [
        "",
        f"Missed: {missed}. Lossless controls flagged: {len(summary['flagged'])} of "
        f"{summary['controls']}. Seeded runs of lossless engines flagged by the anytime-valid "
        f"test: {len(alarms['flagged'])} of {alarms['runs']} (95% interval {low:.4f}–{high:.4f}). "
        f"Target {_model(target)}, draft {_model(draft)}, {target['dtype']} on {target['device']}; "
        f"{hardware['cpus']} × {hardware['cpu']}; torch {versions['torch']}, transformers "
        f"{versions['transformers']}. From [reports/{folder}](reports/{folder}/scoreboard.md), "
        f"made by `{found['command']}`.",
    ]
    return "\n".join(rows)


EXCERPTS = {"report": excerpt, "findings": findings, "selftest": scoreboard}


def updated(text: str) -> str:
    """The README with every excerpt as its report has it."""

    def filled(match: re.Match[str]) -> str:
        return f"{match[1]}\n{EXCERPTS[match[2]](match[3])}\n{match[4]}"

    names = "|".join(EXCERPTS)
    marked = rf"(<!-- ({names}): (.+?) -->)\n.*?(<!-- end of \2 -->)"
    return re.sub(marked, filled, text, flags=re.DOTALL)


def _added(finding: dict[str, str]) -> str:
    """What is said beside a verdict, where the study's own range fares otherwise."""
    added = finding["said"].removeprefix(finding["verdict"]).strip()
    return f" ({added})" if added else ""


def _read(folder: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (ROOT / "reports" / folder / f"{name}.json").read_text(encoding="utf-8")
    )
    return found


def _cell(value: int | dict[str, float]) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value['value']:.3f}"
    if value["low"] is not None:
        text += f" ({value['low']:.3f}–{value['high']:.3f})"
    return text


def _model(description: dict[str, object]) -> str:
    return f"{description['name']} ({int(str(description['parameters'])) / 1e6:,.1f} M)"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
