"""Every kind of server: asked for what it takes, and read for what it tells."""

import copy
import json
from dataclasses import replace

import pytest
from fake_server import serving
from server_shapes import Shape

from draftproof.config import RunConfig, Sampling
from draftproof.data.prompt import Prompt
from draftproof.engines.dialects import DIALECTS
from draftproof.engines.measuring import Bench
from draftproof.engines.openai import OpenAIEngine
from draftproof.engines.protocol import Capability
from draftproof.engines.registry import judging_pair
from draftproof.engines.server_counters import answered_counts
from draftproof.errors import EngineError, UsageError
from draftproof.report.context import reference_lines
from draftproof.report.run_info import RunInfo
from draftproof.trace import Counts, Verdict

KINDS = ("sglang", "sglang-openai", "tensorrt-llm", "mlx-lm", "lm-studio")
TOKENS = 12


def config_of(url, kind, **options):
    given = {"url": url, "server": kind, "retries": 0, **options}
    return RunConfig(
        engine="openai",
        engine_options=tuple((name, str(value)) for name, value in given.items()),
        max_new_tokens=TOKENS,
        check_state=0,
    )


def measured(pair, prompt, url, kind, **options):
    config = config_of(url, kind, **options)
    engine = OpenAIEngine(config, pair)
    try:
        return Bench(engine, pair, config).run(prompt)
    finally:
        engine.close()


