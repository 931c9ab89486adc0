"""The page of an advice: its table, and the sweep with a what-if of another cost ratio."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from draftproof.files import write_asked
from draftproof.replay.advice import Advice, DomainAdvice
from draftproof.replay.advice_text import advice_cells, advice_notes, interval, shown
from draftproof.replay.notes import recording_notes
from draftproof.report.page.document import script_json
from draftproof.report.page.templates import asset, render
from draftproof.wording import counted

_MADE = (
    "One recording of the target's own text, with each draft model's most probable tokens along "
    "it, decides what every chain, k-ary and static tree would have kept. Speedups are that, "
    "priced by the costs of forward passes (draftproof record, then draftproof advise)."
)


def write_sweep_page(path: Path, advice: Advice) -> Path:
    """Writes the page, whole or not at all.

    Raises:
        DraftproofError: It cannot be written.
    """
    write_asked(path, sweep_html(advice).encode("utf-8", "replace").decode("utf-8"))
    return path


def sweep_html(advice: Advice) -> str:
    """The page: one HTML document that asks for nothing but itself."""
    info = advice.recording.info
    heads, rows = advice_cells(advice)
    target = str(info.models["target"].get("name", "the target"))
    return render(
        "sweep.html",
        own_style=asset("sweep.css"),
        target=target,
        run_line=f"{counted(len(advice.recording.cases), 'prompt')} · "
        f"temperature {info.temperature:g} · "
        f"costs: {advice.costs.device}",
        notes=[*recording_notes(advice.recording), *advice_notes(advice)],
        heads=[head.replace("\n", " ") for head in heads],
        rows=rows,
        single=f"{shown(advice.single.candidate)}, speedup {interval(advice.single.speedup)}",
        domains=[each.domain for each in advice.domains],
        made=_MADE,
        facts=_facts(advice),
        data=script_json({"domains": [_domain(each) for each in advice.domains]}),
        script=asset("sweep.js"),
    )


def _domain(each: DomainAdvice) -> dict[str, Any]:
    speedup = each.advised.speedup
    known = math.isfinite(speedup.low)
    return {
        "name": each.domain,
        "draft": each.advised.candidate.draft,
        "tree": str(each.advised.candidate.shape),
        "low": speedup.low if known else None,
        "high": speedup.high if known else None,
        "sweep": each.points.to_json(),
    }


def _facts(advice: Advice) -> list[tuple[str, str]]:
    info = advice.recording.info
    facts = [(role, str(model.get("name"))) for role, model in info.models.items()]
    facts += [(name, str(version)) for name, version in info.versions.items()]
    return [*facts, *((name, str(value)) for name, value in info.hardware.items())]
