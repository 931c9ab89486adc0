"""Settings that speculation drops, or that a crowd loses, are found; sound servers pass."""

import json
from contextlib import ExitStack
from dataclasses import replace

import pytest
from batched_server import MOMENT, batched
from constrained_server import (
    ConstrainedServer,
    everywhere,
    extras_lost_in_crowds,
    extras_of_one_for_all,
    inside_blocks,
)

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.constraint_checks import refused
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.rendering import result_line
from draftproof.errors import EngineError

SPECULATION = "extras with and without speculation"
CROWD = "settings of one request in a crowd"

EXTRAS = {
    "forced-token": {"forced": {"6": 33}},
    "bias": {"logit_bias": {"17": 6.0, "30": 6.0}},
    "grammar": {"grammar": "ids in turn"},
}
SHORT = 8


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(max_new_tokens=16, sampling=Sampling(temperature=1.0))
    return make_subject(config, prompts=1, report=lambda line: None)


@pytest.fixture(scope="module")
def known():
    return {}


def of_length(tokens, subject):
    return replace(subject, config=replace(subject.config, max_new_tokens=tokens))


def found(subject, known, name, *, extras=None, seeds="false", **faults):
    with ExitStack() as stack:
        moment = MOMENT if name == CROWD else MOMENT / 10
        made = {"kind": ConstrainedServer, "known": known, "moment": moment}
        _, url = stack.enter_context(batched(subject.pair, **made, **faults))
        _, plain = stack.enter_context(batched(subject.pair, **made))
        given = {"url": url, "plain_url": plain, "retries": "0", "seeds": seeds}
        if extras is not None:
            given["extra_body"] = json.dumps(extras)
        config = replace(subject.config, engine="openai", engine_options=tuple(given.items()))
        asked = replace(subject, config=config)
        (examined,) = examine(asked, [name])
        asked.close()
    return examined


@pytest.mark.parametrize("kind", EXTRAS)
def test_what_speculation_drops_above_temperature_0_is_found(subject, known, kind):
    first = replace(subject, to_the_end=False)
    examined = found(first, known, SPECULATION, extras=EXTRAS[kind], drops=inside_blocks)
    assert examined.finding.status is Status.FAILED, result_line(examined)
    assert any("above temperature 0: " in line for line in examined.finding.lines)


def test_a_presence_penalty_is_tried_without_being_asked_for(subject, known):
    first = replace(subject, to_the_end=False)
    examined = found(first, known, SPECULATION, drops=everywhere)
    assert examined.finding.status is Status.FAILED, result_line(examined)
    assert any(
        line.startswith("a presence penalty, above temperature 0: ")
        for line in examined.finding.lines
    ), examined.finding.lines


def test_a_sound_server_obeys_with_speculation_and_without(subject, known):
    examined = found(of_length(SHORT, subject), known, SPECULATION, extras=EXTRAS["grammar"])
    assert examined.finding.status is Status.PASSED, result_line(examined)
    assert examined.finding.places >= 96, examined.finding.lines
    assert not any(line.startswith("grammar") for line in examined.finding.lines)


def lost_in_crowds(**dropped):
    """What a request asks for by itself is left out where others are decoded beside it."""

    def change(requests):
        if len(requests) == 1:
            return requests
        return [replace(one, sampling=replace(one.sampling, **dropped)) for one in requests]

    return change


def stops_lost_in_crowds(requests):
    if len(requests) == 1:
        return requests
    none = [replace(one.stopping, stop_token_ids=frozenset()) for one in requests]
    return [replace(one, stopping=own) for one, own in zip(requests, none, strict=True)]


def stops_of_all_for_all(requests):
    stops = frozenset().union(*(one.stopping.stop_token_ids for one in requests))
    return [replace(one, stopping=replace(one.stopping, stop_token_ids=stops)) for one in requests]


LOST = {
    "penalty": (lost_in_crowds(repetition_penalty=1.0), "a repetition penalty"),
    "top-k": (lost_in_crowds(top_k=0), "top-k"),
    "min_tokens": (lost_in_crowds(min_new_tokens=0), "min_new_tokens"),
    "stops": (stops_lost_in_crowds, "a stop token"),
    "stops of neighbours": (stops_of_all_for_all, "ones with a stop token"),
    "extras": (extras_lost_in_crowds, "a bias against common tokens"),
    "extras of neighbours": (extras_of_one_for_all, "a bias against common tokens"),
}


@pytest.mark.parametrize("fault", LOST)
def test_what_a_crowd_loses_or_hands_on_is_found(subject, known, fault):
    asked, says = LOST[fault]
    examined = found(subject, known, CROWD, seeds="true", asked=asked)
    assert examined.finding.status is Status.FAILED, result_line(examined)
    for temperature in ("temperature 1, ", "temperature 0, ") if fault != "top-k" else ("",):
        assert any(temperature in line and says in line for line in examined.finding.lines), (
            examined.finding.lines
        )


def test_a_crowd_in_which_all_keep_their_settings_passes(subject, known):
    examined = found(subject, known, CROWD, seeds="true")
    assert examined.finding.status is Status.PASSED, result_line(examined)
    assert examined.finding.places > 100


@pytest.mark.parametrize("fault", [extras_lost_in_crowds, extras_of_one_for_all])
def test_without_seeds_crowds_are_held_to_the_laws_of_their_requests(subject, known, fault):
    asked = {"extras": EXTRAS["grammar"], "seeds": "false", "asked": fault}
    first = of_length(SHORT, replace(subject, to_the_end=False))
    examined = found(first, known, CROWD, **asked)
    assert examined.finding.status is Status.FAILED, result_line(examined)


def test_extras_that_end_the_engine_are_not_taken_for_refused(subject):
    asked = subject.request(subject.prompts[0], extras='{"logit_bias": {}}')

    def refuses(request):
        if request.extras:
            raise EngineError("no biases here")

    def dies(request):
        raise EngineError("connection refused")

    assert refused(refuses, asked) == "no biases here"
    assert refused(lambda request: None, asked) == ""
    with pytest.raises(EngineError, match="connection refused"):
        refused(dies, asked)
