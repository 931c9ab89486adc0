"""A server as an engine: what it is asked, what is read from its answer, and what is refused."""

import itertools
import json
import math
import time
from dataclasses import replace

import pytest
from fake_server import cut, hang, serving

from draftproof.config import RunConfig
from draftproof.engines.certifying import engine_rounding, rounding_advice
from draftproof.engines.dialects import DIALECTS
from draftproof.engines.guarded import GuardedEngine
from draftproof.engines.measuring import Bench
from draftproof.engines.openai import OpenAIEngine
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.server_counters import (
    Positions,
    answered_counts,
    metric_counts,
    metric_positions,
    metric_totals,
)
from draftproof.errors import EngineError, UsageError
from draftproof.trace import Counts, Verdict


@pytest.fixture(scope="module")
def right(pair):
    """What the target says to a prompt of token ids: the output's ids."""
    engine = ReferenceEngine(pair, RunConfig(check_state=0))
    known = {}

    def right(ids, limit, ask):
        key = (tuple(ids), limit)
        if key not in known:
            known[key] = engine.plain(ask(ids=ids, limit=limit)).token_ids
        return known[key]

    return right


@pytest.fixture
def vllm(pair, ask, right):
    """Answers like vLLM; keywords change the choice."""

    def answer(path, body, top=(), **changes):
        ids = right(body["prompt"], body["max_tokens"], ask)
        stopped = ids[-1] in pair.stop_token_ids
        choice = {
            "text": pair.decode(ids),
            "token_ids": list(ids),
            "prompt_token_ids": body["prompt"],
            "finish_reason": "stop" if stopped else "length",
            "stop_reason": None,
            "logprobs": None,
        }
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(ids)}
        return {"choices": [{**choice, **changes}], "usage": usage, **dict(top)}

    return answer


def ending(pair, ask, *, sglang):
    """A server that ends outputs with its model's own end, unless it is told otherwise."""
    engine = ReferenceEngine.without_drafts(pair, RunConfig(check_state=0))

    def answer(path, body):
        settings = body["sampling_params"] if sglang else body
        named = settings["stop_token_ids"]
        if settings.get("ignore_eos"):
            stops = () if sglang else named
        else:
            stops = {*named, *pair.stop_token_ids}
        limit = settings["max_new_tokens" if sglang else "max_tokens"]
        ids = body["input_ids" if sglang else "prompt"]
        output = engine.plain(ask(ids=ids, limit=limit, stops=stops))
        token_ids, stopped = list(output.token_ids), output.stop_reason == "stop_token"
        text, last = pair.decode(token_ids), token_ids[-1]
        if sglang:
            reason = {"type": "stop", "matched": last} if stopped else {"type": "length"}
            about = {"finish_reason": reason, "prompt_tokens": len(ids)}
            return {"text": text, "output_ids": token_ids, "meta_info": about}
        choice = {"text": text, "token_ids": token_ids, "prompt_token_ids": ids}
        choice |= {"finish_reason": "stop" if stopped else "length"}
        return {"choices": [choice | {"stop_reason": last if last in named else None}]}

    return answer


@pytest.mark.parametrize("server", ["vllm", "sglang"])
def test_an_output_goes_on_beyond_its_models_own_end_where_it_is_asked_to(pair, ask, server):
    text = "Question: Nora has 8 apples and buys 4 more. How many apples are there?\nAnswer:"
    reference = ReferenceEngine.without_drafts(pair, RunConfig(check_state=0))
    [own] = pair.stop_token_ids
    with_end, without = ask(text, limit=90), ask(text, limit=90, stops=())
    expected = reference.plain(without).token_ids
    assert own in expected[:-1]
    ended = reference.plain(with_end).token_ids
    assert ended[-1] == own
    other = next(token for token in expected if expected.index(token) > len(ended))
    with serving(ending(pair, ask, sglang=server == "sglang")) as fake:
        engine = make(pair, fake.url, server=server)
        assert engine.speculate(with_end).token_ids == ended
        assert engine.speculate(without).token_ids == expected
        if Capability.STOP_TOKENS in engine.capabilities:
            late = ask(text, limit=90, stops=(other,))
            assert engine.speculate(late).token_ids == expected[: expected.index(other) + 1]
        engine.close()
    assert (server == "vllm") == (Capability.STOP_TOKENS in DIALECTS[server].capabilities)


