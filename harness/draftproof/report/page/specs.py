"""Vega-Lite specifications of the page's figures; colours and type come from the page's theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from draftproof.data.prompt import DOMAINS
from draftproof.report.labels import OVERALL
from draftproof.report.page.figure import Figure, Row, Spec

HEIGHT = 260
LABEL_SHARE = 15 / HEIGHT
"""Height of a label ÷ height of a figure: how far apart labels must be."""

COLOURS = 8
"""Colours for domains, ``c0`` to ``c7``; a ninth domain has the first one's again."""

_ROW = 34
_GREY, _PAPER = "theme:grey", "theme:paper"
"""The page replaces ``theme:NAME`` by the colour of that name, light or dark."""

Span = tuple[float, float]


def dots(
    names: Sequence[str],
    span: Span,
    title: str,
    *,
    key: str,
    study: bool = False,
    reference: float | None = None,
) -> Spec:
    """A dot and its interval a row, with the value at its right; the study's value as a ring."""
    y = {"field": key, "type": "nominal", "sort": list(names), "title": None, "axis": _names_axis()}
    x = _quantity("value", span, title)
    layers: list[Spec] = []
    if reference is not None:
        layers.append(
            {
                "data": {"values": [{"reference": reference}]},
                "mark": {"type": "rule", "strokeDash": [3, 3]},
                "encoding": {
                    "x": _quantity("reference", span, title),
                    "color": {"value": _GREY},
                    "tooltip": {"value": None},
                },
            }
        )
    layers += [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "strokeCap": "round"},
            "encoding": {"x": _quantity("low", span, title), "x2": {"field": "high"}, "y": y},
        },
        {
            "mark": {"type": "point", "size": 80, "filled": True, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "text", "dy": -13, "fontSize": 12, "fontWeight": 600},
            "encoding": {
                "x": x,
                "y": y,
                "text": {"field": "value", "type": "quantitative", "format": ".3f"},
            },
        },
    ]
    if study:
        published: Spec = {
            "x": _quantity("study", span, title),
            "y": y,
            "color": {"value": _GREY},
            "tooltip": [{"field": "study", "title": "published by the study"}],
        }
        mark = {"type": "point", "shape": "diamond", "size": 60, "filled": False}
        layers += [
            {"mark": {**mark, "strokeWidth": 1.5, "opacity": 1}, "encoding": published},
            {
                "transform": [{"filter": {"field": key, "equal": names[0]}}],
                "mark": {"type": "text", "dy": -13},
                "encoding": {**published, "text": {"value": "study"}},
            },
        ]
    return _view(
        layers,
        height=_ROW * len(names) + 12,
        encoding={"color": _colours(names), "tooltip": _tooltip(key)},
    )


def lines(
    names: Sequence[str],
    labels: Sequence[Row],
    span: Span,
    across: tuple[str, Sequence[float]],
    title: str,
    *,
    counted: bool = True,
) -> Spec:
    """A line a domain with an interval at each point; `labels` stand at the right ends.

    Args:
        names: The domains.
        labels: Rows with ``domain``, ``x`` and ``place``; empty where a key explains the colours.
        span: Ends of the vertical axis.
        across: Title of the horizontal axis, and the values on it.
        title: Title of the vertical axis.
        counted: Whether the horizontal axis counts, as depths do, so that each value has a tick;
            else it begins at 0.
    """
    name, values = across
    first, last = min(values, default=0), max(values, default=0)
    axis: Spec = {"grid": False}
    scale: Spec = {"zero": False, "nice": False}
    if counted:
        axis |= {"values": list(values), "format": "d"}
        scale["domain"] = [first - 0.25, last + (0.6 if last > first else 0.3)]
    else:
        axis["tickCount"] = 6
        scale["domain"] = [0, 1.04 * last or 1]
    x = {"field": "x", "type": "quantitative", "title": name, "axis": axis, "scale": scale}
    y = _quantity("value", span, title)
    detail = [name] if counted else ["entropy from", "entropy to", "mean draft entropy"]
    layers: list[Spec] = [
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y}},
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.7},
            "encoding": {"x": x, "y": _quantity("low", span, title), "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
    ]
    if labels:
        layers.append(
            {
                "data": {"values": list(labels)},
                "mark": {"type": "text", "align": "left", "dx": 10, "fontWeight": 600},
                "encoding": {
                    "x": x,
                    "y": _quantity("place", span, title),
                    "text": {"field": "domain"},
                    "tooltip": {"value": None},
                },
            }
        )
    return _view(
        layers,
        height=HEIGHT,
        encoding={"color": _colours(names), "tooltip": _tooltip("domain", *detail)},
    )


