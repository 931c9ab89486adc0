"""Waiting times: which waits are counted, how often, and which value a percentile is."""

import math
from dataclasses import replace

import numpy as np
import pytest

from draftproof.report.latency_table import latency_json, latency_table
from draftproof.report.metrics_json import metrics_document
from draftproof.statistics import summarise
from draftproof.statistics.latency import latencies, percentiles
from draftproof.trace import CaseRecord, DecodedOutput, Verdict


def case(name, plain=None, speculative=None, seconds=2.0):
    def output(arrivals):
        tokens = sum(count for _, count in arrivals or ((0, 4),))
        return DecodedOutput(
            token_ids=tuple(range(tokens)),
            stop_reason="length",
            seconds=seconds,
            arrivals=arrivals,
        )

    return CaseRecord(
        case_id=name,
        domain="code",
        prompt_tokens=3,
        verdict=Verdict.IDENTICAL,
        plain=output(plain),
        speculative=output(speculative),
    )


def test_a_piece_of_several_tokens_is_as_many_short_waits():
    found = latencies([case("a", speculative=((0.5, 1), (0.9, 4), (1.1, 1)))])
    assert set(found) == {"speculative"}
    waits = found["speculative"]
    assert waits.time_to_first_token.values == (0.5, 0.5, 0.5)
    assert waits.inter_token.n == 5
    # 0.1 four times and 0.2 once.
    assert waits.inter_token.values == pytest.approx((0.1, 0.2, 0.2))
    assert waits.tokens_a_second.values == (3.0, 3.0, 3.0)


def test_what_is_sent_at_once_in_several_pieces_is_one():
    apart = ((0.5, 1), (0.9, 1), (0.9002, 1), (0.9004, 2), (1.1, 1))
    together = ((0.5, 1), (0.9, 4), (1.1, 1))
    waits = [latencies([case("a", plain=pieces)])["plain"] for pieces in (apart, together)]
    assert waits[0] == waits[1]


def test_what_came_whole_has_no_waits():
    assert latencies([case("a")]) == {}
    assert latency_table([case("a")]) is None
    assert "latency" not in metrics_document(summarise([case("a")]), cases=[case("a")])
    failed = replace(case("a"), plain=None, speculative=None, verdict=Verdict.ERROR)
    assert latencies([failed]) == {}


def test_what_servers_own_clocks_say_is_told_apart():
    """Where a server tells neither figure, there is no row of it."""
    told = [(0.25, 2.0), (math.nan, 1.0), (0.5, math.nan), None]
    cases = [case(str(n)) for n in range(len(told))]
    cases = [
        replace(each, speculative=replace(each.speculative, server_seconds=seconds))
        for each, seconds in zip(cases, told, strict=True)
    ]
    assert set(latencies(cases)) == {"speculative"}
    found = latencies(cases)["speculative"]
    assert found.server_time_to_first_token.values == (0.25, 0.5, 0.5)
    assert found.server_tokens_a_second.values == (2.0, 4.0, 4.0)  # 4 tokens in 2 s and in 1 s
    assert found.tokens_a_second.n == 4
    rows = [[cell.text for cell in row] for row in latency_table(cases).rows]
    assert [row[1] for row in rows][2:] == [
        "tokens a second of a request",
        "time to first token by the server's clock, ms",
        "tokens a second by the server's clock",
    ]
    assert rows[3][2:] == ["250.0", "500.0", "500.0", "2"]
    assert len(latency_table([case("a", plain=((0.5, 3),))]).rows) == 3
    document = latency_json(cases)["speculative"]
    assert document["server_time_to_first_token"] == {"p50": 0.25, "p90": 0.5, "p99": 0.5, "n": 2}
    assert "server_tokens_a_second" not in latency_json([case("a", plain=((0.5, 3),))])["plain"]


def test_an_output_of_one_piece_has_no_wait_between_tokens():
    found = latencies([case("a", plain=((0.5, 3),))])["plain"]
    assert found.inter_token.n == 0
    assert math.isnan(found.inter_token.values[0])
    assert latency_json([case("a", plain=((0.5, 3),))])["plain"]["inter_token"] == {
        "p50": None,
        "p90": None,
        "p99": None,
        "n": 0,
    }


def test_percentiles_are_observed_values():
    values = list(np.random.default_rng(0).permutation(200) / 10)
    found = percentiles(values)
    for percent, value in zip((50, 90, 99), found.values, strict=True):
        assert value in values
        assert np.mean(np.array(values) <= value) >= percent / 100
        assert np.mean(np.array(values) < value) < percent / 100


def test_the_table_is_in_milliseconds_and_the_document_in_seconds():
    cases = [case("a", plain=((0.25, 1), (0.5, 1)), speculative=((0.125, 2),))]
    rows = [[cell.text for cell in row] for row in latency_table(cases).rows]
    assert rows[0] == ["plain", "time to first token, ms", "250.0", "250.0", "250.0", "1"]
    assert rows[3][2] == "125.0"
    assert rows[4][2] == "–"
    document = metrics_document(summarise(cases), cases=cases)
    assert document["latency"]["plain"]["inter_token"]["p50"] == 0.25
