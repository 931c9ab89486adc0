"""The lines that say what a figure was measured with, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from draftproof.engines.names import AT_ONCE, EXECUTOR
from draftproof.engines.protocol import TELLING
from draftproof.laws import labelled
from draftproof.report.run_info import RunInfo
from draftproof.statistics import Couplings, RunSummary, Study
from draftproof.statistics.bootstrap import BOOTSTRAP_PROMPTS
from draftproof.statistics.costs import Costs
from draftproof.statistics.findings import FAMILYWISE_LINE
from draftproof.statistics.summary import GroupSummary
from draftproof.trace import CaseRecord, Verdict
from draftproof.wording import counted

SHOWN_IDS = 5
"""How many case ids a failure line names."""

JUDGED_BY_PLAIN = "judged_by_plain"
"""What an engine's description says where plain decoding of the engine judges its outputs."""


def settings_line(run: RunInfo) -> str:
    """Models, dtype, device, tree and rule or another engine, temperature and seed, in one line."""
    if run.imported is not None:
        return _imported_line(run, run.imported)
    target, draft = (_model_name(run, role) for role in ("target", "draft"))
    sampling = run.config.get("sampling")
    temperature = sampling.get("temperature") if isinstance(sampling, Mapping) else None
    facts = [
        f"target {target}",
        f"draft {draft}",
        f"{_resolved(run, 'dtype')} on {_resolved(run, 'device')}",
        *_decoding(run),
        *_batch(run),
        f"temperature {_setting(temperature)}",
        f"seed {_setting(run.config.get('seed'))}",
    ]
    return " · ".join(facts)


def engine_lines(run: RunInfo) -> list[str]:
    """What the run's engine, or the tool that it is imported from, does not tell, if anything.

    Example: ``not available: the engine mine does not tell steps, nodes``
    """
    if run.imported is not None:
        return [f"not told by the files: {run.imported['not_told']}"]
    engine = run.models.get("engine", {})
    told = engine.get("capabilities")
    if told is None:
        return []
    missing = [str(capability) for capability in TELLING if capability not in told]
    if not missing:
        return []
    return [f"not available: the engine {engine.get('name')} does not tell {', '.join(missing)}"]


def fact_name(name: str) -> str:
    """What a fact of a model or an engine is called in text.

    A model's ``sha256`` is of several files and their names, thus not what `sha256sum` says of one.
    """
    return name.replace("_", " ").replace("sha256", "content hash")


