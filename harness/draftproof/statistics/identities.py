"""What must hold of the counts of any case, whatever the models, the tree and the rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from draftproof.statistics.count_identities import check_counts
from draftproof.trace import CaseRecord, Columns, Verdict

_TOLERANCE = 1e-4
"""Between a stored min(1, p/q) and that of the stored p and q, all float32."""
_ROUNDING = 1e-9
"""Of a quotient of two sums of whole numbers."""
_SHARES = (
    "acceptance_probability",
    "greedy_match",
    "acceptance_rate_drafted",
    "acceptance_rate_reached",
)


def check_identities(
    record: CaseRecord,
    *,
    top_down: bool = True,
    in_order: bool = True,
    tells_steps: bool = True,
    bonus: bool = True,
) -> list[str]:
    """Every metric identity that a case breaks; none of a sound one.

    Identities hold between numbers that are counted in different places: a broken one means that a
    figure made of them is wrong, whatever it says. They need no model and no second run.

    Args:
        record: The case. Where it has no node although its steps drafted some (an engine that
            reports steps only), those of nodes are left out; its counters are held to what they
            must be without steps (`draftproof.statistics.count_identities`).
        top_down: Whether the rule judges a node only once its parent is kept, as all rules do but
            block and traversal verification, which go from the leaves to the root, and typical
            acceptance, which compares whole paths.
        in_order: Whether it tries siblings in the order in which they were proposed, and none after
            a kept one.
        tells_steps: Whether the engine tells its steps; else nothing is asked of them.
        bonus: Whether a step makes one token more where all of its draft is kept.

    Returns:
        A line each, with the step or the node and the rule; empty for a case in error.

    Source:
        Sums of emitted tokens, histograms and acceptance by position as engines' own tests state
        them; positions and paths follow from how `draftproof.trace` defines its columns.
    """
    if record.verdict is Verdict.ERROR:
        return []
    broken = [*_output(record), *_verdict(record), *_counts(record)]
    if tells_steps:
        broken = [*_steps(record, bonus=bonus), *_made(record), *_seconds(record), *broken]
    if len(record.nodes["step"]):
        shape = list(_shape(record))
        broken += shape
        if not shape:
            broken += _against_steps(record)
            broken += _path(record, top_down, in_order)
            broken += _values(record.nodes)
    return broken


def check_figures(figures: Mapping[str, float]) -> dict[str, str]:
    """Figures of one group of prompts that contradict each other, whatever they are made of.

    A step commits at least one token and at most those that it kept and one more. So block
    efficiency is between 1 and 1 + the accepted length, and a rate is between 0 and 1.

    Args:
        figures: By name in `draftproof.statistics.metrics.METRICS`; NaN says nothing.

    Returns:
        By the name of each figure that is not to be believed, why.

    Example:
        >>> sorted(check_figures({"block_efficiency": 3.39, "accepted_length": 0.98}))
        ['accepted_length', 'block_efficiency']
        >>> check_figures({"block_efficiency": 1.41, "accepted_length": 0.41})
        {}
    """
    wrong: dict[str, str] = {}
    length, efficiency = (
        figures.get(name, np.nan) for name in ("accepted_length", "block_efficiency")
    )
    if efficiency > 1 + length + _ROUNDING or efficiency < 1 - _ROUNDING or length < -_ROUNDING:
        line = (
            f"block efficiency {efficiency:.2f} and accepted length {length:.2f} contradict each "
            "other: a step commits 1 token at least, and 1 + its accepted length at most"
        )
        wrong |= dict.fromkeys(("accepted_length", "block_efficiency"), line)
    for name, value in figures.items():
        if name in _SHARES and not (np.isnan(value) or -_ROUNDING <= value <= 1 + _ROUNDING):
            wrong[name] = f"{name.replace('_', ' ')} {value:.3f} is not between 0 and 1"
    return wrong


def _where(bad: np.ndarray, what: str, rule: str) -> Iterator[str]:
    if bad.any():
        rows = np.flatnonzero(bad)
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        yield f"{what} {rows[0]}: {rule}{more}"


def _steps(record: CaseRecord, *, bonus: bool) -> Iterator[str]:
    steps = {name: column.astype(np.float64) for name, column in record.steps.items()}
    accepted, committed = steps["accepted_length"], steps["committed_tokens"]
    yield from _where(
        steps["step"] != np.arange(len(accepted)), "step", "steps are not numbered 0, 1, 2, …"
    )
    for name, column in steps.items():
        if name.endswith("_seconds") and np.isnan(column).all():
            continue  # not told
        yield from _where(~(column >= 0), "step", f"{name} is negative or no number")
    yield from _where(steps["depth"] > steps["nodes"], "step", "depth is more than nodes")
    yield from _where(
        (steps["depth"] == 0) != (steps["nodes"] == 0),
        "step",
        "a draft has nodes and depth, or none",
    )
    yield from _where(accepted > steps["nodes"], "step", "more tokens accepted than drafted")
    yield from _where(accepted > steps["depth"], "step", "accepted length is more than the depth")
    yield from _where(committed < 1, "step", "no token committed")
    yield from _where(
        committed > accepted + 1, "step", "more tokens committed than accepted length + 1"
    )
    extra = np.ones(len(accepted))
    rule = "truncated, and it is not the last step"
    whole = (accepted == steps["depth"]) & (accepted > 0)
    short = committed < accepted + 1
    if not bonus:
        extra[whole] = 0
    elif (whole & short)[:-1].any() and not (~whole & short)[:-1].any():
        rule += (
            " (an engine that draws no token after a draft that is kept whole says so: bonus_token "
            "False in what it describes)"
        )
    yield from _where((committed < accepted + extra)[:-1], "step", rule)
    roots = steps["root_position"]
    if len(roots):
        yield from _where(
            roots[:1] != _prompt_length(record) + _prefill(record) - 1,
            "step",
            "the first root is not the token after the prompt",
        )
        yield from _where(
            np.append(False, np.diff(roots) != committed[:-1]),
            "step",
            "its root is not as far from the one before as tokens were committed",
        )


def _prompt_length(record: CaseRecord) -> int:
    """Tokens of the prompt, which only results of other tools do not tell."""
    return record.prompt_tokens or 0


def _prefill(record: CaseRecord) -> int:
    """Tokens of the output that are in no step: prefill's one.

    None where the first step scores the prompt together with its draft: its root is then the last
    token of the prompt. An engine that tells nodes has no such step.
    """
    roots = record.steps["root_position"]
    with_the_prompt = len(roots) and roots[0] == _prompt_length(record) - 1
    return 0 if with_the_prompt and not len(record.nodes["step"]) else 1


def _made(record: CaseRecord) -> Iterator[str]:
    """The output is what prefill and the steps committed."""
    if record.speculative is None:
        return
    length, prefill = len(record.speculative.token_ids), _prefill(record)
    committed = int(record.steps["committed_tokens"].astype(np.int64).sum())
    if length != committed + prefill:
        yield (
            f"case: the output has {length} tokens, and prefill's {prefill} + the steps' "
            f"{committed} are {committed + prefill}"
        )


def _counts(record: CaseRecord) -> Iterator[str]:
    """The counters of an engine that tells no steps."""
    if record.counts is not None and record.speculative is not None:
        by_text = record.speculative.by_text
        for line in check_counts(record.counts, record.speculative.length, by_text=by_text):
            yield f"counters: {line}"


def _output(record: CaseRecord) -> Iterator[str]:
    if record.speculative is None:
        yield "case: it is not in error, and has no speculative output"
        return
    for name, output in (("plain", record.plain), ("speculative", record.speculative)):
        if output is None or (record.verdict is Verdict.UNJUDGED and np.isnan(output.seconds)):
            continue
        if not output.seconds >= 0:
            yield f"case: seconds of the {name} output are negative or no number"
    for purpose, count in record.draws.items():
        if count < 0:
            yield f"case: a negative number of draws for {purpose}"


def _seconds(record: CaseRecord) -> Iterator[str]:
    """The phases of steps are parts of the output's time; clocks may differ by a little."""
    if record.speculative is None:
        return
    phases = sum(
        record.steps[name].sum(dtype=np.float64) for name in ("draft_seconds", "verify_seconds")
    )
    whole = record.speculative.seconds
    if phases > whole * 1.01 + 0.001:
        yield f"case: its steps took {phases:.4g} seconds, and the whole output {whole:.4g}"


