"""What is right alone and wrong in a crowd is found behind a server, and a sound one passes."""

from dataclasses import replace

import pytest
from batched_server import (
    batched,
    drafts_of_other_rows,
    limit_of_the_longest,
    one_generator,
    prefixes_mixed_up,
    settings_of_the_last,
    warmer_in_crowds,
)

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.rendering import result_line

ALONE = "alone and in a crowd"
STREAMED = "streamed and whole answers"


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(max_new_tokens=10, sampling=Sampling(temperature=1.0))
    return make_subject(config, prompts=1, report=lambda line: None)


def found(subject, name, seeds="true", **faults):
    with batched(subject.pair, **faults) as (server, url):
        given = (("url", url), ("retries", "0"), ("seeds", seeds))
        config = replace(subject.config, engine="openai", engine_options=given)
        asked = replace(subject, config=config)
        (examined,) = examine(asked, [name])
        asked.close()
    return examined, server


def test_a_sound_server_passes_in_batches(subject):
    examined, server = found(subject, ALONE)
    assert examined.finding.status is Status.PASSED, result_line(examined)
    assert examined.finding.places > 40
    assert server.most >= 4
    assert server.cancelled >= 2


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"asked": settings_of_the_last}, "beside ones with other settings"),
        ({"asked": limit_of_the_longest}, "10 tokens, and then 18"),
        ({"asked": one_generator}, "at temperature 1, beside"),
        ({"asked": prefixes_mixed_up}, "beside ones with the same beginning"),
        ({"swaps": True}, "its output is another one than alone"),
        ({"moves": True}, "beside like ones, of which some are cancelled"),
        ({"of_draft": drafts_of_other_rows}, "drafts depend on who else is served"),
    ],
    ids=["settings", "limit", "seeds", "prefixes", "swapped", "cancelled", "acceptance"],
)
def test_what_is_right_alone_and_wrong_in_a_crowd_is_found(subject, faults, says):
    # The same beginnings stand in other crowds, too: which of them shows it first is chance.
    asked = replace(subject, to_the_end="same beginning" in says)
    for name in ("greedy output", ALONE):
        examined, _ = found(asked, name, **faults)
        wanted = Status.PASSED if name != ALONE else Status.FAILED
        assert examined.finding.status is wanted, result_line(examined)
    assert any(says in line for line in examined.finding.lines), examined.finding.lines


def test_without_seeds_the_law_of_what_is_drawn_in_crowds_decides(subject):
    one = replace(subject, prompts=subject.prompts[:1])
    examined, _ = found(one, ALONE, seeds="false")
    assert examined.finding.status is Status.PASSED, result_line(examined)
    [line] = [line for line in examined.finding.lines if "has no seeds" in line]
    assert "was tested on" in line
    examined, _ = found(one, ALONE, seeds="false", asked=warmer_in_crowds)
    assert examined.finding.status is Status.FAILED, result_line(examined)
    assert any("drawn in crowds does not follow" in line for line in examined.finding.lines), (
        examined.finding.lines
    )


def test_a_streamed_answer_is_the_whole_one(subject):
    examined, _ = found(subject, STREAMED)
    assert examined.finding.status is Status.PASSED, result_line(examined)
    assert "pieces that brought several tokens at once: 0" not in examined.finding.lines


def test_a_stop_string_that_is_missed_across_pieces_is_found(subject):
    """Pieces have two tokens, and the stop string four."""
    examined, _ = found(subject, STREAMED, by_piece=True)
    assert examined.finding.status is Status.FAILED


def test_a_piece_that_is_lost_on_the_way_is_found(subject):
    examined, _ = found(subject, STREAMED, pieces=lambda ids: [ids[:2], ids[3:]])
    assert examined.finding.status is Status.FAILED
