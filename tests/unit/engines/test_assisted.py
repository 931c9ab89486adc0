"""Assisted generation and prompt lookup of transformers, watched from outside."""

import copy
from dataclasses import replace

import pytest
import torch

from draftproof.config import RunConfig, Sampling
from draftproof.engines.assisted import AssistedEngine, LookupEngine
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import EngineError, UsageError
from draftproof.shapes import parse_tree
from draftproof.trace import Verdict

ENGINES = {"transformers-assisted": AssistedEngine, "transformers-lookup": LookupEngine}
SAMPLINGS = {
    "greedy": Sampling(),
    "penalty": Sampling(repetition_penalty=1.3),
    "at least 12": Sampling(min_new_tokens=12),
    "sampled": Sampling(temperature=0.9),
    "filtered": Sampling(temperature=0.9, top_k=20, top_p=0.9, min_p=0.02),
}

GREEDY = {name: sampling for name, sampling in SAMPLINGS.items() if sampling.greedy}


def make(name, pair, **options):
    given = tuple((key, str(value)) for key, value in options.items())
    return ENGINES[name](RunConfig(engine=name, engine_options=given), pair)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_every_case_is_measured_and_judged(pair, prompts, name, sampling):
    config = RunConfig(engine=name, sampling=sampling, max_new_tokens=24)
    bench = Bench(ENGINES[name](config, pair), pair, config)
    for prompt in prompts[2:4]:
        record = bench.run(prompt)
        expected = Verdict.IDENTICAL if sampling.greedy else Verdict.SAMPLED
        assert record.verdict is expected, record.message
        assert record.steps["committed_tokens"].sum() == len(record.speculative.token_ids)


@pytest.mark.parametrize("sampling", GREEDY.values(), ids=GREEDY)
def test_its_plain_decoding_at_temperature_0_is_ours(pair, prompts, sampling):
    config = RunConfig(sampling=sampling, max_new_tokens=20)
    reference = ReferenceEngine(pair, config)
    request = Bench(reference, pair, config).request(prompts[0])
    theirs = make("transformers-lookup", pair).plain(request)
    assert theirs.token_ids == reference.plain(request).token_ids


def test_what_it_accepts_is_what_the_reference_accepts(pair, prompts):
    """At temperature 0, a chain of the same length keeps the same tokens, step for step.

    Its first step scores the prompt with the first draft, where ours has prefill, so that the two
    are compared from a place where both begin a step: the engine is given our prompt and first
    token.
    """
    config = RunConfig(tree=parse_tree("chain:4"), max_new_tokens=32, check_state=0)
    reference, engine = (
        ReferenceEngine(pair, config),
        make("transformers-assisted", pair, draft_length=4),
    )
    bench = Bench(reference, pair, config)
    compared = 0
    for prompt in prompts[::2]:
        request = bench.request(prompt)
        ours = reference.speculate(request)
        theirs = engine.speculate(_after_first(request, ours.token_ids[0]))
        # The last draft is shorter in transformers, which never drafts past the length limit.
        known = min(len(ours.steps["step"]), len(theirs.steps["step"])) - 2
        assert (
            ours.steps["accepted_length"][:known].tolist()
            == theirs.steps["accepted_length"][:known].tolist()
        )
        compared += max(0, known)
    assert compared > 20


def _after_first(request, token):
    return replace(
        request,
        prompt_token_ids=(*request.prompt_token_ids, token),
        stopping=replace(request.stopping, max_new_tokens=request.stopping.max_new_tokens - 1),
    )


def test_a_model_that_drafts_for_itself_is_always_accepted(pair, ask):
    twin = replace(pair, draft=pair.target)
    generation = make("transformers-assisted", twin, draft_length=3).speculate(ask(limit=30))
    assert generation.counts.accepted == generation.counts.drafted > 15
    assert generation.steps["nodes"].max() == 3


@pytest.mark.parametrize("length", [1, 3, 8])
def test_drafts_are_as_long_as_asked(pair, ask, length):
    generation = make("transformers-assisted", pair, draft_length=length).speculate(ask(limit=48))
    assert generation.steps["nodes"].max() == length


@pytest.mark.parametrize("name", ENGINES)
def test_outputs_do_not_depend_on_what_ran_before(pair, ask, name):
    fresh = make(name, pair).speculate(ask("Tell me a story.", limit=40, temperature=0.9))
    engine = make(name, pair)
    for text in ("one two one two one two", "Tell me a story.", "Sort a list."):
        engine.speculate(ask(text, limit=40, temperature=0.7))
    torch.manual_seed(5)
    torch.rand(7)
    again = engine.speculate(ask("Tell me a story.", limit=40, temperature=0.9))
    assert again.token_ids == fresh.token_ids
    assert again.accepted == fresh.accepted


@pytest.mark.parametrize("name", ENGINES)
def test_the_seed_and_the_request_decide_the_draws(pair, ask, name):
    engine = make(name, pair)
    request = ask(limit=24, temperature=1.2)
    outputs = {engine.speculate(replace(request, seed=seed)).token_ids for seed in range(4)}
    named = {
        engine.speculate(replace(request, request_id=name)).token_ids for name in ("a", "b", "c")
    }
    assert len(outputs) == 4
    assert len(named) == 3


