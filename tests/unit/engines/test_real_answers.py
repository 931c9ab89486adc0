"""What real servers answered to a request for the built-in target, and what is read from it.

Each file of tests/answers says which server it is of, what it was asked and what it answered; the
built-in pair's own settings are all that was asked about. `settings` of the server and the text of
the prompt, which it repeats, are left out.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from draftproof.engines.dialects import DIALECTS
from draftproof.engines.protocol import Generation, check_generation
from draftproof.engines.server_clock import answered_seconds
from draftproof.errors import EngineError
from draftproof.trace import Counts

ANSWERS = Path(__file__).parents[2] / "answers"
GREEDY = (616, 17, 616, 616, 616, 2133, 616, 616, 616, 616, 616, 616)


def told(name):
    return json.loads((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))


def dialect_of(name):
    return DIALECTS["llama-server" if name.startswith("llama_server") else "vllm"]


@pytest.mark.parametrize(
    ("name", "ids", "finish", "counts"),
    [
        ("llama_server_length", GREEDY, "length", Counts(drafted=30, accepted=1)),
        ("llama_server_stop_string", GREEDY[:6], "stop", Counts(drafted=16, accepted=1)),
        (
            "llama_server_stop_token",
            (284, 1776, 347, 416, 265, 64, 202, 378, 3),
            "stop",
            Counts(drafted=28, accepted=1),
        ),
        (
            "vllm_length",
            GREEDY,
            "length",
            Counts(
                drafted=22,
                accepted=1,
                drafted_steps=7,
                longest_draft=4,
                lengths=(6, 1, 0, 0, 0),
            ),
        ),
        ("vllm_stop_string", GREEDY[:6], "stop", None),
    ],
)
def test_a_whole_answer(name, ids, finish, counts):
    values = told(name)
    answer = dialect_of(name).read(values["whole"])
    assert answer.token_ids == ids
    assert answer.finish == finish
    assert answer.counts == counts
    assert answer.prompt_tokens == len(values["body"]["prompt"])


def test_a_stop_string_is_told():
    answer = DIALECTS["llama-server"].read(told("llama_server_stop_string")["whole"])
    assert answer.stopped_by == "go co"
    answer = DIALECTS["vllm"].read(told("vllm_stop_string")["whole"])
    assert answer.stopped_by == "go co"
    # In the middle of its last token.
    assert answer.text.endswith("go co")


@pytest.mark.parametrize("server", ["llama_server", "vllm"])
def test_pieces_are_read_as_the_whole_answer_is(server):
    dialect = dialect_of(server)
    pieces = told(f"{server}_pieces")["pieces"]
    whole, joined = told(f"{server}_length")["whole"], dialect.joined(pieces)
    answer, expected = dialect.read(joined), dialect.read(whole)
    assert answer.token_ids == expected.token_ids == GREEDY
    assert sum(dialect.brought(pieces)) == len(GREEDY)
    assert (answer.text, answer.finish) == (expected.text, expected.finish)
    assert answer.prompt_tokens == expected.prompt_tokens
    if server == "llama_server":
        assert answer.counts == expected.counts


def test_the_settings_that_were_asked_are_those_that_are_sent(ask):
    for name in ("llama_server_length", "vllm_length"):
        body = told(name)["body"]
        sent = dialect_of(name).ask(ask(ids=tuple(body["prompt"]), limit=12), "", "builtin")
        known = {key: value for key, value in body.items() if key in sent and key != "seed"}
        assert {key: sent[key] for key in known} == known
        assert body.keys() <= sent.keys() | {"seed"}


def test_a_text_that_ends_within_its_last_token_is_that_of_its_ids(ask):
    answer = DIALECTS["vllm"].read(told("vllm_stop_string")["whole"])
    request = ask(ids=(40, 41, 42, 100, 200), limit=12, strings=("go co",))
    generation = Generation(
        token_ids=answer.token_ids, stop_reason="stop_string", seconds=1.0, text=answer.text
    )
    check_generation(generation, request, 3072)
    for text in (" Hugo. Hugo Hugo", " Hugo. Hugo Hugo Hugo cx"):
        with pytest.raises(EngineError, match="decodes its own output"):
            check_generation(replace(generation, text=text), request, 3072)


def test_a_servers_own_clock():
    """llama.cpp tells the time of prompt and output; vLLM null, unless it is asked to."""
    timings = told("llama_server_length")["whole"]["timings"]
    first, whole = (
        dialect_of("llama_server").read(told("llama_server_length")["whole"]).server_seconds
    )
    assert first == timings["prompt_ms"] / 1000
    assert whole == pytest.approx((timings["prompt_ms"] + timings["predicted_ms"]) / 1000)
    answer = told("vllm_length")["whole"]
    assert dialect_of("vllm").read(answer).server_seconds is None
    answer["metrics"]["time_to_first_token_ms"] = 12.5
    first, whole = dialect_of("vllm").read(answer).server_seconds
    assert first == 0.0125
    assert math.isnan(whole)
    assert (
        answered_seconds({"e2e_latency": True, "prompt_ms": -1, "time_to_first_token": "1"}) is None
    )
