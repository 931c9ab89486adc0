"""Costs are measured by running the models; what they come to is not asserted, but its form is."""

import numpy as np
import pytest
from checkpoints import save_checkpoint
from strategies import tiny_lm

from draftproof.config import RunConfig
from draftproof.data.prompt import Prompt
from draftproof.errors import ModelError, UsageError
from draftproof.replay import timing
from draftproof.replay.making import load_models


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(timing, "MOST_ROUNDS", 2)
    monkeypatch.setattr(timing, "SECONDS", 0.0)


def test_forward_passes_of_every_width_and_context(quick):
    costs = timing.forward_costs(tiny_lm(0))
    assert costs.widths[0] == 1
    assert costs.widths[-1] == 128
    assert costs.contexts == (32, 128)
    assert costs.milliseconds.shape == (2, len(costs.widths))
    assert (costs.milliseconds > 0).all()
    assert (np.diff(costs.milliseconds, axis=1) >= 0).all()
    assert costs.noise >= 0


def test_a_short_context_has_narrow_passes(quick):
    costs = timing.forward_costs(tiny_lm(0, max_length=20))
    assert costs.widths[-1] == 16
    assert costs.contexts == (4,)


def test_everything_that_a_speedup_is_made_of(quick, tmp_path):
    target = save_checkpoint(tmp_path / "target", stops=False)
    draft = save_checkpoint(tmp_path / "draft", seed=1, stops=False)
    config = RunConfig(target=str(target), dtype="float64", max_new_tokens=6)
    said = []
    models = load_models(config, (str(draft),), said.append)
    prompts = [Prompt(prompt_id=text, domain="own", text=text) for text in ("a b", "c d e a")]
    costs = timing.measure_costs(models, config, prompts, said.append)
    assert list(costs.drafts) == [str(draft)]
    for value in (costs.step_ms, costs.level_ms, costs.plain_ms, *costs.target_prompt):
        assert value >= 0
    assert any("measuring" in line for line in said)
    with pytest.raises(UsageError, match="no prompt leaves room"):
        timing.measure_costs(models, config, [], said.append)
    with pytest.raises(UsageError, match="name at least one draft model"):
        load_models(config, (), said.append)
    with pytest.raises(ModelError, match="there is no folder"):
        load_models(config, (str(draft), str(tmp_path / "nowhere")), said.append)