def make(pair, url, **options):
    given = {"url": url, "retries": 0, "timeout": 30.0, **options}
    return OpenAIEngine(
        RunConfig(engine="openai", engine_options=tuple((k, str(v)) for k, v in given.items())),
        pair,
    )


def test_a_case_on_a_vllm_server(pair, prompts, vllm):
    config = RunConfig(max_new_tokens=12, check_state=0)
    with serving(vllm) as fake:
        engine = make(pair, fake.url, model="qwen")
        record = Bench(engine, pair, config).run(prompts[0])
        engine.close()
    path, body, _ = fake.asked[0]
    assert record.verdict is Verdict.IDENTICAL
    assert len(record.steps["step"]) == 0
    assert record.counts is None
    assert path == "/v1/completions"
    assert body["prompt"] == list(pair.encode(prompts[0].text))
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("qwen", 12, 0)
    assert body["stop_token_ids"] == sorted(pair.stop_token_ids)
    assert body["return_token_ids"] is True


def test_sampling_settings_reach_the_server(pair, ask, vllm):
    sampling = {"temperature": 0.7, "top_k": 9, "top_p": 0.8, "min_p": 0.1, "min_new_tokens": 3}
    with serving(vllm) as fake:
        engine = make(pair, fake.url)
        engine.speculate(ask(**sampling, repetition_penalty=1.1, strings=("x",)))
        engine.close()
    body = fake.asked[0][1]
    asked = {**sampling, "min_tokens": sampling["min_new_tokens"], "stop": ["x"]}
    del asked["min_new_tokens"]
    assert {key: body[key] for key in asked} == asked
    assert body["repetition_penalty"] == 1.1
    assert body["include_stop_str_in_output"] is True


def test_ids_of_an_older_vllm_are_beside_its_logprobs(pair, ask, vllm, right):
    def answer(path, body):
        assert body["return_tokens_as_token_ids"] is True
        ids = right(body["prompt"], body["max_tokens"], ask)
        names = [f"token_id:{token}" for token in ids]
        return vllm(path, body, token_ids=None, prompt_token_ids=None, logprobs={"tokens": names})

    with serving(answer) as fake:
        engine = make(pair, fake.url, server="vllm-logprobs")
        request = ask()
        assert engine.speculate(request).token_ids == right(request.prompt_token_ids, 16, ask)
        engine.close()


def sglang(pair, ask, right, **about):
    def answer(path, body):
        assert path == "/generate"
        ids = right(body["input_ids"], body["sampling_params"]["max_new_tokens"], ask)
        is_stop = ids[-1] in pair.stop_token_ids
        finish = {"type": "stop", "matched": ids[-1]} if is_stop else {"type": "length"}
        return {
            "text": pair.decode(ids),
            "output_ids": list(ids),
            "meta_info": {
                "prompt_tokens": len(body["input_ids"]),
                "finish_reason": finish,
                **about,
            },
        }

    return answer