@pytest.mark.parametrize("name", ENGINES)
def test_nothing_survives_a_call(pair, ask, name):
    models = (pair.target.model, pair.draft.model)
    configs = [model.generation_config for model in models]
    before = [copy.deepcopy(config.to_dict()) for config in configs]
    state = torch.get_rng_state()
    engine = make(name, pair)
    engine.speculate(ask(limit=40, temperature=0.9))
    with pytest.raises(RuntimeError, match="boom"):
        _fail_in_generate(engine, pair, ask)
    assert [model.generation_config for model in models] == configs
    assert [config.to_dict() for config in configs] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(model._forward_pre_hooks for model in models)


def _fail_in_generate(engine, pair, ask):
    def fail(model, arguments, named):
        raise RuntimeError("boom")

    hook = pair.target.model.register_forward_pre_hook(fail, with_kwargs=True)
    try:
        engine.speculate(ask())
    finally:
        hook.remove()


def test_the_checkpoint_s_own_settings_are_out_of_force(pair, ask):
    config = pair.target.model.generation_config
    engine, request = make("transformers-lookup", pair), ask(limit=20)
    expected = engine.plain(request).token_ids
    own = copy.deepcopy(config)
    config.update(repetition_penalty=2.0, suppress_tokens=list(expected[:1]))
    try:
        assert engine.plain(request).token_ids == expected
        assert engine.speculate(request).token_ids == expected
    finally:
        pair.target.model.generation_config = own


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8])
def test_no_output_is_longer_than_its_limit(pair, ask, name, limit):
    generation = make(name, pair).speculate(ask(limit=limit, stops=()))
    assert len(generation.token_ids) == limit
    assert generation.stop_reason == "length"


@pytest.mark.parametrize("name", ENGINES)
def test_a_stop_token_anywhere_in_a_block_ends_the_output(pair, ask, name):
    engine = make(name, pair)
    output = engine.plain(ask(limit=24, stops=())).token_ids
    offsets = set()
    for token in dict.fromkeys(output):
        generation = engine.speculate(ask(limit=24, stops={token}))
        index = output.index(token)
        assert generation.token_ids == output[: index + 1]
        assert generation.stop_reason == "stop_token"
        offsets.add(int(generation.steps["committed_tokens"][-1]))
    assert len(offsets) >= (3 if name == "transformers-assisted" else 1)


def test_a_stop_string_inside_a_block_is_missed_by_transformers(pair, prompts):
    """A fault of transformers 5.23, which the bench must show: it is not hidden by the adapter.

    Stop strings are looked for at the end of a block alone, so that tokens after one are returned,
    or decoding goes on. Plain decoding, and blocks of one token, stop where they should.
    """
    config = RunConfig(stop_strings=("e",), max_new_tokens=24)
    request = Bench(make("transformers-assisted", pair), pair, config).request
    found = 0
    for prompt in prompts[:4]:
        engine = make("transformers-assisted", pair)
        bench = Bench(engine, pair, config)
        plain = engine.plain(request(prompt))
        assert config.stop_strings[0] not in pair.decode(plain.token_ids[:-1])
        output = engine.speculate(request(prompt)).token_ids
        if output == plain.token_ids:
            assert bench.run(prompt).verdict is Verdict.IDENTICAL
            continue
        found += 1
        assert output[: len(plain.token_ids)] == plain.token_ids
        with pytest.raises(EngineError, match=r"after it should have ended \(stop_string\)"):
            bench.run(prompt)
    assert found >= 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("transformers-assisted", {"draft_lenght": 5}, "did you mean 'draft_length'?"),
        ("transformers-assisted", {"draft_length": 0}, "draft_length=0: give at least 1"),
        ("transformers-assisted", {"confidence": 1.5}, "confidence=1.5: give 0 (never)"),
        ("transformers-lookup", {"ngram": "two"}, "ngram=two is not a whole number"),
    ],
)
def test_bad_settings_are_refused(pair, name, options, message):
    with pytest.raises(UsageError) as refused:
        make(name, pair, **options)
    assert message in str(refused.value)


def test_what_it_cannot_tell_it_does_not_promise(pair):
    lacking = set(Capability) - make("transformers-assisted", pair).capabilities
    assert lacking == {
        Capability.RUN_SETTINGS,
        Capability.NODES,
        Capability.LOG_PROBABILITIES,
        Capability.STATE_CHECKS,
        Capability.STREAMS,
        Capability.BATCHES,
        Capability.CANCELS,
    }


@pytest.mark.parametrize("name", ["reference", *ENGINES])
def test_an_output_that_fills_the_context_ends_there(pair, prompts, name):
    config = RunConfig(engine=name, max_new_tokens=64, check_state=0)
    engine = ReferenceEngine(pair, config) if name == "reference" else make(name, pair)
    longest = pair.target.max_length
    text = "a b c d " * (longest // 4)
    while len(pair.encode(text)) > longest - 5:
        text = text[:-2]
    record = Bench(engine, pair, config).run(replace(prompts[0], text=text))
    assert record.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL), record.message
    assert len(record.speculative.token_ids) <= longest - record.prompt_tokens < 64
