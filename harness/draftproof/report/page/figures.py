"""Every figure of the page, from a run's estimates."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.report.labels import OVERALL
from draftproof.report.page import specs
from draftproof.report.page.figure import (
    INTERVAL_COLUMNS,
    Figure,
    Row,
    cells,
    rounded,
    spread,
    value_range,
)
from draftproof.report.page.source import PageSource
from draftproof.report.tables import share_text
from draftproof.statistics import DomainOrder, Estimate
from draftproof.statistics.dependence import PARTS
from draftproof.statistics.findings import PUBLISHED, STUDY_ORDER
from draftproof.statistics.study import ACCEPTANCE
from draftproof.wording import counted

SHOWN_ORDERS = 6
_DODGE = 0.05

PART_LABELS = dict(
    zip(
        PARTS, ("domain alone", "depth alone", "domain, given depth", "depth, given domain"),
        strict=True,
    )
)  # fmt: skip


def figures(source: PageSource) -> tuple[Figure, ...]:
    """The figures in the order of the page."""
    return (
        acceptance_by_domain(source),
        depth_profile(source, "acceptance_probability", "depth-acceptance"),
        depth_profile(source, "reach_rate", "depth-reach"),
        accepted_lengths(source),
        entropy_acceptance(source),
        position_profile(source),
        task_or_depth(source),
        domain_orders(source),
        domain_pairs(source),
        speedups(source),
    )


def acceptance_by_domain(source: PageSource) -> Figure:
    """Acceptance probability by domain, beside the study's."""
    metric = ACCEPTANCE.name
    compared = set(source.domains) == set(STUDY_ORDER)
    rows = []
    for domain, group in source.summary.domains.items():
        published = PUBLISHED[domain] if compared else None
        rows.append({"domain": domain, **cells(group.metrics[metric]), "study": published})
    low, high = value_range(rows)
    if compared:
        low, high = min(low, min(PUBLISHED.values()) - 0.01), max(high, max(PUBLISHED.values()))
    groups = source.summary.domains.values()
    return Figure(
        key="domain-acceptance",
        title="Acceptance probability by domain",
        note=_note(source, [group.metrics[metric] for group in groups], "nodes")
        + (" Diamonds: as published by the study, for another pair of models." if compared else ""),
        columns=("domain", *INTERVAL_COLUMNS, *(("study",) if compared else ())),
        rows=tuple(rows),
        spec=specs.dots(
            source.domains, (low, high), "acceptance probability", study=compared, key="domain"
        ),
        reason=_nothing(rows, [group.metrics[metric] for group in groups]),
    )


def depth_profile(source: PageSource, metric: str, key: str) -> Figure:
    """A figure of each depth, a line a domain."""
    titles = {"acceptance_probability": "acceptance probability", "reach_rate": "reach rate"}
    rows, estimates = [], []
    for domain, group in source.summary.domains.items():
        for depth in group.depth_profile:
            estimate = depth.metrics[metric]
            estimates.append(estimate)
            rows.append({"domain": domain, "depth": depth.depth, **cells(estimate)})
    unit = "nodes" if metric == "acceptance_probability" else "steps"
    kept = _known(rows)
    span = value_range(kept)
    _dodge(kept, "depth", source.domains)
    labels = _line_labels(kept, span)
    depths = sorted({row["depth"] for row in kept})
    return Figure(
        key=key,
        title=f"{_sentence(titles[metric])} by depth",
        note=_note(source, estimates, unit),
        columns=("domain", "depth", *INTERVAL_COLUMNS),
        rows=tuple(kept),
        spec=specs.lines(source.domains, labels, span, ("depth", depths), titles[metric]),
        reason=_nothing(kept, estimates),
    )


def accepted_lengths(source: PageSource) -> Figure:
    """The share of steps with each accepted length, by domain."""
    rows, estimates = [], []
    for domain, shares in source.lengths.domains.items():
        for length, share in enumerate(shares):
            estimates.append(share)
            rows.append({"domain": domain, "accepted length": length, **cells(share)})
    kept = _known(rows)
    return Figure(
        key="accepted-lengths",
        title="Accepted length of a step",
        note=_note(source, estimates, "steps"),
        columns=("domain", "accepted length", *INTERVAL_COLUMNS),
        rows=tuple(kept),
        spec=specs.grouped_bars(source.domains, value_range(kept, floor=0)),
        keyed=True,
        reason=_nothing(kept, estimates),
    )