@pytest.mark.parametrize(
    ("about", "counts"),
    [
        (
            {"spec_verify_ct": 5, "spec_num_correct_drafts": 9, "spec_num_proposed_drafts": 15},
            Counts(steps=5, drafted_steps=5, drafted=15, accepted=9),
        ),
        (
            {
                "spec_verify_ct": 5,
                "spec_num_correct_drafts": 9,
                "spec_num_proposed_drafts": 15,
                "spec_correct_drafts_histogram": [1, 1, 1, 2],
            },
            Counts(steps=5, drafted_steps=5, drafted=15, accepted=9, lengths=(1, 1, 1, 2)),
        ),
        (
            {
                "spec_verify_ct": 5,
                "spec_accepted_drafts": 9,
                "spec_proposed_drafts": 15,
                "spec_accept_histogram": [1, 1, 1, 2],
            },
            Counts(steps=5, drafted_steps=5, drafted=15, accepted=9, lengths=(1, 1, 1, 2)),
        ),
        (
            {"spec_verify_ct": 5, "spec_accept_token_num": 9, "spec_draft_token_num": 15},
            Counts(steps=5, drafted_steps=5, drafted=15, accepted=9),
        ),
        ({"spec_verify_ct": 5}, None),
        ({}, None),
    ],
)
def test_a_case_on_an_sglang_server(pair, prompts, ask, right, about, counts):
    config = RunConfig(max_new_tokens=12, check_state=0)
    with serving(sglang(pair, ask, right, **about)) as fake:
        engine = make(pair, fake.url, server="sglang")
        record = Bench(engine, pair, config).run(prompts[0])
        engine.close()
    assert record.verdict is Verdict.IDENTICAL
    assert record.counts == counts
    assert Capability.COUNTS in engine.capabilities


def test_a_server_that_gives_texts_of_tokens(pair, ask):
    """Ids are known where one token alone has a text; the stop token, which it drops, is added."""
    ids = pair.encode("list of words")
    texts = [pair.decode([token]) for token in ids]
    (stop,) = pair.stop_token_ids

    def answer(path, body):
        assert isinstance(body["prompt"], str)
        choice = {
            "text": "".join(texts),
            "logprobs": {"tokens": texts},
            "finish_reason": "stop",
        }
        return {"choices": [choice], "usage": {"prompt_tokens": 3}}

    with serving(answer) as fake:
        engine = make(pair, fake.url, server="openai")
        generation = engine.speculate(ask(ids=(5, 6, 7)))
        engine.close()
    assert fake.asked[0][1]["prompt"] == pair.decode((5, 6, 7))
    assert generation.token_ids == (*_bare(pair, texts), stop)
    assert generation.stop_reason == "stop_token"


def _bare(pair, texts):
    every = {}
    for token in range(pair.target.vocabulary_size):
        every.setdefault(pair.decode([token]), []).append(token)
    return [every[text][0] for text in texts]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": None}, "text without token ids or logprobs"),
        (
            {"token_ids": None, "logprobs": {"tokens": ["\ufffd"]}},
            "of the tokenizer's tokens are '\ufffd' (token 0), so that its id is not known",
        ),
        (
            {"token_ids": None, "logprobs": {"tokens": ["no such token"]}},
            "and 0 of the tokenizer's tokens are 'no such token'",
        ),
        ({"token_ids": [5, 99_999] * 8}, "token 1 of the output is 99999"),
        ({"token_ids": [5, 6]}, "they are ids of another tokenizer"),
        ({"token_ids": [5, 6], "text": None}, "ends after 2 of 16 tokens"),
        ({"prompt_token_ids": [1, 2]}, "the server's prompt is another one"),
        ({"text": "bonjour"}, "they are ids of another tokenizer"),
        ({"finish_reason": "abort"}, "ended for the reason length, and the engine says abort"),
    ],
)
def test_a_wrong_answer_fails_its_case(pair, prompts, vllm, changes, message):
    config = RunConfig(max_new_tokens=16, check_state=0)
    with serving(lambda path, body: vllm(path, body, **changes)) as fake:
        engine = make(pair, fake.url)
        with pytest.raises(EngineError) as failed:
            Bench(engine, pair, config).run(prompts[0])
        engine.close()
    assert message in str(failed.value)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (cut, "the answer was cut"),
        (hang, "it hangs"),
        (500, "answered 500"),
        ({"choices": []}, "does not hold one of 'choices'"),
        ({"error": "none"}, "does not hold one of 'choices'"),
        ({"choices": [{"token_ids": 5}]}, "the server's answer cannot be read"),
        ({"choices": [{"token_ids": [5]}], "usage": {"prompt_tokens": 1}}, "counts 1 tokens in a"),
    ],
)
def test_a_broken_answer_is_an_engine_error(pair, ask, reply, message):
    with serving(lambda path, body: reply) as fake:
        engine = make(pair, fake.url, timeout=0.5 if reply is hang else 2.0)
        with pytest.raises(EngineError) as failed:
            engine.speculate(ask())
        engine.close()
    assert message in str(failed.value)