def grouped_bars(names: Sequence[str], span: Span) -> Spec:
    """The share of steps with each accepted length, a bar a domain."""
    x = {
        "field": "accepted length",
        "type": "ordinal",
        "title": "accepted length",
        "axis": {"labelAngle": 0, "grid": False},
        "scale": {"paddingInner": 0.25},
    }
    offset = {"field": "domain", "sort": list(names), "scale": {"paddingInner": 0.15}}
    y = _quantity("value", span, "share of steps", form="%")
    return _view(
        [
            {
                "mark": {"type": "bar", "cornerRadiusEnd": 2},
                "encoding": {"x": x, "xOffset": offset, "y": y},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": _GREY},
                "encoding": {
                    "x": x,
                    "xOffset": offset,
                    "y": _quantity("low", span, "share of steps", form="%"),
                    "y2": {"field": "high"},
                    "color": {"value": _GREY},
                },
            },
        ],
        height=HEIGHT,
        encoding={"color": _colours(names), "tooltip": _tooltip("domain", "accepted length")},
    )


def position_line(names: Sequence[str], span: Span, title: str) -> Spec:
    """A figure of each range of positions, over all prompts."""
    x = {
        "field": "position",
        "type": "ordinal",
        "sort": list(names),
        "title": "position in the output",
        "axis": {"labelAngle": 0, "grid": False},
        "scale": {"type": "point", "padding": 0.4},
    }
    y = _quantity("value", span, title)
    return _view(
        [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y}},
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": x, "y": _quantity("low", span, title), "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": x, "y": y},
            },
        ],
        height=HEIGHT,
        encoding={"tooltip": _tooltip("position")},
    )


def interval_bars(names: Sequence[str], span: Span, title: str) -> Spec:
    """A horizontal bar and its interval a row."""
    y = {
        "field": "predictor",
        "type": "nominal",
        "sort": list(names),
        "title": None,
        "axis": _names_axis(),
    }
    return _view(
        [
            {
                "mark": {"type": "bar", "height": 12, "cornerRadiusEnd": 2},
                "encoding": {"x": _quantity("value", span, title, form=".4~f"), "y": y},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": _GREY},
                "encoding": {
                    "x": _quantity("low", span, title, form=".4~f"),
                    "x2": {"field": "high"},
                    "y": y,
                    "color": {"value": _GREY},
                },
            },
        ],
        height=_ROW * len(names),
        encoding={"tooltip": _tooltip("predictor", form=".5f")},
    )


def order_bars(names: Sequence[str]) -> Spec:
    """The share of each order."""
    y = {
        "field": "order",
        "type": "nominal",
        "sort": list(names),
        "title": None,
        "axis": _names_axis(),
    }
    x = _quantity("share", (0, 1.1), "share of resamples", form="%")
    x["axis"] |= {"values": [0, 0.25, 0.5, 0.75, 1]}
    return _view(
        [
            {
                "mark": {"type": "bar", "height": 12, "cornerRadiusEnd": 2},
                "encoding": {"x": x, "y": y},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "fontWeight": 600},
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
        ],
        height=_ROW * max(1, len(names)),
        encoding={"tooltip": [{"field": "order"}, {"field": "share", "format": ".2%"}]},
    )