def fact_text(value: object) -> str:
    """A fact of a model or an engine as text; of several things, their list."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def hardware_line(run: RunInfo) -> str:
    """The facts of the machine."""
    return ", ".join(f"{name} {value}" for name, value in run.hardware.items()) or "not recorded"


def versions_line(run: RunInfo) -> str:
    """The versions of everything that can move a number."""
    return ", ".join(f"{name} {value}" for name, value in run.versions.items()) or "not recorded"


def note_lines(run: RunInfo) -> list[str]:
    """What is special about the models, a line each: ids that one lacks, weights without a place.

    Example: ``draft: lacks 1 id (first 9, 'h') of the target: never proposed …``
    """
    return [
        f"{role}: {note}" for role, facts in run.models.items() for note in facts.get("notes", ())
    ]


def interval_line(summary: RunSummary) -> str:
    """How the intervals were made, and what n is."""
    resampling = summary.resampling
    return (
        f"{resampling.level:.0%} intervals: bootstrap-t over prompts, {resampling.resamples:,} "
        f"resamples, overall within domains (with fewer than {BOOTSTRAP_PROMPTS} prompts in one, "
        "from the variance over prompts). n: nodes for rates, probabilities and the study's "
        "length (reached nodes for ÷ reached), steps for other lengths and block efficiency; "
        "metrics.json gives each."
    )


def study_lines(found: Study) -> list[str]:
    """What a run says on the study's questions, a line each; none where it says nothing.

    Task or depth; the most frequent order of the domains; entropy and acceptance; early and late.
    """
    lines = []
    if len(found.draft_entropy) > 1 and not found.task_or_depth.reason:
        lines.append(found.task_or_depth.sentence)
    order = found.acceptance_order
    if len(order.domains) > 1 and not order.reason:
        best, share = order.probabilities[0]
        lines.append(
            f"Domains by acceptance probability: {' > '.join(best)} in {share:.1%} of resamples."
        )
    correlations = [
        f"{domain} {rho.value:+.2f} [{rho.low:+.2f}, {rho.high:+.2f}]"
        for domain, rho in found.entropy_correlation.items()
        if not rho.reason
    ]
    if correlations:
        lines.append(
            f"Draft entropy and acceptance probability, Spearman's ρ: {', '.join(correlations)}."
        )
    late = found.positions.late_minus_early
    if not late.reason:
        lines.append(
            "Acceptance probability in the second half of outputs − in the first: "
            f"{late.value:+.3f} [{late.low:+.3f}, {late.high:+.3f}]."
        )
    return lines


def findings_lines(run: RunInfo) -> list[str]:
    """How sure the verdicts on the study's findings are, and whether the run decoded as it did."""
    lines = [FAMILYWISE_LINE]
    temperature = run.config.get("sampling", {}).get("temperature", 0)
    if temperature:
        lines.append(
            "The study decoded greedily, at temperature 0; what this run says of its findings at "
            f"temperature {temperature:g} goes beyond it."
        )
    return lines


def coupling_lines(found: Couplings | None) -> list[str]:
    """How far drawn chains are from the bound, and the bound by domain; nothing of none."""
    if found is None or found.overall.kept.reason:
        return []
    overall = found.overall
    bounds = [
        f"{domain} {each.overlap.value:.3f} [{each.overlap.low:.3f}, {each.overlap.high:.3f}]"
        for domain, each in found.domains.items()
        if not each.overlap.reason
    ]
    lines = [
        f"drafted tokens at reached positions: {overall.kept.value:.3f} kept; no rule with the "
        f"target's law keeps more than the overlap Σ min(p, q), {overall.overlap.value:.3f} on "
        f"average; kept − overlap {overall.difference.value:+.3f} "
        f"[{overall.difference.low:+.3f}, {overall.difference.high:+.3f}]"
    ]
    if bounds:
        lines.append(
            "mean overlap there, the acceptance rate ÷ reached without the noise of coins: "
            + ", ".join(bounds)
        )
    return lines


def slower_line(cost: Costs, scope: GroupSummary) -> str:
    """Why speculation was slower than plain decoding, from what its steps took; else empty.

    Example: ``Speedup 0.84: speculation was slower than plain decoding. A step committed 3.44
    tokens and took as long as 4.10 tokens take plainly (drafting 1.69, verifying 2.20, …``
    """
    speedup, kept = cost.speedup, scope.metrics["block_efficiency"].value
    if not speedup.value < 1 or not math.isfinite(kept):
        return ""
    taken = kept / speedup.value
    parts = ""
    if cost.draft_share + cost.verify_share > 0:
        rest = 1 - cost.draft_share - cost.verify_share
        parts = (
            f" (drafting {taken * cost.draft_share:.2f}, verifying {taken * cost.verify_share:.2f},"
            f" prefill and the rest {taken * rest:.2f})"
        )
    doubt = ", though the interval includes 1" if speedup.high >= 1 else ""
    return (
        f"Speedup {speedup.value:.2f}: speculation was slower than plain decoding{doubt}. A step "
        f"committed {kept:.2f} tokens and took as long as {taken:.2f} tokens take plainly{parts}. "
        "Speculation pays where a step takes less than the tokens that it commits: with cheaper "
        "drafts, a target that is large beside the draft model, or drafts of which more is kept."
    )