def test_counts_from_metrics_are_what_a_request_added(pair, ask, vllm):
    served = itertools.count()
    by_place = "vllm:spec_decode_num_accepted_tokens_per_pos_total"

    def answer(path, body):
        if path == "/metrics":
            done = next(served)
            return (
                "# HELP vllm:spec_decode_num_drafts x\n"
                f'vllm:spec_decode_num_drafts_total{{engine="0",model_name="a b"}} {7 * done}\n'
                f'vllm:spec_decode_num_drafts_total{{engine="1"}} {100}\n'
                f"vllm:spec_decode_num_draft_tokens_total {21.0 * done}\n"
                f"vllm:spec_decode_num_accepted_tokens_total {9 * done} 1700000000\n"
                + "".join(
                    f'{by_place}{{engine="{engine}",position="{place}"}} {tokens}\n'
                    for engine, place, tokens in (
                        *((0, place, done * kept) for place, kept in enumerate((6, 3, 0))),
                        (1, 0, 80),
                        (1, 1, 20),
                        (1, 2, 5),
                    )
                )
                + "vllm:spec_decode_num_drafts_created 1.7e+09\n"
            )
        return vllm(path, body)

    with serving(answer) as fake:
        engine = make(pair, fake.url, metrics=f"{fake.url}/metrics")
        assert Capability.COUNTS in engine.capabilities
        expected = Counts(
            drafted_steps=7, drafted=21, accepted=9, lengths=(1, 3, 3, 0), longest_draft=3
        )
        assert [engine.speculate(ask()).counts for _ in range(2)] == [expected, expected]
        engine.close()


def told(server, **values):
    """An answer with a request's own figures, as vLLM and llama.cpp give them."""
    return (
        {"metrics": {"speculative_decoding": values}} if server == "vllm" else {"timings": values}
    )


@pytest.mark.parametrize(
    ("top", "counts"),
    [
        (
            told("vllm", num_spec_steps=7, num_accepted_draft_tokens=8, num_draft_tokens=21),
            Counts(drafted_steps=7, drafted=21, accepted=8),
        ),
        (
            told(
                "vllm",
                num_spec_steps=7,
                num_accepted_draft_tokens=8,
                num_draft_tokens=21,
                num_spec_tokens=3,
                acceptance_histogram=[3, 1, 2, 1],
            ),
            Counts(drafted_steps=7, drafted=21, accepted=8, longest_draft=3, lengths=(3, 1, 2, 1)),
        ),
        (
            told(
                "vllm",
                num_spec_steps=5,
                num_accepted_draft_tokens=6,
                num_draft_tokens=15,
                acceptance_histogram={"0": 3, "3": 2},
            ),
            Counts(drafted_steps=5, drafted=15, accepted=6, lengths=(3, 0, 0, 2)),
        ),
        (
            told("llama.cpp", predicted_n=16, draft_n=20, draft_n_accepted=9),
            Counts(drafted=20, accepted=9),
        ),
        (told("llama.cpp", predicted_n=16), None),
    ],
)
def test_counts_of_a_request_that_its_answer_tells(pair, ask, vllm, top, counts):
    with serving(lambda path, body: vllm(path, body, top=top)) as fake:
        engine = make(pair, fake.url)
        assert engine.speculate(ask()).counts == counts
        engine.close()


def test_metrics_that_cannot_be_used():
    full = {"drafted_steps": 2.0, "drafted": 6.0, "accepted": 3.0}
    assert metric_counts({}, full) == Counts(drafted_steps=2, drafted=6, accepted=3)
    with pytest.raises(EngineError, match="no vllm:spec_decode_num_draft_tokens"):
        metric_counts({}, {"drafted_steps": 2.0, "accepted": 3.0})
    # TensorRT-LLM's have no number of steps.
    assert metric_counts({}, {"drafted": 6.0, "accepted": 3.0}) == Counts(drafted=6, accepted=3)
    with pytest.raises(EngineError, match="was it restarted"):
        metric_counts({**full, "accepted": 4.0}, full)
    assert answered_counts(None, {}, "x") is None


