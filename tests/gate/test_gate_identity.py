"""What must be the same of two runs, and what need not be."""

from dataclasses import replace

import pytest

from draftproof.gate.identity import mismatches, timing_mismatches


def with_(run, part, **changes):
    return replace(run, **{part: {**getattr(run, part), **changes}})


def model(run, role, **changes):
    return with_(run, "models", **{role: {**run.models[role], **changes}})


@pytest.mark.parametrize(
    ("part", "changes", "listed"),
    [
        ("config", {"tree": "2x2"}, "setting tree: 3x2 → 2x2"),
        ("config", {"seed": 8}, "setting seed: 7 → 8"),
        ("config", {"sampling": {"top_k": 5}}, "setting sampling.top_k: 0 → 5"),
        ("versions", {"torch": "2.8.0"}, "version of torch: 2.9.0 → 2.8.0"),
        ("versions", {"python": "3.12.0"}, "version of python: 3.11 → 3.12"),
        ("hardware", {"machine": "arm64"}, "machine: x86_64 → arm64"),
        ("prompts", {"a/0": "22"}, "text of prompt a/0: 11 → 22"),
    ],
)
def test_a_difference_is_listed(run, part, changes, listed):
    run = replace(run, prompts={"a/0": "11", "a/1": "33"})
    assert [str(fact) for fact in mismatches(run, with_(run, part, **changes))] == [listed]


@pytest.mark.parametrize("fact", ["sha256", "dtype", "device"])
@pytest.mark.parametrize("role", ["target", "draft"])
def test_other_models_are_listed(run, role, fact):
    (found,) = mismatches(run, model(run, role, **{fact: "other"}))
    assert found.fact == f"{role} {fact}"


def test_another_tokenizer_is_listed(run):
    run = model(run, "target", tokenizer_sha256="t1")
    (found,) = mismatches(run, model(run, "target", tokenizer_sha256="t2"))
    assert str(found) == "target tokenizer_sha256: t1 → t2"


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("config", {"limit": 50}),
        ("config", {"data_dir": "/elsewhere"}),
        ("config", {"jsonl": "/elsewhere/prompts.jsonl"}),
        ("config", {"draw_log": "/elsewhere", "engine_timeout": 5.0}),
        ("config", {"promises": {"code": {}}}),
        ("config", {"target": "/the/same/weights/in/another/folder"}),
        ("config", {"dtype": "float32"}),
        ("versions", {"python": "3.11.9"}),
        ("versions", {"draftproof": "0.2.0"}),
        ("hardware", {"cpu": "Another CPU"}),
        ("prompts", {"b/9": "99"}),
    ],
)
def test_what_does_not_move_a_figure_is_not(run, part, changes):
    places = {"jsonl": "/here", "draw_log": "/here", "data_dir": "/here"}
    own = {**places, "dtype": "auto", "engine_timeout": 600.0, "promises": {"chat": {}}}
    run = replace(run, config={**run.config, **own}, prompts={"a/0": "11"})
    assert mismatches(run, with_(run, part, **changes)) == []


def test_models_are_named_by_their_settings_where_their_contents_are_not_known(run):
    unknown = replace(run, models={})
    other = with_(unknown, "config", target="elsewhere")
    assert [fact.fact for fact in mismatches(unknown, other)] == ["setting target"]


def test_before_models_are_loaded_their_contents_are_not_compared(run):
    later = replace(run, models={}, config={**run.config, "target": "elsewhere"})
    assert mismatches(run, later) == []
    loaded = replace(later, models={role: {"sha256": "cc"} for role in run.models})
    assert {fact.fact for fact in mismatches(run, loaded)} == {"target sha256", "draft sha256"}


def test_another_processor_matters_to_seconds(run):
    other = with_(run, "hardware", cpu="Another CPU")
    (found,) = timing_mismatches(run, other)
    assert found.fact == "cpu"


def test_how_many_prompts_were_decoded_at_once_matters_to_seconds(run):
    """An engine that does not tell decodes one."""
    alone, four = (
        with_(run, "models", engine={"name": "reference", **more})
        for more in ({}, {"prompts at once": 4})
    )
    (found,) = timing_mismatches(alone, four)
    assert str(found) == "prompts at once: 1 → 4"
    assert timing_mismatches(four, four) == []
    assert mismatches(alone, four) == []
