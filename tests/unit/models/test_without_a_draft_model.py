"""Prompt lookup, and engines that draft by themselves, need no draft model."""

from dataclasses import replace

import pytest
import torch
from checkpoints import save_checkpoint

from draftproof.config import NO_DRAFT, RunConfig, Sampling
from draftproof.data import Prompt
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.registry import make_engine
from draftproof.errors import ModelError, UsageError
from draftproof.models.loading import load_pair
from draftproof.report.run_info import RunInfo
from draftproof.shapes import parse_tree
from draftproof.trace import Verdict

PROMPT = Prompt(prompt_id="a/0", domain="chat", text="a b c d a b c d a b")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Of another vocabulary than the built-in draft model, which is the default."""
    return save_checkpoint(tmp_path_factory.mktemp("models") / "target", stops=False)


def settings(target, **changes):
    return RunConfig(
        target=str(target), device="cpu", max_new_tokens=12, **{"check_state": 1.0} | changes
    )


def measured(config):
    pair = load_pair(config)
    assert pair.draft is None
    assert pair.descriptions["draft"] == {"name": NO_DRAFT}
    return Bench(make_engine(pair, config), pair, config).run(PROMPT)


@pytest.mark.parametrize("named", [{}, {"draft": NO_DRAFT}])
def test_lookup_needs_none(target, named):
    record = measured(settings(target, tree=parse_tree("lookup:5"), **named))
    assert record.verdict is Verdict.IDENTICAL
    assert len(record.nodes["token_id"])


def test_lookup_is_judged_above_temperature_0_too(target):
    config = settings(target, tree=parse_tree("lookup:5"), sampling=Sampling(temperature=1.0))
    record = measured(config)
    assert record.verdict is Verdict.SAMPLED
    assert record.evidence is not None


def test_an_engine_that_drafts_by_itself_needs_none(target):
    record = measured(settings(target, engine="transformers-lookup"))
    assert record.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL)


def test_plain_decoding_of_the_judges_own_needs_none(target):
    """As for a server that cannot decode plainly."""
    config = settings(target, engine="transformers-lookup")
    pair = load_pair(config)
    engine = make_engine(pair, config)
    engine.capabilities = engine.capabilities - {Capability.PLAIN}
    assert Bench(engine, pair, config).run(PROMPT).plain is not None


def test_a_tree_that_needs_one_says_so_before_a_model_is_loaded(target, monkeypatch):
    monkeypatch.setattr("draftproof.models.loading.load_model", None)
    with pytest.raises(ModelError, match="is the built-in one, since --spec-draft was not given"):
        load_pair(settings(target, tree=parse_tree("3x2")))


def test_a_draft_model_that_was_asked_for_is_not_dropped(target, tmp_path):
    other = save_checkpoint(tmp_path / "other", words=("x", "y"))
    with pytest.raises(ModelError, match="another tokenizer than the target"):
        load_pair(settings(target, draft=str(other), engine="transformers-lookup"))


@pytest.mark.parametrize("engine", ["reference", "transformers-assisted"])
def test_what_drafts_with_a_model_says_so(target, engine):
    config = settings(target, draft=NO_DRAFT, engine=engine, tree=parse_tree("chain:3"))
    pair = load_pair(config)
    with pytest.raises(UsageError, match="give --spec-draft"):
        make_engine(pair, config)
    assert ReferenceEngine.without_drafts(pair, config) is not None


def test_no_notice_of_the_built_in_pair_where_it_has_no_part(target):
    run = RunInfo(
        name="x",
        started="",
        config=settings(target).to_json(),
        fingerprint="",
        models={"draft": {"name": NO_DRAFT}},
    )
    assert not run.uses_builtin
    assert replace(run, models={}).uses_builtin


def test_the_builtin_draft_model_stays_where_it_fits():
    pair = load_pair(RunConfig(tree=parse_tree("lookup:5")))
    assert pair.draft is not None
    assert torch.isfinite(pair.draft.advance([2, 3])).all()