def law_lines(run: RunInfo) -> list[str]:
    """What the anytime-valid test decided, with its power; nothing where it was not run."""
    found = run.law_test
    if found is None:
        return []
    tokens = sum(found["tokens"].values())
    lines = [
        f"anytime-valid test of the target's law: {found['verdict']} (α = {found['alpha']:g}, "
        f"{tokens:,} tokens, e-value {_e_value(found['declared'])}; plain decoding as the control "
        f"{_e_value(found['control'])})"
    ]
    if found["verdict"] == "consistent":
        lines.append(
            "no power: no share of the draft's law would have been caught with probability .95"
            if found["contamination"] is None
            else "it would have caught, with probability .95, a share of "
            f"{found['contamination']:.3f} of the draft's law in the target's place"
        )
        lines += _power_lines(found.get("power") or {})
    elif found["pointers"]:
        faults = "; ".join(
            f"{pointer['fault']} ({pointer['scope']}, weight {pointer['weight']:.2f})"
            for pointer in found["pointers"]
        )
        lines.append(
            f"rejected after {found['declared']['rejected_after_tokens']:,} tokens"
            if (found["declared"]["rejected_after_tokens"])
            else "not rejected under speculation"
        )
        lines.append(f"the evidence points to: {faults}")
    return lines


def _power_lines(power: Mapping[str, float | None]) -> list[str]:
    """From which share of positions on the test would have caught other faults than that one."""
    others = [(fault, share) for fault, share in power.items() if not fault.startswith("the draft")]
    seen = [f"{fault}: {share:.3f}" for fault, share in others if share is not None]
    unseen = [fault for fault, share in others if share is None]
    lines = []
    if seen:
        lines.append("and these faults from this share of positions on: " + "; ".join(seen))
    if unseen:
        lines.append("it would not have caught, at every position even: " + "; ".join(unseen))
    return lines