def test_places_of_accepted_tokens():
    name = "llamacpp:spec_decode_num_accepted_tokens_per_pos"
    shown = metric_positions(f'{name}{{position="1"}} 2\n{name}{{a="b", position="0"}} 5\n{name} 9')
    assert shown == Positions((5.0, 2.0), None)  # llama.cpp shows the places that it reached
    assert metric_positions("vllm:spec_decode_num_drafts_total 4") == Positions()
    totals = {"drafted_steps": 8.0, "drafted": 24.0, "accepted": 7.0}
    assert metric_counts({}, totals, places=(Positions(), shown)).lengths == (3, 3, 2)
    assert metric_counts({}, totals, places=(shown, shown)).lengths == (8, 0, 0)
    with pytest.raises(EngineError, match=r"8 steps .* \[5, 6\].*than the one before"):
        metric_counts({}, totals, places=(Positions(), Positions((5.0, 6.0), 2)))


@pytest.mark.parametrize("ending", ["", "_total"])
@pytest.mark.parametrize("server", ["vllm", "llamacpp"])
def test_names_of_counters_with_and_without_their_ending(server, ending):
    generated = {"vllm": "generation_tokens", "llamacpp": "tokens_predicted"}[server]
    text = (
        f"{server}:spec_decode_num_drafts{ending} 4\n"
        f"{server}:spec_decode_num_draft_tokens{ending} 9\n"
        f"{server}:spec_decode_num_accepted_tokens{ending} 3\n"
        f"{server}:{generated}{ending} 12\n"
    )
    totals = {"drafted_steps": 4.0, "drafted": 9.0, "accepted": 3.0, "generated": 12.0}
    assert metric_totals(text) == totals
    assert metric_counts({}, totals) == Counts(drafted_steps=4, drafted=9, accepted=3, generated=12)


def counting(vllm, meanwhile=0):
    """A server whose counters grow with what it serves: this request, and others meanwhile."""
    total = dict.fromkeys(("drafts", "draft_tokens", "accepted_tokens", "generation_tokens"), 0)

    def answer(path, body):
        if path == "/metrics":
            names = {n: f"spec_decode_num_{n}" for n in total} | {
                "generation_tokens": "generation_tokens"
            }
            return "".join(f"vllm:{names[n]}_total {value}\n" for n, value in total.items())
        for _ in range(1 + meanwhile):
            total["drafts"] += 2
            total["draft_tokens"] += 6
            total["accepted_tokens"] += 1
            total["generation_tokens"] += body["max_tokens"]
        return vllm(path, body)

    return answer


@pytest.mark.parametrize("meanwhile", [0, 1])
def test_counters_that_grew_with_somebody_elses_requests_contradict_the_output(
    pair, prompts, vllm, meanwhile
):
    """12 tokens are this output's; a second user's 12 would make other figures of it, unseen."""
    config = RunConfig(max_new_tokens=12, check_state=0)
    with serving(counting(vllm, meanwhile)) as fake:
        engine = make(pair, fake.url, metrics=f"{fake.url}/metrics", draft_length=3)
        record = Bench(engine, pair, config).run(prompts[0])
        engine.close()
    assert record.verdict is Verdict.IDENTICAL
    assert record.counts.longest_draft == 3
    expected = [
        "counters: the server counts 24 generated tokens during this request, and its output has "
        "12: something else used the server meanwhile, and the counters are of both"
    ]
    assert list(record.contradictions) == expected[: meanwhile * 2]


def test_an_answers_own_counts_go_before_the_servers(pair, ask, vllm):
    def answer(drafted):
        serve = counting(vllm, meanwhile=1)
        top = told("llama.cpp", draft_n=drafted, draft_n_accepted=2)
        return lambda path, body: (
            serve(path, body) if path == "/metrics" else {**serve(path, body), **top}
        )

    # The metrics grow by 4 steps, 12 drafted and 2 accepted tokens.
    for drafted, steps in ((6, None), (12, 4)):
        with serving(answer(drafted)) as fake:
            engine = make(pair, fake.url, metrics=f"{fake.url}/metrics")
            counts = engine.speculate(ask()).counts
            engine.close()
        assert counts == Counts(drafted=drafted, accepted=2, drafted_steps=steps)


