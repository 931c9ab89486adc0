"""Advice as text for the terminal, as JSON and as a budget file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from draftproof.budget import FILTERS, Allotment, Budget, PromisedFigures
from draftproof.replay.advice import DEFAULT_SHAPE, Advice, DomainAdvice, Promise
from draftproof.replay.candidates import LOOKUP, NONE, Candidate
from draftproof.replay.servers import SERVER_OPTIONS
from draftproof.shapes import ChainShape, StaticShape
from draftproof.statistics.bootstrap import Estimate
from draftproof.wording import counted

_LONGEST_SHAPE = 28
_AS_FOR_ALL = " (as for all)"
_FEW_PROMPTS = 10
"""Prompts of a domain below which a choice is another one from one recording to the next."""


def interval(estimate: Estimate, decimals: int = 2) -> str:
    """A figure with its interval.

    Example:
        >>> interval(Estimate(value=1.25, low=1.2, high=1.31, n=9))
        '1.25 [1.20, 1.31]'
    """
    if math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return f"{estimate.value:.{decimals}f} [–]"
    return (
        f"{estimate.value:.{decimals}f} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"
    )


def table_of(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    """A table as text, its cells as they are."""
    return str(tabulate(rows, heads, disable_numparse=True))


def shown(candidate: Candidate) -> str:
    """A setting in a table's cell: a large tree by its size, which the budget file has whole."""
    shape = str(candidate.shape)
    if isinstance(candidate.shape, StaticShape) and len(shape) > _LONGEST_SHAPE:
        tree = candidate.shape
        shape = f"tree of {tree.most_nodes} nodes, depth {tree.deepest}"
    if isinstance(candidate.shape, ChainShape) and candidate.shape.gain_below:
        chain = candidate.shape
        shape = f"chain:{chain.length} that ends below {chain.gain_below:g}"
    return NONE if candidate.draft == NONE else f"{candidate.draft}, {shape}"


def terminal_advice(advice: Advice, notes: Sequence[str] = ()) -> str:
    """The advice as tables and sentences."""
    info = advice.recording.info
    head = (
        f"Advice for {info.models['target'].get('name', 'the target')} at temperature "
        f"{info.temperature:g}: {counted(len(advice.recording.cases), 'recorded prompt')}; "
        f"costs: {advice.costs.device}."
    )
    heads, rows = advice_cells(advice)
    table = table_of(rows, heads)
    blocks = [
        head,
        *notes,
        *advice_notes(advice),
        table,
        "Settings are chosen on all prompts; block efficiency and speedup are measured, by replay, "
        f"on prompts that had no part in the choice ({_folds(advice)}). Intervals "
        "are over prompts, at 95%, and leave the noise of the costs out. Where the one setting for "
        "all domains was faster there than a domain's own, it is advised (as for all).",
        f"One setting for all domains: {shown(advice.single.candidate)}, speedup "
        f"{interval(advice.single.speedup)}.",
        _compared(advice),
        *_early_lines(advice),
        _server_lines(advice),
    ]
    return "\n\n".join(block for block in blocks if block)


def _folds(advice: Advice) -> str:
    """How many parts the prompts of the domains were split into."""
    counts = sorted({each.folds for each in advice.domains})
    return f"{' to '.join(str(each) for each in dict.fromkeys((counts[0], counts[-1])))} folds"


def advice_notes(advice: Advice) -> list[str]:
    """Sentences on what the advice lacks: prompts, or costs."""
    few = [f"{e.domain} ({e.prompts})" for e in advice.domains if e.prompts < _FEW_PROMPTS]
    lines = []
    if few:
        lines.append(
            f"Few prompts: {', '.join(few)}. A setting chosen on so few is another one in the next "
            "recording, and its interval may be missing; record 50 of each domain."
        )
    if any(each.default is None for each in advice.domains):
        lines.append(
            "The default tree is not priced: it takes costs of passes over "
            f"{DEFAULT_SHAPE.most_nodes + 1} tokens of the target and 4 of the draft model, and "
            f"--k {DEFAULT_SHAPE.branching} or more of the recording."
        )
    if advice.left_out:
        lines.append(
            f"One prompt only, on which nothing can be chosen: {', '.join(advice.left_out)}. They "
            "are given the one setting for all domains."
        )
    return lines


def advice_cells(advice: Advice) -> tuple[list[str], list[list[str]]]:
    """The heads and the rows of the table of advice, a row a domain."""
    heads = [
        "domain",
        "prompts",
        "advised",
        "block\nefficiency",
        "speedup",
        "speedup of the\ndefault tree",
        "lost with one\nsetting for all",
        "off from\ncost ratio",
    ]
    rows = [
        [
            each.domain,
            str(each.prompts),
            shown(each.advised.candidate) + (_AS_FOR_ALL if each.is_single else ""),
            interval(each.advised.block_efficiency),
            interval(each.advised.speedup),
            "–" if each.default is None else interval(each.default.speedup),
            _percent(each.single_loss),
            _ratio(each.break_even),
        ]
        for each in advice.domains
    ]
    return heads, rows


def _compared(advice: Advice) -> str:
    kinds = [(p.candidate.draft, p.kind) for p in advice.domains[0].compared]
    rows = []
    for draft, kind in kinds:
        if draft == NONE:
            continue
        row = [draft if kind in (LOOKUP,) else f"{draft}, best {kind}"]
        for each in advice.domains:
            promise = next(p for p in each.compared if (p.candidate.draft, p.kind) == (draft, kind))
            row.append(f"{_short(promise)} {interval(promise.speedup)}")
        rows.append(row)
    if not rows:
        return ""
    return table_of(rows, ["speedup of", *(each.domain for each in advice.domains)])


