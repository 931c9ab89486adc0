"""The engine `probe` tells the reference engine's steps and nodes, and runs no speculation."""

import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from strategies import tiny_lm

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.making import make_subject
from draftproof.engines.measuring import Bench
from draftproof.engines.names import speculates
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.registry import make_engine
from draftproof.errors import UsageError
from draftproof.models.loading import load_pair
from draftproof.replay.probing import ProbeEngine
from draftproof.report.context import plain_lines
from draftproof.shapes import parse_tree
from draftproof.trace import NODE_COLUMNS, STEP_COLUMNS, Verdict

TREES = ("chain:1", "chain:5", "2x3", "3x2")
TIMES = ("draft_seconds", "verify_seconds")


@pytest.fixture(scope="session")
def pair():
    """In float64, where rounding tips no choice over."""
    return load_pair(RunConfig(dtype="float64"), lambda line: None)


@pytest.fixture(scope="session")
def short_pair(pair):
    """Models whose contexts end after 24 and after 20 tokens."""
    target, draft = tiny_lm(3, max_length=24), tiny_lm(5, layers=1, max_length=20)
    return replace(pair, target=target, draft=draft)


def settings(tree="3x2", **others):
    return RunConfig(engine="probe", tree=parse_tree(tree), max_new_tokens=12, **others)


def both(pair, config, request):
    live = ReferenceEngine(pair, replace(config, engine="reference")).speculate(request)
    return ProbeEngine(config, pair).speculate(request), live


def assert_same(probed, live):
    assert (probed.token_ids, probed.stop_reason) == (live.token_ids, live.stop_reason)
    assert (probed.accepted, probed.counts) == (live.accepted, live.counts)
    for name in set(STEP_COLUMNS) - set(TIMES):
        np.testing.assert_array_equal(probed.steps[name], live.steps[name], err_msg=name)
    for name in NODE_COLUMNS:
        np.testing.assert_allclose(
            probed.nodes[name].astype(float),
            live.nodes[name].astype(float),
            rtol=1e-5,
            atol=1e-6,
            err_msg=name,
        )


@pytest.mark.parametrize("tree", TREES)
def test_steps_and_nodes_are_the_reference_engines(pair, prompts, ask, tree):
    kept = set()
    for prompt in prompts:
        probed, live = both(pair, settings(tree), ask(prompt.text, limit=12))
        assert_same(probed, live)
        kept.update(live.steps["accepted_length"].tolist())
    assert len(kept) > 1  # some steps kept more than others


def test_a_static_tree(pair, ask, tmp_path):
    file = tmp_path / "tree.json"
    file.write_text("[[0], [1], [2], [0, 0], [0, 1], [1, 0], [0, 0, 0]]")
    assert_same(*both(pair, settings(f"static:{file}"), ask(limit=20)))


def test_outputs_that_end_inside_a_block(pair, ask):
    """What a step keeps beyond the end of its output is told, too."""
    whole, _ = both(pair, settings("chain:5"), ask(limit=16))
    said = sorted(set(whole.token_ids[:12]))
    cases = [{"limit": n} for n in range(1, 12)]
    cases += [{"limit": 16, "stops": [token]} for token in said]
    cases += [{"limit": 16, "strings": (pair.decode([token]),)} for token in said]
    beyond, reasons = 0, set()
    for request in cases:
        probed, live = both(pair, settings("chain:5"), ask(**request))
        assert_same(probed, live)
        reasons.add(live.stop_reason)
        steps = live.steps
        beyond += int((steps["accepted_length"] + 1 > steps["committed_tokens"]).sum())
    assert reasons == {"length", "stop_token", "stop_string"}
    assert beyond > 5


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("length", [8, 13, 19, 20, 22])
def test_drafts_are_cut_where_a_context_ends(short_pair, ask, tree, length):
    limit = short_pair.target.max_length - length
    request = ask(ids=[1] * length, limit=limit, stops=())
    probed, live = both(short_pair, settings(tree), request)
    assert_same(probed, live)
    assert len(set(live.steps["nodes"].tolist())) > 1 or limit < 3 or length > 19


def test_a_case_is_measured_and_not_judged(pair, prompts):
    config = settings()
    bench = Bench(make_engine(pair, config), pair, config)
    live = replace(config, engine="reference")
    judged = Bench(make_engine(pair, live), pair, live).run(prompts[0])
    record = bench.run(prompts[0])
    assert record.verdict is Verdict.UNJUDGED
    assert record.contradictions == judged.contradictions == ()
    assert math.isnan(record.speculative.seconds)
    assert record.speculative.untold_seconds is None
    assert record.plain.seconds > 0
    assert record.speculative_score is None
    assert plain_lines([record]) != plain_lines([replace(record, plain=None)])
    assert not speculates(bench.engine.describe())
    assert speculates(ReferenceEngine(pair, live).describe())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_prompt_is_decoded_once(pair, prompts, batch):
    config = settings(batch=batch, check_state=0.0)
    engine = ProbeEngine(config, pair)
    upcoming = {a.prompt_id: prompts[i + 1 :] for i, a in enumerate(prompts)}
    decoded = []

    def noted(requests, most_rows):
        asked = list(requests)
        decoded.extend(request.request_id for request in asked)
        return plain(asked, most_rows)

    rows = engine._decoder._rows
    plain = rows.plain
    with patch.object(rows, "plain", noted):
        bench = Bench(engine, pair, config, lambda name: upcoming[name])
        records = [bench.run(prompt) for prompt in prompts]
    assert sorted(decoded) == sorted(prompt.prompt_id for prompt in prompts)
    live = replace(config, engine="reference", batch=1)
    expected = Bench(ReferenceEngine(pair, live), pair, live)
    for prompt, record in zip(prompts, records, strict=True):
        nodes = expected.run(prompt).nodes
        np.testing.assert_array_equal(record.nodes["token_id"], nodes["token_id"])
    assert not engine._plain


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampling": Sampling(temperature=1.0)}, "works at temperature 0"),
        ({"sampling": Sampling(temperature=0.0, repetition_penalty=1.1)}, "works at temperature 0"),
        ({"sampling": Sampling(temperature=0.0, min_new_tokens=2)}, "works at temperature 0"),
        ({"rule": "typical"}, "not --spec-rule typical"),
        ({"tree": parse_tree("best-first:8")}, "not always of one shape"),
        ({"engine_options": (("a", "b"),)}, "no settings of its own"),
    ],
)
def test_settings_that_plain_outputs_do_not_decide_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        ProbeEngine.check_settings(replace(settings(), **given))


def test_there_is_nothing_to_verify(pair):
    with pytest.raises(UsageError, match="there is nothing to verify"):
        make_subject(settings())
    with pytest.raises(UsageError, match="give --spec-draft"):
        ProbeEngine(settings(), replace(pair, draft=None))