def test_a_second_server_decodes_plainly(pair, prompts, vllm):
    config = RunConfig(max_new_tokens=8, check_state=0)
    with serving(vllm) as speculative, serving(vllm) as plain:
        engine = make(pair, speculative.url, plain_url=plain.url)
        assert Capability.PLAIN in engine.capabilities
        assert Bench(engine, pair, config).run(prompts[0]).verdict is Verdict.IDENTICAL
        engine.close()
    assert len(speculative.asked) == len(plain.asked) == 1


def test_without_a_second_server_the_target_decodes_plainly(pair):
    assert Capability.PLAIN not in make(pair, "http://127.0.0.1:9").capabilities
    assert Capability.STEPS not in make(pair, "http://127.0.0.1:9").capabilities


def test_a_changed_output_is_algorithmic(pair, prompts, vllm):
    config = RunConfig(max_new_tokens=12, check_state=0)

    def answer(path, body):
        reply = vllm(path, body)
        choice = reply["choices"][0]
        choice["token_ids"][4] = (choice["token_ids"][4] + 1) % 3000 + 5
        choice["text"] = pair.decode(choice["token_ids"])
        return reply

    with serving(answer) as fake:
        engine = make(pair, fake.url)
        record = Bench(engine, pair, config).run(prompts[0])
        engine.close()
    assert record.verdict is Verdict.ALGORITHMIC
    assert record.forks[0].index == 4


def test_the_key_is_taken_from_the_environment(pair, ask, vllm, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with serving(vllm) as fake:
        engine = make(pair, fake.url, api_key="MY_KEY")
        engine.speculate(ask())
        engine.close()
    assert fake.asked[0][2]["Authorization"] == "Bearer secret"
    assert "secret" not in str(engine.describe())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UsageError, match="there is no such environment variable"):
        make(pair, fake.url, api_key="MY_KEY")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "give an address such as http://localhost:8000"),
        ({"server": "vlm"}, "server=vlm: give one of: vllm"),
        ({"timeout": "0"}, "timeout=0.0: give seconds"),
        ({"retries": "-1"}, "retries=-1: give 0 or more"),
        ({"draft_length": "0"}, "draft_length=0: give at least 1"),
        ({"modle": "x"}, "did you mean 'model'?"),
    ],
)
def test_bad_settings_are_refused(pair, options, message):
    with pytest.raises(UsageError) as refused:
        make(pair, **{"url": "http://here", **options})
    assert message in str(refused.value)


def test_a_bare_server_is_not_asked_for_filters(pair):
    engine = make(pair, "http://here", server="openai")
    assert not {Capability.FILTERS, Capability.STOP_STRINGS} & engine.capabilities
    assert Capability.SAMPLING in engine.capabilities


def test_what_a_server_is_given_as_a_seed_is_of_the_seed_and_the_request(pair, ask, vllm):
    """The request's id never reaches it, and two requests must not share their draws."""
    asked = [ask(temperature=1.0), replace(ask(temperature=1.0), seed=1)]
    asked += [replace(request, request_id="another") for request in asked]
    with serving(vllm) as fake:
        engine = make(pair, fake.url)
        for request in [*asked, *asked]:
            engine.speculate(request)
        engine.close()
    seeds = [body["seed"] for _, body, _ in fake.asked]
    assert seeds[:4] == seeds[4:] == [request.folded_seed() for request in asked]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_log_probabilities_are_those_of_the_tokens_and_a_dropped_one_is_not_known(pair, ask):
    texts = [pair.decode([token]) for token in range(300)]
    known = enumerate(texts)
    once = [index for index, text in known if texts.count(text) == 1 and text.strip()][:2]
    stop = max(pair.stop_token_ids)

    def answer(path, body):
        told = {"tokens": [texts[index] for index in once], "token_logprobs": [None, -0.5]}
        return {"choices": [{"text": "", "finish_reason": "stop", "logprobs": told}]}

    with serving(answer) as fake:
        engine = make(pair, fake.url, server="openai")
        assert Capability.LOG_PROBABILITIES in engine.capabilities
        found = engine.speculate(ask(stops=(stop,)))
        engine.close()
    assert found.token_ids == (*once, stop)
    assert found.log_probabilities[1] == -0.5
    assert math.isnan(found.log_probabilities[0])
    assert math.isnan(found.log_probabilities[2])