def _early_lines(advice: Advice) -> list[str]:
    """What ending chains early gains, and whether the entropy has a part in it."""
    early = [(each.domain, each.early_gain) for each in advice.domains if each.early_gain]
    entropy = [(each.domain, each.entropy_gain) for each in advice.domains if each.entropy_gain]
    if not early or not entropy:
        return []
    listed = [
        ", ".join(f"{domain} {_signed(gain)}" for domain, gain in gains)
        for gains in (early, entropy)
    ]
    resolved = [domain for domain, gain in entropy if gain.low > 0 or gain.high < 0]
    if resolved:
        verdict = f"the interval leaves 0 out in {', '.join(resolved)}"
    elif any(math.isfinite(gain.low) for _, gain in entropy):
        verdict = "every interval has 0 in it: entropy buys nothing that these prompts can show"
    else:
        verdict = "these prompts are too few for an interval, and say nothing of it"
    return [
        "Chains that end where the draft model is not sure, against the best chain of one length "
        f"(speed gained): {listed[0]}. With its entropy beside its largest probability, against "
        f"the probability alone: {listed[1]}; {verdict}."
    ]


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:+.1%}"
    return f"{estimate.value:+.1%} [{estimate.low:+.1%}, {estimate.high:+.1%}]"


def _short(promise: Promise) -> str:
    shape = promise.candidate.shape
    if isinstance(shape, StaticShape):
        return f"{shape.most_nodes} nodes:"
    if isinstance(shape, ChainShape) and shape.gain_below:
        return f"chain:{shape.length} below {shape.gain_below:g}:"
    return f"{str(shape).split(',')[0]}:"


def _server_lines(advice: Advice) -> str:
    lines = ["For servers, whose drafts are chains of one length (0: no speculation):"]
    models = [name for name in advice.drafters if name not in (LOOKUP, NONE)]
    if not models:
        return ""
    for model in models:
        by_domain = ", ".join(
            f"{each.domain} {each.chain_length(model)}" for each in advice.domains
        )
        length = advice.single_chains.get(model, 0)
        lines.append(f"  {model}: {by_domain}; for all of them {length}")
        lines += [f"    {option.server}: {option.text(length)}" for option in SERVER_OPTIONS]
    return "\n".join(lines)


def _percent(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:.1%}"
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


def _ratio(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "never" if math.isinf(value) else f"{value:.2f}"


def advice_budget(advice: Advice) -> Budget:
    """The budget file of the advice."""
    target = str(advice.recording.info.settings["target"])

    def allotted(candidate: Candidate) -> Allotment:
        return Allotment(draft=candidate.draft, tree=candidate.shape)

    return Budget(
        target=target,
        temperature=advice.recording.info.temperature,
        filters=_filters(advice.recording.info.settings.get("sampling") or {}),
        domains={each.domain: allotted(each.advised.candidate) for each in advice.domains},
        otherwise=allotted(advice.single.candidate),
        promises=tuple(
            PromisedFigures(
                domain=each.domain,
                block_efficiency=_ends(each.advised.block_efficiency),
                speedup=_ends(each.advised.speedup),
                off_policy=advice.recording.info.off_policy,
            )
            for each in advice.domains
        ),
    )


def _filters(sampling: Mapping[str, Any]) -> dict[str, float] | None:
    """What the recording was made with; None of a recording that does not say."""
    if not all(name in sampling for name in FILTERS):
        return None
    return {name: float(sampling[name]) for name in FILTERS}


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def advice_json(advice: Advice) -> dict[str, Any]:
    """The advice as JSON values."""
    info = advice.recording.info
    return {
        "target": dict(info.models["target"]),
        "temperature": info.temperature,
        "off_policy": info.off_policy or None,
        "drafters": list(advice.drafters),
        "costs": advice.costs.to_json(),
        "domains": {each.domain: _domain_json(each) for each in advice.domains},
        "single": _promise_json(advice.single),
        "chain_lengths": dict(advice.single_chains),
        "versions": dict(info.versions),
        "hardware": dict(info.hardware),
    }


def _domain_json(each: DomainAdvice) -> dict[str, Any]:
    return {
        "prompts": each.prompts,
        "advised": {**_promise_json(each.advised), "as_for_all": each.is_single},
        "default": None if each.default is None else _promise_json(each.default),
        "compared": [_promise_json(promise) for promise in each.compared],
        "agreeing_folds": [each.agreeing, each.folds],
        "lost_with_one_setting": _estimate_json(each.single_loss),
        "early_gain": None if each.early_gain is None else _estimate_json(each.early_gain),
        "entropy_gain": None if each.entropy_gain is None else _estimate_json(each.entropy_gain),
        "off_from_cost_ratio": None if not math.isfinite(each.break_even) else each.break_even,
        "sweep": each.points.to_json(),
    }


def _promise_json(promise: Promise) -> dict[str, Any]:
    return {
        "draft": promise.candidate.draft,
        "tree": str(promise.candidate.shape),
        "kind": promise.kind,
        "block_efficiency": _estimate_json(promise.block_efficiency),
        "speedup": _estimate_json(promise.speedup),
    }


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "value": number(estimate.value),
        "low": number(estimate.low),
        "high": number(estimate.high),
        **({"reason": estimate.reason} if estimate.reason else {}),
    }
