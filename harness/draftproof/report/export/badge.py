"""A badge as an SVG file: one figure of a run, whether it is lossless, and what it is not of."""

from __future__ import annotations

import math
from html import escape
from typing import Any, NamedTuple

from draftproof.errors import clean_text, unknown_value
from draftproof.report.labels import METRIC_LABELS, OVERALL
from draftproof.report.notes import prompt_counts
from draftproof.report.page.source import PageSource
from draftproof.report.tables import number
from draftproof.wording import counted

DEFAULT_FIGURE = "block_efficiency"
GREEN, YELLOW, RED, GREY = "#2f7d32", "#946200", "#b3261e", "#5c5c5c"
"""White text on each has a contrast of at least 4.5."""
_WIDE, _NARROW = "mwMWQ%@", "ijlI.,:;'|!·1 ft()"
_REJECTED = ("output differs", "acceptance differs")


class Badge(NamedTuple):
    """What a badge says.

    Attributes:
        label: Its left half.
        text: Its right half.
        colour: Of the right half.
    """

    label: str
    text: str
    colour: str


def run_badge(
    source: PageSource, comparison: dict[str, Any] | None = None, figure: str = DEFAULT_FIGURE
) -> Badge:
    """What the badge of a run says.

    Red where speculation changed an output, the anytime-valid test rejects it, or a gate failed;
    yellow where a gate is inconclusive or a case ended in an error; grey where the run did not come
    to its end, where it is of fewer prompts than the data has, or nothing was judged; else green.
    The reason stands in the text, and so does the toy pair.

    Args:
        source: The run and its figures.
        comparison: What ``comparison.json`` of the run says, if there is one.
        figure: ``NAME`` or ``NAME@DOMAIN``.

    Raises:
        UsageError: There is no such figure or domain.
    """
    name, _, scope = figure.partition("@")
    groups = {**source.summary.domains, OVERALL: source.summary.overall}
    costs = {**source.costs[0], OVERALL: source.costs[1]}
    scope = scope or OVERALL
    if name not in (*METRIC_LABELS, "speedup"):
        raise unknown_value("--badge-figure", name, (*METRIC_LABELS, "speedup"))
    if scope not in groups:
        raise unknown_value("--badge-figure", scope, groups)
    estimate = costs[scope].speedup if name == "speedup" else groups[scope].metrics[name]
    term = "speedup" if name == "speedup" else METRIC_LABELS[name].term
    decimals = 2 if name == "speedup" else METRIC_LABELS[name].decimals
    value = number(estimate.value, decimals) if math.isfinite(estimate.value) else "not available"
    told = [f"{term}{'' if scope == OVERALL else f' in {scope}'} {value}"]
    colour, reasons = _state(source, comparison)
    return Badge("speculation", " · ".join([*told, *reasons]), colour)


def _state(source: PageSource, comparison: dict[str, Any] | None) -> tuple[str, list[str]]:
    verdicts = source.summary.overall.verdicts
    outcome = None if comparison is None else comparison.get("outcome")
    law = None if source.run.law_test is None else source.run.law_test["verdict"]
    found: list[tuple[str, str]] = []
    if verdicts.algorithmic or law in _REJECTED:
        found.append((RED, "not lossless"))
    if outcome == "fail":
        found.append((RED, "gate failed"))
    if outcome in ("inconclusive", "no verdict"):
        found.append((YELLOW, f"gate {'inconclusive' if outcome == 'inconclusive' else 'open'}"))
    if verdicts.errors:
        found.append((YELLOW, f"{verdicts.errors} in error"))
    if not source.complete:
        found.append((GREY, "partial run"))
    found += [(GREY, text) for text in _fewer(source)]
    if not verdicts.identical + verdicts.numerical + verdicts.sampled + verdicts.algorithmic:
        found.append((GREY, "not judged"))
    colours = [colour for colour, _ in found]
    colour = next((each for each in (RED, YELLOW, GREY) if each in colours), GREEN)
    toy = ["toy pair"] if source.run.uses_builtin else []
    return colour, [*(text for _, text in found), *toy]


def _fewer(source: PageSource) -> list[str]:
    """How many of the prompts of the data are in the figures, where these are not all."""
    counts = prompt_counts(source.run, source.cases).values()
    if all(count.is_whole for count in counts):
        return []
    measured = sum(count.measured for count in counts)
    total = sum(
        max(count.of_data or 0, count.given or 0, count.measured + count.errors) for count in counts
    )
    return [f"{measured} of {counted(total, 'prompt')}"]


def badge_svg(badge: Badge) -> str:
    """The badge as one SVG document that asks for nothing."""
    label, text = (escape(clean_text(part, 200)) for part in (badge.label, badge.text))
    left, right = (_width(part) for part in (badge.label, badge.text))
    whole = left + right
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" \
viewBox="0 0 {whole} 20" role="img" aria-label="{label}: {text}">
<title>{label}: {text}</title>
<clipPath id="r"><rect width="{whole}" height="20" rx="3"/></clipPath>
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#333"/>\
<rect x="{left}" width="{right}" height="20" fill="{badge.colour}"/></g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="6" y="14" textLength="{left - 12}" lengthAdjust="spacingAndGlyphs">{label}</text>
<text x="{left + 6}" y="14" textLength="{right - 12}" lengthAdjust="spacingAndGlyphs">{text}</text>
</g>
</svg>
"""


def _width(text: str) -> int:
    """About how wide a text is at 11 pixels, with its margins."""
    widths = (9.5 if c in _WIDE else 4.2 if c in _NARROW else 6.9 for c in clean_text(text, 200))
    return round(sum(widths)) + 12