@pytest.mark.parametrize(
    ("options", "stated", "rounding"),
    [
        ({}, None, 0.0),
        ({"dtype": "bfloat16"}, None, 0.5),
        ({"dtype": "float32"}, None, 0.001),
        ({}, 0.3, 0.3),
        ({"dtype": "bfloat16"}, 0.3, 0.3),
    ],
)
def test_what_a_server_rounds_is_what_is_stated_or_what_its_type_does(
    pair, options, stated, rounding
):
    engine = make(pair, "http://here", **options)
    assert engine_rounding(engine, RunConfig(tie_tolerance=stated)) == rounding
    assert engine_rounding(ReferenceEngine(pair, RunConfig()), RunConfig(tie_tolerance=0.3)) == 0


def test_servers_say_whether_they_can_be_given_stop_tokens(pair):
    can = {
        name: Capability.STOP_TOKENS in make(pair, "http://here", server=name).capabilities
        for name in DIALECTS
    }
    assert can == {
        "vllm": True,
        "vllm-logprobs": True,
        "sglang": False,
        "sglang-openai": False,
        "tensorrt-llm": True,
        "mlx-lm": False,
        "lm-studio": False,
        "llama-server": False,
        "llama-cpp-python": False,
        "openai": False,
    }


@pytest.mark.parametrize(
    ("options", "stated", "margin", "is_advised"),
    [
        ({}, None, 0.0, True),
        ({}, None, 0.5, True),
        ({}, None, 0.6, False),
        ({}, 0.0, 0.0, False),
        ({}, 0.3, 0.0, False),
        ({"dtype": "bfloat16"}, None, 0.0, False),
    ],
)
def test_what_to_state_of_a_server_is_said_where_nothing_is_known(
    pair, options, stated, margin, is_advised
):
    engine = make(pair, "http://here", **options)
    advice = rounding_advice(engine, RunConfig(tie_tolerance=stated), margin)
    assert ("--spec-engine-option dtype=bfloat16" in advice) is is_advised
    assert ("--spec-tie-tolerance" in advice) is is_advised
    # One that has no such option is not told of it, and one with the judge's kernels of nothing.
    reference = ReferenceEngine(pair, RunConfig())
    assert rounding_advice(reference, RunConfig()) == ""
    reference.capabilities = reference.capabilities - {Capability.PAIR_TARGET}
    assert "dtype" not in rounding_advice(reference, RunConfig())
    assert "--spec-tie-tolerance" in rounding_advice(reference, RunConfig())


def test_extras_are_added_to_every_request(pair, ask, vllm):
    extras = '{"logit_bias": {"17": -100}, "user": "me"}'
    with serving(vllm) as fake, serving(vllm) as plain:
        engine = make(pair, fake.url, plain_url=plain.url, extra_body=extras)
        engine.speculate(ask())
        engine.plain(ask())
        engine.close()
    for server in (fake, plain):
        assert server.asked[0][1]["logit_bias"] == {"17": -100}
        assert server.asked[0][1]["user"] == "me"


def test_extras_that_the_judge_does_not_apply_need_plain_decoding_of_the_server(pair, tmp_path):
    file = tmp_path / "extras.json"
    file.write_text('{"guided_regex": "a+"}', encoding="utf-8")

    def check(**options):
        given = {"url": "http://here", **options}
        OpenAIEngine.check_settings(RunConfig(engine="openai", engine_options=tuple(given.items())))

    with pytest.raises(UsageError, match="the judge does not apply guided_regex.*plain_url"):
        check(extra_body=f"@{file}")
    check(extra_body=f"@{file}", plain_url="http://there")
    check(extra_body='{"user": "me"}')
    for wrong, says in (("{", "is not JSON"), ("[1]", "a JSON object"), ("@nowhere", "be read")):
        with pytest.raises(UsageError, match=says):
            check(extra_body=wrong)
    with pytest.raises(UsageError, match="streamed answers of server=mlx-lm"):
        check(stream="true", server="mlx-lm")


