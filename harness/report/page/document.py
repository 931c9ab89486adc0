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
from harness.report.files import write_text
from harness.report.page import facts
from harness.report.page.figure import Figure
from harness.report.page.figures import figures
from harness.report.page.library import compressed_library
from harness.report.page.source import PageSource
from harness.report.page.specs import domain_colours
from harness.report.page.trees import viewer_block
from harness.report.run_info import TOY_NOTICE
from harness.report.tables import depth_table, domain_table, has_design_effect, sample_table

if TYPE_CHECKING:
    import jinja2

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
    return (
        _environment()
        .get_template("page.html")
        .render(
            run=source.run,
            source=source,
            labels=labels,
            toy_notice=TOY_NOTICE,
            colours=domain_colours(source.domains),
            figures={figure.key: figure for figure in shown},
            names=facts.model_names(source),
            sizes=facts.model_sizes(source),
            key_figures=facts.key_figures(source),
            domain_table=domain_table(source.summary),
            depth_table=depth_table(source.summary.overall),
            sample_table=sample_table(source.summary)
            if has_design_effect(source.summary)
            else None,
            lines=facts.lines(source),
            verdicts=facts.verdicts(source),
            costs=facts.cost_rows(source),
            settings=facts.settings(source),
            models=facts.models(source),
            command=shlex.join(source.run.command),
            run_line=facts.run_line(source),
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