def entropy_acceptance(source: PageSource) -> Figure:
    """Acceptance probability of nodes by draft entropy, a line a domain."""
    rows = [
        {
            "domain": domain,
            "entropy from": part.low,
            "entropy to": rounded(part.high),
            "mean draft entropy": rounded(part.draft_entropy, 4),
            **cells(part.acceptance_probability),
        }
        for domain, ranges in source.entropies.items()
        for part in ranges
    ]
    estimates = [p.acceptance_probability for ranges in source.entropies.values() for p in ranges]
    kept = [row for row in rows if row["low"] is not None] or _known(rows)
    for row in kept:
        row["x"] = row["mean draft entropy"]
    span = value_range(kept)
    return Figure(
        key="entropy-acceptance",
        title="Acceptance probability by draft entropy",
        note=_note(source, estimates, "nodes"),
        columns=(
            "domain",
            "entropy from",
            "entropy to",
            "mean draft entropy",
            *INTERVAL_COLUMNS,
        ),
        rows=tuple(kept),
        spec=specs.lines(
            source.domains,
            (),
            span,
            ("draft entropy in nats", [row["x"] for row in kept]),
            "acceptance probability",
            counted=False,
        ),
        keyed=True,
        reason=_nothing(kept, estimates),
    )


def position_profile(source: PageSource) -> Figure:
    """Acceptance probability by position in the output, over all prompts."""
    ranges = source.study.positions.ranges
    rows = [
        {
            "position": f"{part.first}–{part.last}" if part.last else f"{part.first} and later",
            **cells(part.acceptance_probability),
        }
        for part in ranges
    ]
    kept = _known(rows)
    estimates = [part.acceptance_probability for part in ranges]
    return Figure(
        key="positions",
        title="Acceptance probability by position in the output",
        note=_note(source, estimates, "nodes"),
        columns=("position", *INTERVAL_COLUMNS),
        rows=tuple(kept),
        spec=specs.position_line(
            [row["position"] for row in kept], value_range(kept), "acceptance probability"
        ),
        reason=_nothing(kept, estimates),
    )


def task_or_depth(source: PageSource) -> Figure:
    """Bits that domain and depth say about acceptance."""
    answer = source.study.task_or_depth
    rows = [
        {"predictor": PART_LABELS[part], **cells(answer.information[part])}
        for part in PARTS
        if part in answer.information
    ]
    kept = _known(rows)
    return Figure(
        key="task-or-depth",
        title="What domain and depth say about acceptance",
        note=_note(source, list(answer.information.values()), "nodes")
        + " Bias-corrected, so a value can be below 0.",
        columns=("predictor", *INTERVAL_COLUMNS),
        rows=tuple(kept),
        spec=specs.interval_bars(
            list(PART_LABELS.values()), value_range(kept, floor=0), "bits a node"
        ),
        reason=answer.reason or _nothing(kept, list(answer.information.values())),
    )


def domain_orders(source: PageSource) -> Figure:
    """The most frequent orders of the domains, and their shares of resamples."""
    order = source.study.acceptance_order
    rows = tuple(
        {
            "order": " > ".join(names),
            "share": rounded(share),
            "label": share_text(share) + (" (the study’s order)" if names == STUDY_ORDER else ""),
        }
        for names, share in order.probabilities[:SHOWN_ORDERS]
    )
    shown = sum(share for _, share in order.probabilities[:SHOWN_ORDERS])
    rest = len(order.probabilities) - len(rows)
    note = f"Share of {source.summary.resampling.resamples:,} resamples of prompts."
    if rest > 0:
        note += f" {rest} further orders share {share_text(1 - shown)}."
    return Figure(
        key="domain-orders",
        title="Domains by acceptance probability: how sure is the order?",
        note=note,
        columns=("order", "share"),
        rows=rows,
        spec=specs.order_bars([str(row["order"]) for row in rows]),
        reason=_no_order(order, source),
    )