def test_extras_do_not_take_the_place_of_the_runs_own_settings(pair, ask, vllm):
    with serving(vllm) as fake:
        engine = make(pair, fake.url, extra_body='{"temperature": 1}')
        with pytest.raises(UsageError, match="'temperature' is decided by the run's own settings"):
            engine.speculate(ask())
        engine.close()
    assert not fake.asked


def test_requests_are_in_flight_together(pair, ask, vllm):
    at_once, most = [], []

    def slow(path, body):
        at_once.append(body)
        most.append(len(at_once))
        answer = vllm(path, body)
        time.sleep(0.05)
        at_once.remove(body)
        return answer

    requests = [replace(ask(ids=(40, 41 + n)), request_id=str(n)) for n in range(6)]
    with serving(slow) as fake:
        engine = make(pair, fake.url)
        alone = [engine.speculate(request).token_ids for request in requests]
        assert max(most) == 1
        answers = dict(engine.generate(requests, most_rows=3))
        engine.close()
    assert [answers[n].token_ids for n in range(6)] == alone
    assert 1 < max(most) <= 3


def streaming(*events, ends=b"data: [DONE]\n\n"):
    def stream(handler):
        handler.send_response(200)
        handler.end_headers()
        for event in events:
            handler.wfile.write(f"data: {json.dumps(event)}\r\n\r\n".encode())
            handler.wfile.flush()
            time.sleep(0.02)
        handler.wfile.write(ends)
        handler.close_connection = True

    return stream


def test_a_streamed_answer_tells_when_its_tokens_arrived(pair, ask, right):
    def answer(path, body):
        assert body["stream"] is True
        ids = list(right(body["prompt"], body["max_tokens"], ask))
        cuts = [ids[:1], [], ids[1:4], ids[4:]]
        pieces = [{"choices": [{"text": "", "token_ids": cut}]} for cut in cuts]
        pieces[-1]["choices"][0].update(finish_reason="length", text=pair.decode(ids))
        return streaming(*pieces)

    with serving(answer) as fake:
        engine = make(pair, fake.url, stream="true")
        request = ask(ids=(40, 41), limit=8)
        found = engine.speculate(request)
        engine.close()
    assert found.token_ids == right((40, 41), 8, ask)
    assert [tokens for _, tokens in found.arrivals] == [1, 3, 4]
    seconds = [seconds for seconds, _ in found.arrivals]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] <= found.seconds


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], "holds no event"),
        ([{"error": {"message": "engine died"}}], "ended a streamed answer with an error"),
        ([{"choices": []}], "without a reason to end"),
    ],
)
def test_a_streamed_answer_that_is_none_is_refused(pair, ask, events, says):
    with serving(lambda path, body: streaming(*events)) as fake:
        engine = make(pair, fake.url, stream="true")
        with pytest.raises(EngineError, match=says):
            engine.speculate(ask(ids=(40, 41), limit=8))
        engine.close()


def test_a_request_that_fails_in_flight_fails_alone(pair, ask, vllm):
    def answer(path, body):
        return 400 if body["prompt"] == [40, 42] else vllm(path, body)

    requests = [replace(ask(ids=(40, 41 + n)), request_id=str(n)) for n in range(5)]
    with serving(answer) as fake:
        engine = GuardedEngine(make(pair, fake.url), timeout=30)
        answers = engine.generate(requests, most_rows=2)
        found = dict(itertools.islice(answers, 4))
        with pytest.raises(EngineError, match="answered 400"):
            next(answers)
        asked = [body["prompt"] for _, body, _ in fake.asked]
        engine.close()
    assert sorted(found) == [0, 2, 3, 4]
    assert len(asked) == 5