def text_prompt(pair):
    """A prompt whose text has the token ids that it is made of, as servers of texts need."""
    ids = pair.tokenizer("list of words and numbers", add_special_tokens=False)["input_ids"]
    return Prompt(prompt_id="words", domain="chat", text="", token_ids=tuple(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_on_a_server_that_refuses_what_it_does_not_know(pair, kind):
    with serving(Shape(pair, kind)) as fake:
        record = measured(pair, text_prompt(pair), fake.url, kind)
    assert record.verdict is Verdict.IDENTICAL
    assert not record.contradictions
    if kind in ("sglang", "tensorrt-llm", "lm-studio"):
        assert record.counts.drafted > 0
    else:
        assert record.counts is None


@pytest.mark.parametrize("kind", ["sglang", "sglang-openai", "tensorrt-llm"])
def test_streamed_answers_are_the_whole_ones_in_pieces_of_several_tokens(pair, kind):
    prompt = text_prompt(pair)
    with serving(Shape(pair, kind)) as fake:
        whole = measured(pair, prompt, fake.url, kind)
        streamed = measured(pair, prompt, fake.url, kind, stream="true")
    assert streamed.speculative.token_ids == whole.speculative.token_ids
    assert streamed.counts == whole.counts
    brought = [tokens for _, tokens in streamed.speculative.arrivals]
    assert sum(brought) == len(whole.speculative.token_ids)
    assert max(brought) == 3


def test_pieces_of_sglang_that_do_not_grow_are_added_up():
    about = {"completion_tokens": 3, "finish_reason": {"type": "length"}}
    pieces = [
        {"text": "a", "output_ids": [4], "meta_info": {"completion_tokens": 1}},
        {"text": "bc", "output_ids": [5, 6], "meta_info": about},
    ]
    dialect = DIALECTS["sglang"]
    assert dialect.brought(pieces) == [1, 2]
    answer = dialect.read(dialect.joined(pieces))
    assert (answer.token_ids, answer.text) == ((4, 5, 6), "abc")


def test_a_field_that_tensorrt_llm_does_not_know_is_refused_there(pair, ask):
    with serving(Shape(pair, "tensorrt-llm")) as fake:
        engine = OpenAIEngine(config_of(fake.url, "tensorrt-llm"), pair)
        assert engine.speculate(ask(ids=(40, 41), limit=4)).token_ids
        sent = fake.asked[0][1]
        assert "return_token_ids" not in sent
        assert sent["top_k"] == 0
        engine.close()
        unknown = OpenAIEngine(
            config_of(fake.url, "tensorrt-llm", extra_body='{"user_tag": 1}', plain_url=fake.url),
            pair,
        )
        with pytest.raises(EngineError, match="answered 400"):
            unknown.speculate(ask(ids=(40, 41), limit=4))
        unknown.close()


def test_mlx_lm_is_asked_with_a_switch_and_its_ids_are_beside_the_log_probabilities(pair, ask):
    with serving(Shape(pair, "mlx-lm")) as fake:
        engine = OpenAIEngine(config_of(fake.url, "mlx-lm"), pair)
        prompt = text_prompt(pair).token_ids
        found = engine.speculate(ask(ids=prompt, limit=6))
        engine.close()
        numbered = OpenAIEngine(config_of(fake.url, "openai"), pair)
        with pytest.raises(EngineError, match="answered 400"):
            numbered.speculate(ask(ids=prompt, limit=6))
        numbered.close()
    sent = fake.asked[0][1]
    assert sent["logprobs"] is True
    assert sent["model"] == "default_model"
    assert found.log_probabilities == (-0.25,) * len(found.token_ids)


def test_texts_of_lm_studio_are_ids_where_they_are_as_many_as_it_counts(pair, ask):
    prompt = text_prompt(pair).token_ids
    shape = Shape(pair, "lm-studio")

    def miscounting(path, body):
        reply = shape(path, body)
        reply["usage"]["completion_tokens"] -= 1
        return reply

    with serving(shape) as fake, serving(miscounting) as other:
        engine = OpenAIEngine(config_of(fake.url, "lm-studio"), pair)
        assert len(engine.speculate(ask(ids=prompt, limit=6)).token_ids) == 6
        engine.close()
        wrong = OpenAIEngine(config_of(other.url, "lm-studio"), pair)
        with pytest.raises(EngineError, match="counts 5 tokens in it, and the tokenizer makes 6"):
            wrong.speculate(ask(ids=prompt, limit=6))
        wrong.close()


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (
            {
                "total_draft_tokens_count": 35,
                "accepted_draft_tokens_count": 31,
                "rejected_draft_tokens_count": 0,
                "ignored_draft_tokens_count": 4,
            },
            Counts(drafted=35, accepted=31),
        ),
        (
            {
                "acceptance_rate": 0.5,
                "acceptance_histogram": [1, 0, 1],
                "num_spec_steps": 2,
                "total_draft_tokens": 4,
                "total_accepted_draft_tokens": 2,
                "num_spec_tokens": 2,
            },
            Counts(drafted=4, accepted=2, drafted_steps=2, longest_draft=2, lengths=(1, 0, 1)),
        ),
        (
            {
                "num_spec_steps": 3,
                "num_draft_tokens": 6,
                "num_accepted_draft_tokens": 3,
                "per_step_accepted": [2, 0, 1],
                "per_step_drafted": [2, 2, 2],
            },
            Counts(drafted=6, accepted=3, drafted_steps=3, lengths=(1, 1, 1)),
        ),
        ({"avg_decoded_tokens_per_iter": 2.5}, None),
    ],
    ids=["LM Studio", "TensorRT-LLM", "vLLM, detailed", "an average alone"],
)
def test_counts_by_the_names_of_each_server(told, counts):
    assert answered_counts(told) == counts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"acceptance_histogram": [0, 1, 2]}, "so many steps kept"),
        ({"per_step_drafted": [1, 2, 2]}, "of \\[1, 2, 2\\] drafted"),
    ],
)
def test_steps_that_contradict_what_is_told_of_all_of_them_are_refused(changes, says):
    told = {
        "num_spec_steps": 3,
        "num_draft_tokens": 6,
        "num_accepted_draft_tokens": 3,
        "acceptance_histogram": [1, 1, 1, 0],
        "per_step_accepted": [2, 0, 1],
        "per_step_drafted": [2, 2, 2],
    }
    assert answered_counts(told).lengths == (1, 1, 1, 0)
    with pytest.raises(EngineError, match=says):
        answered_counts({**told, **changes})


def test_seeds_are_what_is_said_of_a_server(pair):
    def seeded(**options):
        return Capability.SEEDS in OpenAIEngine(config_of("http://x", **options), pair).capabilities

    assert not seeded(kind="sglang")
    assert seeded(kind="sglang", seeds="true")
    assert seeded(kind="vllm")
    assert not seeded(kind="vllm", seeds="false")


def test_one_server_decodes_both_ways_where_a_request_says_which(pair):
    prompt = text_prompt(pair)
    shape = Shape(pair, "lm-studio", drafts=False)
    with serving(shape) as fake:
        record = measured(
            pair, prompt, fake.url, "lm-studio", speculative_body='{"draft_model": "small"}'
        )
    asked = [body.get("draft_model") for _, body, _ in fake.asked]
    assert sorted(asked, key=str) == [None, "small"]
    assert record.verdict is Verdict.IDENTICAL
    assert record.counts.drafted > 0
    assert record.plain.engine == "openai"