def _e_value(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return "not run"
    if test["impossible"]:
        return f"infinite: {test['impossible']} tokens of probability 0"
    return f"10^{test['log10_e']:.1f}"


ACCURACY_LINE = (
    "Accuracy: Clopper and Pearson's 95% intervals of the share of scored prompts. An output that "
    "the length limit cut off may not have come to its answer."
)


def reference_lines(run: RunInfo) -> list[str]:
    """What the reference was where the judge does not apply what the engine was asked for.

    Example: ``the judge does not apply grammar: the engine's own plain decoding of the same
    requests is the reference, up to the first place where the two part``
    """
    unknown = run.models.get("engine", {}).get(JUDGED_BY_PLAIN)
    if not unknown:
        return []
    lines = [
        f"the judge does not apply {', '.join(map(str, unknown))}: the engine's own plain decoding "
        "of the same requests is the reference, up to the first place where the two part"
    ]
    if (run.config.get("sampling") or {}).get("temperature"):
        lines.append(
            "above temperature 0 that compares nothing: no law of the outputs was tested; run at "
            "--spec-temperature 0 too"
        )
    return lines


def failure_lines(cases: Iterable[CaseRecord]) -> list[str]:
    """A line for the cases that speculation changed and one for those in error, if there are any.

    Example: ``2 cases algorithmic: code/03, math/17``
    """
    cases = list(cases)
    changed = [case.case_id for case in cases if case.verdict is Verdict.ALGORITHMIC]
    errors = [case.case_id for case in cases if case.verdict is Verdict.ERROR]
    lines = []
    if changed:
        lines.append(f"{_cases(changed)} algorithmic: {_first(changed)}")
    contradictory = [case.case_id for case in cases if case.contradictions]
    if contradictory:
        lines.append(
            f"{_cases(contradictory)} with counts that contradict each other: "
            f"{_first(contradictory)}"
        )
    if errors:
        lines.append(f"{_cases(errors)} ended in an error: {_first(errors)}")
    return lines


def plain_lines(cases: Iterable[CaseRecord]) -> list[str]:
    """On how many cases plain decoding itself was certified, and what that showed.

    Example: ``plain decoding itself: 7 of 50 outputs compared with the target by teacher forcing
    (7 identical)``
    """
    cases = [case for case in cases if case.verdict is not Verdict.ERROR]
    if not cases:
        return []
    if all(case.verdict is Verdict.UNJUDGED and case.plain is None for case in cases):
        return ["whether the outputs are the target's own is not judged: they are another tool's"]
    tried = [case.plain_verdict for case in cases if case.plain_verdict is not None]
    if not tried:
        return ["plain decoding itself: not tried; that both ways are wrong alike is not excluded"]
    counts = {verdict: tried.count(verdict) for verdict in dict.fromkeys(tried)}
    apart = counts.pop(Verdict.ALGORITHMIC, 0)
    held = ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "none held"
    lines = [
        f"plain decoding itself: {len(tried)} of {len(cases)} outputs compared with the target by "
        f"teacher forcing ({held})"
    ]
    if apart:
        lines.append(
            f"plain decoding of the engine leaves the judge's target in {apart} of these: its "
            "weights or settings are not the judge's, or both of its ways of decoding are wrong"
        )
    return lines


def _imported_line(run: RunInfo, imported: Mapping[str, Any]) -> str:
    """The tool and the files that a run is imported from, and what they tell of its models."""
    files = ", ".join(
        f"{file['name']} (sha256 {file['sha256'][:12]})" for file in imported["files"]
    )
    engine = run.models.get("engine", {})
    facts = [
        f"imported from {imported['title']}: {files}",
        f"target {_model_name(run, 'target')}",
        f"engine {engine.get('name') or 'not told'}",
    ]
    if "draft_length" in engine:
        facts.append(f"draft length {engine['draft_length']}")
    return " · ".join(facts)


def _decoding(run: RunInfo) -> list[str]:
    """Tree and rule of the reference engine, or the name and the settings of another."""
    engine = run.models.get("engine", {})
    name = engine.get("name", "reference")
    if name == "reference":
        tree = "by domain" if run.config.get("budget") else _setting(run.config.get("tree"))
        drafter, rule = engine.get("drafter"), engine.get("own rule")
        return [
            f"tree {tree}" if drafter is None else f"drafter {drafter}",
            f"rule {labelled(rule or _setting(run.config.get('rule')))}",
        ]
    version = engine.get("version")
    own = [
        f"{key} {value}"
        for key, value in engine.items()
        if key not in ("name", "version", "capabilities", AT_ONCE, EXECUTOR, JUDGED_BY_PLAIN)
        and value is not None
    ]
    return [" ".join(["engine", str(name), *([str(version)] if version else [])]), *own]


def _batch(run: RunInfo) -> list[str]:
    """How many prompts were decoded at once, and by how many actors, where it was more than one."""
    engine = run.models.get("engine", {})
    rows, actors = engine.get(AT_ONCE), engine.get(EXECUTOR)
    batch = [] if rows is None else [f"{rows} {AT_ONCE}"]
    return batch if actors is None else [*batch, str(actors)]


def _model_name(run: RunInfo, role: str) -> str:
    return str(run.models.get(role, {}).get("name") or _setting(run.config.get(role)))


def _resolved(run: RunInfo, fact: str) -> str:
    """What ``auto`` came to; the two models' own where they differ."""
    values = [run.models.get(role, {}).get(fact) for role in ("target", "draft")]
    found = dict.fromkeys(str(value) for value in values if value is not None)
    return "/".join(found) or _setting(run.config.get(fact))


def _setting(value: Any) -> str:
    return (
        "not recorded"
        if value is None
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _cases(case_ids: list[str]) -> str:
    return counted(len(case_ids), "case")


def _first(case_ids: list[str]) -> str:
    more = len(case_ids) - SHOWN_IDS
    return ", ".join(case_ids[:SHOWN_IDS]) + (f" and {more} more" if more > 0 else "")
