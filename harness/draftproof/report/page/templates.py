"""The templates of the pages and their shared style: autoescaped, and strict on what is missing."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    import markupsafe


def render(template: str, **values: Any) -> str:
    """A page: the template with its values, every text in it escaped."""
    return _environment().get_template(template).render(style=asset("page.css"), **values)


@cache
def asset(name: str) -> str:
    """The text of a file in ``assets``."""
    return (files("draftproof.report.page") / "assets" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(counted=_counted, moment=_moment, minus=_minus, whole=_whole_words)
    return environment


def _counted(text: str) -> str:
    """A cell's text on one line, with separators in a count."""
    return f"{int(text):,}" if text.isdecimal() else text.replace("\n", ", ")


def _minus(text: str) -> str:
    """Text with a minus sign before negative numbers in place of a hyphen."""
    return re.sub(r"(?<![\w.–-])-(?=\d)", "−", text)


def _whole_words(text: str) -> markupsafe.Markup:
    """Text whose lines break between its words, never at the hyphens of one."""
    import markupsafe

    words = (markupsafe.Markup("<span>{}</span>").format(word) for word in text.split(" "))
    return markupsafe.Markup(" ").join(words)


def _moment(text: str) -> str:
    """A time to the minute: ``2026-01-02 03:04 UTC``; as it stands where it is no ISO 8601."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip()