def test_a_switch_that_does_not_switch_speculation_off_is_refused(pair):
    with serving(Shape(pair, "lm-studio")) as fake, pytest.raises(EngineError, match="drafted"):
        measured(pair, text_prompt(pair), fake.url, "lm-studio", plain_body='{"draft": null}')


TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.mark.parametrize("kind", ["sglang-openai", "mlx-lm"])
def test_messages_are_rendered_there_and_the_prompts_are_the_same(pair, kind):
    tokenizer = copy.deepcopy(pair.tokenizer)
    tokenizer.chat_template = TEMPLATE
    pair = replace(pair, tokenizer=tokenizer)
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Write a list."},
        {"role": "assistant", "content": "One."},
        {"role": "tool", "content": "2"},
    ]
    prompt = Prompt(prompt_id="talk", domain="chat", text="2", messages=json.dumps(messages))
    with serving(Shape(pair, kind)) as fake:
        there = measured(pair, prompt, fake.url, kind, chat="there")
    path, body, _ = fake.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"] == messages
    assert "prompt" not in body
    assert there.verdict is Verdict.IDENTICAL
    if kind == "sglang-openai":
        assert there.counts.drafted > 0


@pytest.mark.parametrize("chat", ["here", "there"])
def test_what_templates_are_given_is_given_to_the_judges_too(pair, chat):
    tokenizer = copy.deepcopy(pair.tokenizer)
    tokenizer.chat_template = TEMPLATE + (
        "{% if enable_thinking %} think{% endif %}"
        "{% for tool in tools or [] %} {{ tool.name }}{% endfor %}"
    )
    bare = replace(pair, tokenizer=tokenizer)
    extras = {"chat_template_kwargs": {"enable_thinking": True}, "tools": [{"name": "search"}]}
    prompt = Prompt(prompt_id="talk", domain="chat", text="Write a list.")
    with serving(Shape(bare, "sglang-openai")) as fake:
        config = config_of(fake.url, "sglang-openai", chat=chat, extra_body=json.dumps(extras))
        OpenAIEngine.check_settings(config)
        judge = judging_pair(bare, config)
        assert judge.template_arguments == {"enable_thinking": True, "tools": extras["tools"]}
        engine = OpenAIEngine(config, judge)
        record = Bench(engine, judge, config).run(prompt)
        engine.close()
    body = fake.asked[0][1]
    assert (extras.items() <= body.items()) is (chat == "there")
    assert record.verdict is Verdict.IDENTICAL
    assert record.prompt_tokens > len(bare.encode("Write a list."))
    assert record.plain_verdict is Verdict.IDENTICAL


def test_streamed_chat_is_the_whole_chat(pair):
    prompt = Prompt(prompt_id="talk", domain="chat", text="Write a list.")
    with serving(Shape(pair, "sglang-openai")) as fake:
        whole = measured(pair, prompt, fake.url, "sglang-openai", chat="there")
        streamed = measured(pair, prompt, fake.url, "sglang-openai", chat="there", stream="true")
    assert streamed.speculative.token_ids == whole.speculative.token_ids
    assert max(tokens for _, tokens in streamed.speculative.arrivals) == 3


@pytest.mark.parametrize(
    ("kind", "says"),
    [("sglang-openai", "they part at token 0"), ("mlx-lm", "tokens in a prompt of")],
)
def test_another_template_there_is_found(pair, kind, says):
    prompt = Prompt(prompt_id="talk", domain="chat", text="Write a list.")
    shape = Shape(pair, kind, renders=lambda messages, given: (7, *pair.encode_messages(messages)))
    with serving(shape) as fake, pytest.raises(EngineError, match=says):
        measured(pair, prompt, fake.url, kind, chat="there")


def test_llama_servers_template_is_compared_before_it_decodes(pair, ask):
    def answer(path, body):
        if path == "/apply-template":
            return {"prompt": body["messages"][0]["content"]}
        if path == "/tokenize":
            return {"tokens": [40, 41] if body["content"] == "same" else [40, 42]}
        return {"tokens": [5, 6], "tokens_predicted": 2, "stop_type": "limit"}

    with serving(answer) as fake:
        engine = OpenAIEngine(config_of(fake.url, "llama-server", chat="there"), pair)
        for said in ("same", "other"):
            messages = json.dumps([{"role": "user", "content": said}])
            request = replace(ask(ids=(40, 41), limit=2), messages=messages)
            if said == "same":
                assert engine.speculate(request).token_ids == (5, 6)
            else:
                with pytest.raises(EngineError, match="part at token 1"):
                    engine.speculate(request)
        engine.close()


