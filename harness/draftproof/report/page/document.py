"""Puts the page together: text and tables in the template, data and scripts beside them."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

from draftproof.files import write_text
from draftproof.report import labels
from draftproof.report.context import slower_line
from draftproof.report.page import facts
from draftproof.report.page.failures import SHOWN_FAILURES, failed_cases
from draftproof.report.page.figure import Figure
from draftproof.report.page.figures import figures
from draftproof.report.page.library import compressed_library
from draftproof.report.page.source import PageSource
from draftproof.report.page.specs import chart_data, domain_colours
from draftproof.report.page.templates import asset, render
from draftproof.report.page.trees import shown_cases, viewer_block
from draftproof.report.promise_table import (
    PROMISE_LINE,
    promise_lines,
    promise_table,
)
from draftproof.report.run_info import TOY_NOTICE
from draftproof.report.tables import (
    depth_table,
    domain_table,
    has_design_effect,
    part_lines,
    sample_table,
)

PAGE_FILE = "report.html"


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
    failed = failed_cases(source.cases, shown_cases(source.cases))
    return render(
        "page.html",
        run=source.run,
        source=source,
        labels=labels,
        toy_notice=TOY_NOTICE,
        colours=domain_colours(source.domains),
        figures={figure.key: figure for figure in shown},
        names=facts.model_names(source.run),
        sizes=facts.model_sizes(source.run),
        key_figures=facts.key_figures(source),
        domain_table=domain_table(source.summary),
        part_lines=part_lines,
        depth_table=depth_table(source.summary.overall),
        sample_table=sample_table(source.summary) if has_design_effect(source.summary) else None,
        lines=facts.lines(source),
        verdicts=facts.verdicts(source),
        failures=failed[:SHOWN_FAILURES],
        more_failures=len(failed) - len(failed[:SHOWN_FAILURES]),
        costs=facts.cost_rows(source),
        promises=promise_table(source.promised) if source.promised else None,
        promise_line=PROMISE_LINE,
        promise_lines=promise_lines(source.run, source.promised),
        slower=slower_line(source.costs[1], source.summary.overall),
        settings=facts.settings(source.run),
        models=facts.models(source.run),
        command=shlex.join(source.run.command),
        run_line=facts.run_line(source.run),
        scripts=[asset("theme.js"), asset("charts.js"), asset("viewer.js")],
        data=script_json(_page_data(source, shown)),
        library=_base64(compressed_library()),
        trees=_base64(viewer_block(source.cases, source.texts)),
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
        "figures": chart_data(shown),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
