"""Plain decoding, which everything is compared with, is judged itself."""

from dataclasses import replace

import pytest
from broken_models import FirstRowForTheLast, PositionsAfterAGap

from draftproof.config import RunConfig, Sampling
from draftproof.engines.measuring import CERTIFIED_ONE_IN, Bench, _share_of
from draftproof.engines.parts import make_parts
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import EngineError
from draftproof.report.context import plain_lines
from draftproof.trace import CaseRecord, DecodedOutput, Verdict

SAMPLINGS = [Sampling(), Sampling(temperature=1.0, top_k=20)]


@pytest.fixture
def config():
    return RunConfig(max_new_tokens=12, check_state=0.0)


def bench_of(model, pair, config):
    """A bench on whose engine both ways of decoding share one wrong target."""
    wrong = model(pair.target.model, pair.target.vocabulary_size)
    engine = ReferenceEngine.of(make_parts(wrong, pair.draft, config), config)
    return Bench(engine, pair, config)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("model", [FirstRowForTheLast, PositionsAfterAGap])
def test_two_equal_outputs_that_are_both_wrong_are_an_error(pair, config, prompts, model, sampling):
    bench = bench_of(model, pair, replace(config, sampling=sampling))
    with pytest.raises(EngineError) as failed:
        bench.run(prompts[0])
    message = str(failed.value)
    assert message.startswith("plain decoding itself is wrong, and equal outputs would prove")
    assert "plain decoding changed the output" in message
    assert "speculation" not in message
    assert "with one forward pass of the target over all" in message


def test_the_first_token_is_judged(pair, config, prompts):
    """Every other token of these outputs is the target's own after what precedes it."""
    bench = bench_of(FirstRowForTheLast, pair, config)
    request = bench.request(prompts[0])
    plain, speculative = bench.engine.plain(request), bench.engine.speculate(request)
    assert plain.token_ids == speculative.token_ids
    with pytest.raises(EngineError, match="1 of 12 tokens are not the target's own choice"):
        bench.run(prompts[0])


def test_after_one_that_failed_every_case_is_judged(pair, config, prompts):
    bench = bench_of(FirstRowForTheLast, pair, config)
    for prompt in prompts[:3]:
        with pytest.raises(EngineError, match="plain decoding itself is wrong"):
            bench.run(prompt)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_right_target_is_certified_on_a_sample(pair, config, prompts, sampling):
    config = replace(config, sampling=sampling)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    cases = [bench.run(prompt) for prompt in prompts[:3]]
    assert cases[0].plain_verdict is Verdict.IDENTICAL
    expected = [
        index
        for index, prompt in enumerate(prompts[:3])
        if index == 0 or _share_of(prompt.prompt_id, "certified") < 1 / CERTIFIED_ONE_IN
    ]
    assert [i for i, case in enumerate(cases) if case.plain_verdict is not None] == expected
    assert CaseRecord.from_json(cases[0].to_json()).plain_verdict is Verdict.IDENTICAL
    (line,) = plain_lines(cases)
    assert f"{len(expected)} of 3 outputs compared with the target" in line


def test_the_sample_is_one_case_in_so_many(config):
    shares = [
        _share_of(f"case {number}", "certified") < 1 / CERTIFIED_ONE_IN for number in range(800)
    ]
    # 100 are expected; within 4 standard deviations (9.4 each) but for a chance of 6e-5.
    assert 62 <= sum(shares) <= 138


def test_speculation_is_not_blamed_for_what_plain_decoding_got_wrong(pair, config, prompts):
    """Speculation is right here, and the outputs part: the case is judged although not sampled."""
    wrong = FirstRowForTheLast(pair.target.model, pair.target.vocabulary_size)

    class Mixed(ReferenceEngine):
        def plain(self, request):
            return ReferenceEngine.of(make_parts(wrong, pair.draft, config), config).plain(request)

    bench = Bench(Mixed(pair, config), pair, config)
    bench._certifies_next = False
    prompt = next(p for p in prompts if _share_of(p.prompt_id, "certified") >= 1 / CERTIFIED_ONE_IN)
    with pytest.raises(EngineError, match="plain decoding itself is wrong"):
        bench.run(prompt)


def test_of_other_weights_than_the_judges_the_verdict_tells(pair, config, prompts):
    """An engine with kernels of its own may leave the judge's target, and its report says so."""
    bench = bench_of(FirstRowForTheLast, pair, config)
    bench.engine.capabilities = frozenset(Capability) - {Capability.PAIR_TARGET}
    case = bench.run(prompts[0])
    assert case.plain_verdict is Verdict.ALGORITHMIC
    assert "leaves the judge's target in 1 of these" in plain_lines([case])[1]


def test_a_run_without_any_says_that_it_was_not_tried():
    output = DecodedOutput(token_ids=(1,), stop_reason="length", seconds=0.1)
    case = CaseRecord(
        case_id="a/1",
        domain="a",
        prompt_tokens=1,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
    )
    assert plain_lines([case])[0].startswith("plain decoding itself: not tried")
    assert plain_lines([]) == []


def test_a_near_tie_of_an_engine_whose_type_is_not_told_comes_with_what_to_state(
    pair, config, prompts, monkeypatch
):
    """A server in bfloat16 that does not say so, before a judge in float32."""
    bench = Bench(
        ReferenceEngine.of(make_parts(pair.target, pair.draft, config), config), pair, config
    )
    engine = bench.engine
    for prompt in prompts:
        request = bench.request(prompt)
        output = engine.plain(request).token_ids
        rows = pair.target.recompute([*request.prompt_token_ids, *output])
        best = rows[len(request.prompt_token_ids) - 1 : -1].topk(2)
        margins = (best.values[:, 0] - best.values[:, 1]).tolist()
        near = [i for i, margin in enumerate(margins) if 0.01 < margin < 0.4]
        if near:
            break
    index = near[-1]
    forked = (*output[:index], int(best.indices[index, 1]))
    wrong = replace(engine.plain(request), token_ids=forked)
    _, _, message = bench._judge(request, engine.plain(request), wrong)
    assert "--spec-tie-tolerance" not in message
    monkeypatch.setattr(engine, "capabilities", frozenset(Capability) - {Capability.PAIR_TARGET})
    verdict, _, message = bench._judge(request, engine.plain(request), wrong)
    assert verdict is Verdict.ALGORITHMIC
    assert message.splitlines()[-1] == bench.rounding_advice
    assert "--spec-tie-tolerance" in bench.rounding_advice
