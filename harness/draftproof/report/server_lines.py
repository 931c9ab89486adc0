"""What a server counted over a run, beside what its answers told."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.engines.server_histograms import PERCENTILES
from draftproof.report.run_info import RunInfo
from draftproof.report.tables import number
from draftproof.trace import CaseRecord

_FIGURES = {
    "drafted_steps": "steps with a draft",
    "drafted": "drafted tokens",
    "accepted": "accepted tokens",
}
_SECONDS = {
    "time_to_first_token": "the time to the first token",
    "inter_token_latency": "the inter-token latency",
    "time_per_output_token": "a request's mean time per output token",
    "request_latency": "a request's whole time",
    "queue_time": "the time in the queue",
}


def server_lines(run: RunInfo, cases: Sequence[CaseRecord]) -> list[str]:
    """The growth of the server's counters over the run, and whether the answers' counts fit in it.

    What the server counts is of everything that it was asked: also of tokens decoded to warm up,
    of plain decoding on the same server, and of whatever others asked. So it may count more than
    the answers of the cases tell, and never less.
    """
    watched = run.server_counters
    if watched is None:
        return []
    grown = watched["grown"]
    lines = []
    if watched["problem"]:
        lines.append(f"the server's metrics could not always be read: {watched['problem']}")
    if watched["restarts"]:
        lines.append(
            f"the server's counters went down {watched['restarts']} times: it was restarted, and "
            "what it counted before is in part lost"
        )
    if "drafted" in grown and "accepted" in grown:
        rate = grown["accepted"] / grown["drafted"] if grown["drafted"] else float("nan")
        lines.append(
            f"over the run, the server counted {grown['accepted']:,} accepted of "
            f"{grown['drafted']:,} drafted tokens (acceptance rate ÷ drafted {number(rate, 3)}, "
            "of all that it was asked)"
        )
    elif watched["readings"]:
        lines.append("the server's metrics have no counters of speculation; does it speculate?")
    of_cases = {
        figure: [
            value
            for case in cases
            if case.counts is not None and (value := getattr(case.counts, figure)) is not None
        ]
        for figure in _FIGURES
    }
    for figure, what in _FIGURES.items():
        sum_of_cases, counted = sum(of_cases[figure]), grown.get(figure)
        # Cases of an earlier session were counted before this one began to read.
        is_whole = not (watched["resumed"] or watched["restarts"] or watched["problem"])
        if is_whole and counted is not None and counted < sum_of_cases:
            lines.append(
                f"CONTRADICTION: the server's metrics grew by {counted:,} {what}, and its answers "
                f"tell of {sum_of_cases:,}: one of the two counts wrongly, or metrics= is another "
                "server's or not of all its engines"
            )
    largest, load = watched["largest"], []
    if "running" in largest:
        load.append(f"at most {largest['running']:g} requests ran")
    if largest.get("waiting"):
        load.append(f"{largest['waiting']:g} waited")
    if "cache_usage" in largest:
        load.append(f"{largest['cache_usage']:.0%} of its cache was used")
    if "preemptions" in grown:
        load.append(f"{grown['preemptions']:,} preemptions")
    if load:
        lines.append(f"the server, in {watched['readings']} readings: {', '.join(load)}")
    lines += [
        f"by the server's histograms, {what} of {told['n']:,}: "
        + ", ".join(f"p{percent} {_between(told[f'p{percent}'])}" for percent in PERCENTILES)
        for figure, what in _SECONDS.items()
        if (told := watched.get("seconds", {}).get(figure, {})).get("n")
    ]
    return lines


def _between(bounds: Sequence[float | None]) -> str:
    """An interval of seconds in words."""
    below, above = bounds
    if above is None:
        return f"above {below:g} s"
    return f"between {below:g} and {above:g} s" if below else f"up to {above:g} s"
