"""llama.cpp's own server on the built-in pair: cases, streams, crowds and extras."""

import pytest
from llama_server import missing, running

if missing():
    pytest.skip(missing(), allow_module_level=True)
pytest.importorskip("gguf", reason="gguf is not installed; run: tox -e llama-server")

from dataclasses import replace

from gguf_writer import write_gguf

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.rendering import result_line
from draftproof.data.prompt import Prompt
from draftproof.engines.measuring import Bench
from draftproof.engines.openai import OpenAIEngine
from draftproof.errors import EngineError
from draftproof.trace import Verdict

DRAFTS = ("draft", "ngram")


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(max_new_tokens=12, sampling=Sampling(temperature=1.0))
    return make_subject(config, prompts=1, report=lambda line: None)


@pytest.fixture(scope="module")
def servers(subject, tmp_path_factory):
    """The addresses of a server without speculation, with a draft model, and with n-grams."""
    folder, pair = tmp_path_factory.mktemp("gguf"), subject.pair
    target = write_gguf(folder / "target.gguf", pair.target.model, pair.tokenizer, "F32")
    draft = write_gguf(folder / "draft.gguf", pair.draft.model, pair.tokenizer, "F32")
    with running(target) as plain, running(target, draft) as model, running(target, "ngram") as own:
        yield {"plain": plain, "draft": model, "ngram": own}


def options(servers, drafting, **more):
    given = {
        "url": servers[drafting],
        "plain_url": servers["plain"],
        "server": "llama-server",
        **more,
    }
    return tuple(given.items())


@pytest.mark.parametrize("drafting", DRAFTS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_cases(subject, servers, drafting, temperature):
    config = replace(
        subject.config,
        engine="openai",
        engine_options=options(servers, drafting, stream="true"),
        sampling=Sampling(temperature=temperature),
    )
    engine = OpenAIEngine(config, subject.pair)
    bench = Bench(engine, subject.pair, config)
    records = [bench.run(prompt) for prompt in subject.prompts]
    engine.close()
    wanted = Verdict.SAMPLED if temperature else Verdict.IDENTICAL
    assert {record.verdict for record in records} <= {wanted, Verdict.NUMERICAL}
    assert all(not record.contradictions for record in records)
    assert all(record.speculative.arrivals for record in records)
    if drafting == "draft":
        assert all(record.counts.drafted > 0 for record in records)


@pytest.mark.parametrize("drafting", DRAFTS)
@pytest.mark.parametrize(
    "name",
    ["greedy output", "same request twice", "alone and in a crowd", "streamed and whole answers"],
)
def test_checks_of_the_kit(subject, servers, drafting, name):
    config = replace(subject.config, engine="openai", engine_options=options(servers, drafting))
    asked = replace(subject, config=config)
    (examined,) = examine(asked, [name])
    asked.close()
    assert examined.finding.status is Status.PASSED, result_line(examined)


def test_a_grammar_is_kept_by_both_and_judged_by_the_servers_plain_decoding(subject, servers):
    grammar = '{"grammar": "root ::= [a-c]+"}'
    config = replace(
        subject.config,
        engine="openai",
        engine_options=options(servers, "draft", extra_body=grammar),
        sampling=Sampling(),
    )
    engine = OpenAIEngine(config, subject.pair)
    record = Bench(engine, subject.pair, config).run(subject.prompts[0])
    engine.close()
    assert record.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL)
    text = subject.pair.decode(
        [t for t in record.speculative.token_ids if t not in subject.pair.stop_token_ids]
    )
    assert text
    assert set(text) <= set("abc")


def test_a_grammar_that_only_one_side_obeys_is_found(subject, servers):
    """As if speculation dropped it: the judge compares with plain decoding of the same server."""
    grammar = '{"grammar": "root ::= [a-c]+"}'
    settings = {"engine": "openai", "sampling": Sampling()}
    config = replace(
        subject.config, engine_options=options(servers, "draft", extra_body=grammar), **settings
    )
    obeys = OpenAIEngine(config, subject.pair)
    bare = replace(subject.config, engine_options=options(servers, "draft"), **settings)
    drops = OpenAIEngine(bare, subject.pair)
    drops.plain = obeys.plain
    record = Bench(drops, subject.pair, bare).run(subject.prompts[0])
    for engine in (obeys, drops):
        engine.close()
    assert record.verdict is Verdict.ALGORITHMIC, record.message


def test_a_switch_that_this_server_ignores_is_refused(subject, servers):
    """Build 11549 ignores ``speculative.n_max`` of a request; one that obeys decodes plainly."""
    given = (
        ("url", servers["draft"]),
        ("server", "llama-server"),
        ("plain_body", '{"speculative.n_max": 0}'),
    )
    config = replace(
        subject.config, engine="openai", engine_options=given, sampling=Sampling(temperature=0.0)
    )
    engine = OpenAIEngine(config, subject.pair)
    problem, record = "", None
    try:
        record = Bench(engine, subject.pair, config).run(subject.prompts[0])
    except EngineError as error:
        problem = str(error)
    engine.close()
    if record is None:
        assert "does not switch its speculation off" in problem
    else:
        assert record.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL)
        assert record.plain.engine == "openai"


def test_the_servers_chat_template_makes_the_judges_prompt(subject, servers):
    config = replace(
        subject.config,
        engine="openai",
        engine_options=options(servers, "draft", chat="there"),
        sampling=Sampling(),
    )
    prompt = Prompt(prompt_id="list", domain="chat", text="Write a list.")
    engine = OpenAIEngine(config, subject.pair)
    record = Bench(engine, subject.pair, config).run(prompt)
    engine.close()
    assert record.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL)
    assert record.counts.drafted > 0