def _verdict(record: CaseRecord) -> Iterator[str]:
    plain, speculative = record.plain, record.speculative
    if plain is None or speculative is None:
        return
    same = (plain.token_ids, plain.stop_reason) == (speculative.token_ids, speculative.stop_reason)
    if record.verdict is Verdict.IDENTICAL and not same:
        yield "case: the verdict is identical, and the outputs are not"
    if record.verdict in (Verdict.NUMERICAL, Verdict.ALGORITHMIC) and same:
        yield f"case: the verdict is {record.verdict}, and the outputs are equal"


def _shape(record: CaseRecord) -> Iterator[str]:
    """What must hold before nodes can be looked up by step and parent."""
    nodes = record.nodes
    step = nodes["step"].astype(np.int64)
    yield from _where(
        (step < 0) | (step >= len(record.steps["step"])),
        "node",
        "its step is not one of the case's",
    )
    yield from _where(np.diff(step, prepend=0) < 0, "node", "nodes are not in the order of steps")
    first = _first_rows(step)
    yield from _where(
        nodes["node"] != np.arange(len(step)) - first,
        "node",
        "nodes of a step are not numbered 0, 1, 2, …",
    )
    yield from _where(
        (nodes["parent"] < -1) | (nodes["parent"] >= nodes["node"]),
        "node",
        "its parent is neither the root (−1) nor an earlier node",
    )