def test_chat_where_it_would_tell_no_ids_is_refused_before_anything_is_loaded():
    for kind in ("tensorrt-llm", "lm-studio", "sglang"):
        with pytest.raises(UsageError, match="do not tell token ids"):
            OpenAIEngine.check_settings(config_of("http://x", kind, chat="there"))
    with pytest.raises(UsageError, match="give here or there"):
        OpenAIEngine.check_settings(config_of("http://x", "vllm", chat="everywhere"))
    with pytest.raises(UsageError, match="plain_body is not JSON"):
        OpenAIEngine.check_settings(config_of("http://x", "vllm", plain_body="{"))


CONSTRAINTS = {
    "forced tokens": {"logit_bias": {"616": -100.0, "17": -100.0}},
    "a grammar": {"regex": "[a-c ]+"},
    "a penalty": {"frequency_penalty": 2.0},
}


@pytest.mark.parametrize("forgets", [False, True], ids=["kept", "dropped"])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_that_speculation_drops_is_found(pair, name, forgets):
    """The judge applies none of them: the server's plain decoding of the same request decides."""
    extras = json.dumps(CONSTRAINTS[name])
    prompt = Prompt(prompt_id="p", domain="chat", text="", token_ids=(40, 41, 42, 100, 200))
    shape = Shape(pair, "sglang-openai", forgets=forgets)
    plainly = Shape(pair, "sglang-openai", drafts=False)
    with serving(shape) as fake, serving(plainly) as plain:
        record = measured(
            pair, prompt, fake.url, "sglang-openai", plain_url=plain.url, extra_body=extras
        )
    for server in (fake, plain):
        assert CONSTRAINTS[name].items() <= server.asked[0][1].items()
    assert record.verdict is (Verdict.ALGORITHMIC if forgets else Verdict.IDENTICAL)
    assert record.plain_verdict is None
    if forgets:
        [key] = CONSTRAINTS[name]
        assert f"The judge does not apply {key}" in record.message
        assert len(record.forks) == 1


def test_rounding_under_a_constraint_is_not_held_against_what_comes_after_it(pair):
    """After the first place where they part, the judge knows nothing of what should come."""
    prompt = Prompt(prompt_id="p", domain="chat", text="", token_ids=(40, 41, 42, 100, 200))
    extras = json.dumps(CONSTRAINTS["a penalty"])
    shape = Shape(pair, "sglang-openai")

    def parting(path, body):
        reply = shape(path, body)
        choice = reply["choices"][0]
        ids = choice["token_ids"]
        choice["token_ids"] = [*ids[:3], *reversed(ids[3:])]
        choice["text"] = pair.decode(choice["token_ids"])
        return reply

    with serving(parting) as fake, serving(shape) as plain:
        config = config_of(
            fake.url, "sglang-openai", plain_url=plain.url, extra_body=extras, dtype="bfloat16"
        )
        config = replace(config, tie_tolerance=100.0)
        engine = OpenAIEngine(config, pair)
        record = Bench(engine, pair, config).run(prompt)
        engine.close()
    assert record.verdict is Verdict.NUMERICAL
    assert [fork.index for fork in record.forks] == [3]


def test_above_temperature_0_nothing_is_tested_under_a_constraint_and_it_is_said(pair):
    prompt = Prompt(prompt_id="p", domain="chat", text="", token_ids=(40, 41, 42, 100, 200))
    extras = json.dumps(CONSTRAINTS["a penalty"])
    with serving(Shape(pair, "sglang-openai")) as fake:
        config = config_of(fake.url, "sglang-openai", plain_url=fake.url, extra_body=extras)
        config = replace(config, sampling=Sampling(temperature=0.8))
        engine = OpenAIEngine(config, pair)
        record = Bench(engine, pair, config).run(prompt)
        described = engine.describe()
        engine.close()
    assert record.verdict is Verdict.SAMPLED
    assert record.evidence is None
    run = RunInfo(
        name="r",
        started="",
        config=config.to_json(),
        fingerprint="",
        models={"engine": described},
    )
    first, second = reference_lines(run)
    assert first.startswith("the judge does not apply frequency_penalty: the engine's own plain")
    assert "no law of the outputs was tested" in second
    greedy = replace(run, config=RunConfig().to_json())
    assert reference_lines(greedy) == [first]
    assert reference_lines(replace(run, models={})) == []