def pair_matrix(names: Sequence[str]) -> Spec:
    """A cell for each pair of domains: the darker, the surer that the row is above the column."""
    x = {
        "field": "above",
        "type": "nominal",
        "sort": list(names),
        "title": None,
        "axis": {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False, "grid": False},
    }
    y = {
        "field": "domain",
        "type": "nominal",
        "sort": list(names),
        "title": None,
        "axis": _names_axis(),
    }
    return _view(
        [
            {
                "mark": {"type": "rect", "stroke": _PAPER, "strokeWidth": 3},
                "encoding": {
                    "x": x,
                    "y": y,
                    "opacity": {
                        "field": "share",
                        "type": "quantitative",
                        "legend": None,
                        "scale": {"domain": [0, 1], "range": [0.06, 0.55]},
                    },
                },
            },
            {
                "mark": {"type": "text", "fontWeight": 600},
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
        ],
        height=42 * max(1, len(names)),
        encoding={
            "tooltip": [
                {"field": "domain"},
                {"field": "above", "title": "above"},
                {"field": "share", "format": ".2%"},
            ]
        },
    )


def trend(
    span: Span, title: str, levels: Sequence[Row], is_changed: bool, kinds: Sequence[str]
) -> Spec:
    """A figure of each run in order, with its interval; between change points, the level.

    Args:
        span: Ends of the vertical axis.
        title: Title of the vertical axis.
        levels: Rows with ``from``, ``to`` and ``level``.
        is_changed: Whether there is a change point, so that the levels are drawn.
        kinds: The values of ``tested`` that there are: a layer of no run has no scale.
    """
    place: Spec = {
        "type": "quantitative",
        "title": "run",
        "axis": {"grid": False, "format": "d", "tickMinStep": 1},
        "scale": {"zero": False, "nice": False, "padding": 12},
    }
    x: Spec = {"field": "run", **place}
    y = _quantity("value", span, title)
    mark: Spec = {"type": "point", "size": 40, "opacity": 1, "strokeWidth": 1.5}
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.35},
            "encoding": {"x": x, "y": _quantity("low", span, title), "y2": {"field": "high"}},
        },
        *(
            {
                "transform": [{"filter": {"field": "tested", "equal": is_tested}}],
                "mark": mark | {"filled": is_tested == "yes"},
                "encoding": {"x": x, "y": y},
            }
            for is_tested in kinds
        ),
    ]
    if is_changed:
        layers.append(
            {
                "data": {"values": list(levels)},
                "mark": {"type": "rule", "strokeWidth": 2.5},
                "encoding": {
                    "x": {"field": "from", **place},
                    "x2": {"field": "to"},
                    "y": _quantity("level", span, title),
                    "color": {"value": "theme:ink"},
                    "tooltip": {"value": None},
                },
            }
        )
    return _view(
        layers,
        height=HEIGHT,
        encoding={"tooltip": _tooltip("run", "commit", "time", "remarks")},
    )


def _view(layers: list[Spec], *, height: int, encoding: Spec) -> Spec:
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "encoding": encoding,
        "layer": layers,
    }


def _quantity(field: str, span: Span, title: str, *, form: str = ".3~f") -> dict[str, Any]:
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": list(span), "nice": False, "zero": False},
        "axis": {"format": form, "tickCount": 5},
    }


def _names_axis() -> Spec:
    return {"grid": False, "ticks": False, "domain": False, "labelPadding": 10, "labelLimit": 240}


def chart_data(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """What ``charts.js`` draws: the figures that have something to draw."""
    return [
        {
            "key": figure.key,
            "title": figure.title,
            "columns": list(figure.columns),
            "rows": drawable(list(figure.rows)),
            "spec": drawable(figure.spec),
        }
        for figure in figures
        if not figure.reason
    ]


def drawable(values: Any) -> Any:
    """Data and specifications in which no text is the name of what every JavaScript object has.

    Vega looks values up as keys of objects: a domain called ``constructor`` blanks every chart.
    Such a text is followed by a space of no width.

    Example:
        >>> drawable([{"domain": "constructor"}])[0]["domain"] == "constructor\u200b"
        True
    """
    if isinstance(values, dict):
        return {key: drawable(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [drawable(value) for value in values]
    return f"{values}\u200b" if values in OF_EVERY_OBJECT else values


OF_EVERY_OBJECT = (
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
)
"""Names of `Object.prototype` (ECMA-262, section 20.1.3)."""


def domain_colours(names: Sequence[str]) -> dict[str, str]:
    """The colour of each domain: the study's have the same in every run; overall is ink.

    Example:
        >>> domain_colours(("math", "chat", "poetry", "overall"))
        {'math': 'c1', 'chat': 'c3', 'poetry': 'c4', 'overall': 'ink'}
    """
    own = [name for name in names if name not in (*DOMAINS, OVERALL)]
    places = {name: i % COLOURS for i, name in enumerate((*DOMAINS, *own))}
    return {name: "ink" if name == OVERALL else f"c{places[name]}" for name in names}


def _colours(names: Sequence[str]) -> Spec:
    colours = [f"theme:{colour}" for colour in domain_colours(names).values()]
    return {
        "field": "domain",
        "type": "nominal",
        "scale": {"domain": list(names), "range": colours},
        "legend": None,
    }


def _tooltip(*names: str, form: str = ".4f") -> list[Spec]:
    figures = [
        {"field": "value", "format": form},
        {"field": "low", "title": "95% from", "format": form},
        {"field": "high", "title": "to", "format": form},
        {"field": "n", "format": ","},
    ]
    return [{"field": name} for name in names] + figures