def _against_steps(record: CaseRecord) -> Iterator[str]:
    steps, nodes = record.steps, record.nodes
    step = nodes["step"].astype(np.int64)
    count = len(steps["step"])
    drafted = np.bincount(step, minlength=count)
    accepted = np.bincount(step, weights=nodes["accepted"], minlength=count)
    deepest = np.zeros(count)
    np.maximum.at(deepest, step, nodes["depth"])
    yield from _where(drafted != steps["nodes"], "step", "it drafted another number of nodes")
    yield from _where(deepest != steps["depth"], "step", "its deepest node is not at its depth")
    yield from _where(
        accepted != steps["accepted_length"],
        "step",
        "its accepted nodes are not as many as its accepted length",
    )
    yield from _where(
        nodes["position"] != steps["root_position"][step] + nodes["depth"],
        "node",
        "its position is not its root's + its depth",
    )
    if record.speculative is not None:
        output = np.array(record.speculative.token_ids, np.int64)
        at = nodes["position"].astype(np.int64) - _prompt_length(record)
        inside = nodes["accepted"] & (at >= 0) & (at < len(output))
        other = np.zeros(len(at), bool)
        other[inside] = output[at[inside]] != nodes["token_id"][inside]
        yield from _where(other, "node", "it was accepted, and the output has another token there")


def _path(record: CaseRecord, top_down: bool, in_order: bool) -> Iterator[str]:
    nodes = record.nodes
    step, accepted, reached = nodes["step"].astype(np.int64), nodes["accepted"], nodes["reached"]
    rows = np.arange(len(step))
    parent = np.where(nodes["parent"] < 0, -1, _first_rows(step) + nodes["parent"])
    at_root = parent < 0
    parent_depth = np.where(at_root, 0, nodes["depth"][parent])
    yield from _where(
        nodes["depth"] != parent_depth + 1, "node", "its depth is not one more than its parent's"
    )
    family = np.where(at_root, len(step) + step, parent)
    order = np.argsort(family, kind="stable")
    rank = np.empty(len(step), np.int64)
    rank[order] = rows - _first_rows(family[order])
    yield from _where(
        nodes["sibling_rank"] != rank, "node", "its sibling rank is not its place among siblings"
    )
    yield from _where(accepted & ~reached, "node", "accepted, and not reached")
    parent_kept = np.where(at_root, True, accepted[parent])
    yield from _where(accepted & ~parent_kept, "node", "accepted, and its parent is not")
    kept_siblings = np.bincount(family, weights=accepted)[family]
    yield from _where(accepted & (kept_siblings > 1), "node", "accepted, and so is a sibling")
    if not top_down:
        parent_reached = np.where(at_root, True, reached[parent])
        yield from _where(reached & ~parent_reached, "node", "reached, and its parent is not")
        return
    yield from _where(reached & ~parent_kept, "node", "reached, and its parent is not kept")
    if not in_order:
        yield from _where(
            ~reached & parent_kept & (kept_siblings == 0),
            "node",
            "not reached, although its parent is kept and no sibling is",
        )
        return
    kept_rank = np.full(family.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(kept_rank, family[accepted], rank[accepted])
    yield from _where(
        reached & (rank > kept_rank[family]), "node", "reached, and an earlier sibling is kept"
    )
    yield from _where(
        ~reached & parent_kept & (rank <= kept_rank[family]),
        "node",
        "not reached, although its parent is kept and no earlier sibling is",
    )


def _values(nodes: Columns) -> Iterator[str]:
    p, q, alpha = (
        nodes[name].astype(np.float64)
        for name in ("target_probability", "draft_probability", "acceptance_probability")
    )
    for name, column in (
        ("target_probability", p),
        ("draft_probability", q),
        ("acceptance_probability", alpha),
    ):
        yield from _where((column < 0) | (column > 1 + 1e-6), "node", f"{name} is not in [0, 1]")
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.minimum(1.0, p / q)
    # Below float32's normal range a quotient says nothing about the one it was rounded from.
    known = ~np.isnan(expected) & (q > 1e-30)
    off = np.abs(alpha - expected) > _TOLERANCE
    yield from _where(
        known & (np.isnan(alpha) | off), "node", "its acceptance probability is not min(1, p/q)"
    )
    overlap = nodes["overlap"].astype(np.float64)
    yield from _where((overlap < 0) | (overlap > 1 + 1e-5), "node", "overlap is not in [0, 1]")
    yield from _where(
        overlap < np.minimum(p, q) - 1e-5, "node", "overlap is less than its own min(p, q)"
    )
    for name in ("target_entropy", "draft_entropy"):
        yield from _where(nodes[name] < -1e-5, "node", f"{name} is negative")
    for name in ("target_rank", "draft_rank"):
        yield from _where(nodes[name] < -1, "node", f"{name} is below −1")


def _first_rows(groups: np.ndarray) -> np.ndarray:
    """``[rows ≥ 1]`` the first row of each row's run of equal values."""
    begins = np.append(True, groups[1:] != groups[:-1])
    return np.asarray(np.maximum.accumulate(np.where(begins, np.arange(len(groups)), 0)))
