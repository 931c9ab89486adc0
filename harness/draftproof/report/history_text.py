"""A trend as text: a table of the newest runs a series, and its change points in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.history.entry import SPEEDUP, Figure, HistoryEntry
from draftproof.history.trend import Place, Series, Trend
from draftproof.report.labels import METRIC_LABELS, NOT_ESTIMABLE, Label
from draftproof.report.markdown import inline, markdown_table
from draftproof.report.tables import Cell, Table, number
from draftproof.report.terminal import terminal_table
from draftproof.statistics.change_point import fewest_values

SHOWN_RUNS, SHOWN_SERIES = 20, 4
SPEEDUP_LABEL = Label("speedup", "speedup", 2)


def label_of(metric: str) -> Label:
    """How a figure is called and rounded; with one decimal more than in a report of one run."""
    label = SPEEDUP_LABEL if metric == SPEEDUP else METRIC_LABELS[metric]
    return label._replace(decimals=max(3, label.decimals))


def terminal_trend(found: Trend, notes: Sequence[str] = (), *, last: int = SHOWN_RUNS) -> str:
    """The trend for a terminal.

    Args:
        found: The trend.
        notes: What must be said of the history.
        last: Runs of a series that are shown.
    """
    blocks = ["\n".join([f"{label_of(found.metric).term} over commits", *notes])]
    for series, title, lines in _parts(found, last):
        table = terminal_table(trend_table(series, last=last))
        blocks.append("\n".join([title, "", table, "", *lines]))
    return "\n\n".join([*blocks, *closing_lines(found)])


def markdown_trend(found: Trend, notes: Sequence[str] = (), *, last: int = SHOWN_RUNS) -> str:
    """The trend as Markdown, for a CI summary."""
    blocks = [f"## {inline(label_of(found.metric).term)} over commits"]
    blocks += [inline(note) for note in notes]
    for series, title, lines in _parts(found, last):
        blocks += [f"### {inline(title)}", markdown_table(trend_table(series, last=last))]
        blocks.append("\n".join(f"- {inline(line)}" for line in lines))
    return "\n\n".join([*blocks, *map(inline, closing_lines(found))])


def _parts(found: Trend, last: int) -> list[tuple[Series, str, list[str]]]:
    return [
        (series, series_title(series, index, len(found.series)), series_lines(series, last=last))
        for index, series in enumerate(found.series[:SHOWN_SERIES], start=1)
    ]


def closing_lines(found: Trend) -> list[str]:
    """How the test was made, and what is not shown."""
    lines = []
    if (more := len(found.series) - SHOWN_SERIES) > 0:
        lines.append(
            f"{more} more series, of older runs; --branch NAME shows one branch, --html FILE a "
            "page of all."
        )
    return [*lines, method_line(found)]


def method_line(found: Trend) -> str:
    """What the test is, and how often it is wrong."""
    share = found.alpha / found.lines
    return (
        "Change points: largest standardised rank sum over all divisions of a line (maximally "
        "selected Wilcoxon statistic), its p-value over random orders of the runs. If nothing "
        "changed and runs are independent, any change point is shown with a chance of at most "
        f"{found.alpha:g}: {share:.2g} for each of {found.lines} lines, which needs "
        f"{fewest_values(share)} commits. A single run that is off, be it the newest, is no "
        "change point; gates judge one run."
    )


def series_title(series: Series, index: int, of: int) -> str:
    """What a series is, in one line."""
    branch = series.branch or "unknown branch"
    told = [fact for fact in series.described if not fact.startswith("branch ")]
    which = "" if of == 1 else f"Series {index} of {of}: "
    return f"{which}{' · '.join([branch, *told])}: {_counted(series)}"


def _counted(series: Series) -> str:
    runs, commits = len(series.runs), {run.provenance.commit for run in series.runs} - {None}
    told = f" of {len(commits)} commit{'s' * (len(commits) != 1)}" if commits else ""
    return f"{runs} run{'s' * (runs != 1)}{told}"


def series_lines(series: Series, *, last: int = SHOWN_RUNS) -> list[str]:
    """What is to be said of a series: change points, and runs that are shown and not tested."""
    lines = [place_line(series, place) for place in series.places]
    if series.too_few:
        lines.append(
            f"{len(series.tested)} runs are tested: too few to show any change, which needs "
            f"{series.too_few}."
        )
    elif not series.places:
        lines.append("No change point is shown.")
    if partial := sum(run.is_partial for run in series.runs):
        lines.append(
            f"{partial} of {len(series.runs)} runs lack prompts (marked: partial); they are not "
            "tested."
        )
    if dirty := sum(bool(run.provenance.dirty) for run in series.runs):
        lines.append(
            f"{dirty} of {len(series.runs)} runs are of a work tree that differed from its commit "
            "(marked +); they are not tested."
        )
    if (hidden := len(series.runs) - last) > 0:
        lines.append(
            f"{hidden} older run{'s are' if hidden > 1 else ' is'} tested too and not shown."
        )
    return lines


def place_line(series: Series, place: Place) -> str:
    """A change point in a sentence."""
    decimals = label_of(series.metric).decimals
    before, after = (number(v, decimals) for v in (place.change.before, place.change.after))
    also = f"; there too: {', '.join(place.also)}" if place.also else ""
    return (
        f"Change point, {place.scope}: {before} → {after} (medians), between "
        f"{commit_text(place.before)} and {commit_text(place.after)}, p "
        f"{p_text(place.change.p_value)}{also}."
    )


def p_text(value: float) -> str:
    """A p-value with its sign.

    Example:
        >>> p_text(0.0004), p_text(0.031)
        ('< .001', '= .031')
    """
    return "< .001" if value < 0.001 else f"= {number(value, 3)}"


def trend_table(series: Series, *, last: int = SHOWN_RUNS) -> Table:
    """One row a run, the newest at the bottom: commit, time, and the figure of each scope."""
    label = label_of(series.metric)
    rows = [
        (
            Cell(text=commit_text(run)),
            Cell(text=run.moment[:16].replace("T", " ")),
            *(_cell(series.figure(run, scope), label.decimals) for scope in series.scopes),
            Cell(text=", ".join(remarks(run)) or NOT_ESTIMABLE),
        )
        for run in series.runs[-last:]
    ]
    names = ("commit", "time, UTC", *series.scopes, "remarks")
    return Table(columns=tuple(Label(name, name, 0) for name in names), rows=tuple(rows))


def commit_text(run: HistoryEntry) -> str:
    """A commit by the first letters of its hash; ``+`` for a work tree that differed from it."""
    commit = run.provenance.commit
    return "unknown" if commit is None else commit[:10] + "+" * bool(run.provenance.dirty)


def remarks(run: HistoryEntry) -> list[str]:
    """What a figure of a run must not be read without."""
    lost, changed = sum(run.missing.values()), run.verdicts.get("algorithmic", 0)
    return [
        *([f"partial: {run.measured} of {run.measured + lost} prompts"] if lost else []),
        *([f"{changed} algorithmic"] if changed else []),
        *([f"gates {run.gates}"] if run.gates and run.gates != "pass" else []),
    ]


def _cell(figure: Figure | None, decimals: int) -> Cell:
    if figure is None:
        return Cell(text=NOT_ESTIMABLE)
    if figure.low is None or figure.high is None:
        return Cell(text=number(figure.value, decimals), interval=NOT_ESTIMABLE)
    ends = f"{number(figure.low, decimals)}–{number(figure.high, decimals)}"
    return Cell(text=number(figure.value, decimals), interval=ends)