def domain_pairs(source: PageSource) -> Figure:
    """For each pair of domains, how often one is above the other."""
    order = source.study.acceptance_order
    rows = tuple(
        {"domain": a, "above": b, "share": rounded(share), "label": share_text(share)}
        for (a, b), share in order.above.items()
    )
    return Figure(
        key="domain-pairs",
        title="Share of resamples in which the row’s acceptance is above the column’s",
        note=f"{source.summary.resampling.resamples:,} resamples of prompts within each domain.",
        columns=("domain", "above", "share"),
        rows=rows,
        spec=specs.pair_matrix(list(order.domains)),
        reason=_no_order(order, source),
    )


def speedups(source: PageSource) -> Figure:
    """Speedup by domain."""
    by_domain, overall = source.costs
    rows = []
    for name, cost in {**by_domain, OVERALL: overall}.items():
        rows.append(
            {
                "domain": name,
                **cells(cost.speedup),
                "plain seconds": rounded(cost.plain.value),
                "speculative seconds": rounded(cost.speculative.value),
            }
        )
    kept = _known(rows)
    low, high = value_range(kept)
    estimates = [cost.speedup for cost in (*by_domain.values(), overall)]
    return Figure(
        key="speedup",
        title="Speedup: plain ÷ speculative seconds per committed token",
        note=_note(source, estimates[:-1], "prompts", what="expanded percentile bootstrap"),
        columns=("domain", *INTERVAL_COLUMNS, "plain seconds", "speculative seconds"),
        rows=tuple(kept),
        spec=specs.dots(
            (*source.domains, OVERALL),
            (min(low, 0.95), max(high, 1.05)),
            "speedup (1: as fast as plain decoding)",
            reference=1,
            key="domain",
        ),
        reason=_nothing(kept, estimates),
    )


def _line_labels(rows: Sequence[Row], span: tuple[float, float]) -> list[Row]:
    """The last point of each domain's line, with a place for its label."""
    last: dict[str, Row] = {}
    for row in rows:
        if row["domain"] not in last or row["x"] > last[row["domain"]]["x"]:
            last[row["domain"]] = row
    gap = (span[1] - span[0]) * specs.LABEL_SHARE
    places = spread([row["value"] for row in last.values()], gap)
    right = max((row["x"] for row in last.values()), default=0)
    return [
        {"domain": domain, "x": right, "place": place}
        for domain, place in zip(last, places, strict=True)
    ]


def _dodge(rows: Sequence[Row], name: str, domains: Sequence[str]) -> None:
    """Places rows beside each other where domains share a value of `name`."""
    middle = (len(domains) - 1) / 2
    for row in rows:
        row["x"] = round(row[name] + _DODGE * (domains.index(row["domain"]) - middle), 3)


def _known(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["value"] is not None]


def _nothing(rows: Sequence[Row], estimates: Sequence[Estimate]) -> str:
    if any(row["value"] is not None for row in rows):
        return ""
    return next((e.reason for e in estimates if e.reason), "nothing was measured")


def _no_order(order: DomainOrder, source: PageSource) -> str:
    if order.reason:
        return order.reason
    return "" if len(source.domains) > 1 else "one domain has no order"


def _note(source: PageSource, estimates: Sequence[Estimate], unit: str, *, what: str = "") -> str:
    """The n of a figure's estimates, and what its intervals are."""
    sizes = [estimate.n for estimate in estimates if estimate.n]
    if not sizes:
        return ""
    n = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,}–{max(sizes):,}"
    resampling = source.summary.resampling
    missing = sum(1 for e in estimates if e.n and e.reason)
    text = (
        f"n = {n} {unit} a point. Intervals: {resampling.level:.0%}, {what or 'bootstrap'} over "
        f"prompts, {resampling.resamples:,} resamples."
    )
    if missing:
        points = counted(missing, "point has", "points have")
        text += f" {points} no interval: left out, or drawn without one."
    return text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
