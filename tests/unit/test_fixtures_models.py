"""The built-in pair: it loads without a network, fits together, and stays small."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODELS = FIXTURES / "models"
NAMES = ("target", "draft", "small")
SPECIAL = ("<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")


@functools.cache
def tokenizer(name: str = "target") -> Any:
    """Return a model's tokenizer, from its folder alone."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODELS / f"builtin-{name}", local_files_only=True)


@functools.cache
def model(name: str) -> Any:
    """Return a model as it is stored, from its folder alone."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        MODELS / f"builtin-{name}", local_files_only=True, dtype="auto"
    ).eval()


def size(name: str) -> int:
    """Return a model's number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model(name).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_stored_in_bfloat16_safetensors(name: str) -> None:
    import torch
    from safetensors import safe_open

    with safe_open(MODELS / f"builtin-{name}" / "model.safetensors", framework="pt") as stored:
        kinds = {stored.get_tensor(key).dtype for key in stored.keys()}  # noqa: SIM118
    assert kinds == {torch.bfloat16}
    assert {parameter.dtype for parameter in model(name).parameters()} == {torch.bfloat16}


def test_draft_is_at_most_a_sixth_of_the_target() -> None:
    assert size("draft") * 6 <= size("target")
    assert size("small") * 2 <= size("draft")
    assert 3_500_000 <= size("target") <= 8_000_000


def test_vocabulary_is_shared_and_small() -> None:
    same = (MODELS / "builtin-target" / "tokenizer.json").read_bytes()
    for other in NAMES[1:]:
        assert (MODELS / f"builtin-{other}" / "tokenizer.json").read_bytes() == same
    for name in NAMES:
        assert 2000 <= len(tokenizer(name)) <= 4096
        assert model(name).config.vocab_size == len(tokenizer(name))
        assert model(name).config.eos_token_id == tokenizer(name).eos_token_id
        assert model(name).config.max_position_embeddings == 2048
        assert tokenizer("target").get_vocab() == tokenizer(name).get_vocab()


def test_fixtures_fit_in_sixteen_megabytes() -> None:
    unkept = {"checkpoints", "__pycache__"}
    files = [path for path in FIXTURES.rglob("*") if path.is_file()]
    kept = [path for path in files if not unkept & set(path.relative_to(FIXTURES).parts)]
    assert kept
    assert sum(path.stat().st_size for path in kept) <= 16_000_000
    assert max(path.stat().st_size for path in kept) <= 8_000_000


def test_special_tokens_are_single_ids() -> None:
    for text in SPECIAL:
        assert len(tokenizer().encode(text, add_special_tokens=False)) == 1
    assert tokenizer().eos_token == "<|end|>"
    assert tokenizer().pad_token == "<|pad|>"


@given(st.text())
@example("")
@example("  two  spaces\n\ttab ")
@example("don't , stop . ' s")
@example("日本語 🙂 \x00")
@example("<|user|>inside<|end|>")
def test_any_text_survives_a_round_trip(text: str) -> None:
    ids = tokenizer().encode(text, add_special_tokens=False)
    assert tokenizer().decode(ids) == text


def test_chat_template() -> None:
    chat = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]
    apply = functools.partial(tokenizer().apply_chat_template, tokenize=False)
    assert apply(chat) == "<|user|>One<|assistant|>Two<|end|><|user|>Three"
    assert apply(chat, add_generation_prompt=True).endswith("<|user|>Three<|assistant|>")
    with pytest.raises(Exception, match="only the roles user and assistant"):
        apply([{"role": "system", "content": "Be kind."}])


@pytest.mark.parametrize("name", NAMES)
def test_model_has_learnt_its_text(name: str) -> None:
    import torch

    text = "<|user|>Compare tea and coffee.<|assistant|>Both have their good sides. Tea is"
    ids = torch.tensor([tokenizer().encode(text, add_special_tokens=False)])
    with torch.inference_mode():
        logits = model(name)(ids[:, :-1]).logits[0].float()
    loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
    assert torch.isfinite(logits).all()
    assert float(loss) < 0.5 * math.log(len(tokenizer()))


def test_card_is_made_from_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FIXTURES.parent))
    from fixtures.training import card

    (tmp_path / "training.json").write_bytes((MODELS / "training.json").read_bytes())
    card.write(tmp_path)
    assert (tmp_path / "README.md").read_text("utf-8") == (MODELS / "README.md").read_text("utf-8")


def test_figures_describe_these_models() -> None:
    figures = json.loads((MODELS / "training.json").read_text("utf-8"))
    for name in NAMES:
        assert figures[name]["parameters"] == size(name)
    measured = figures["evaluation"]["domains"]
    overlaps = [measured[domain]["overlap"] for domain in ("code", "math", "logic", "chat")]
    assert all(0.3 < overlap < 0.95 for overlap in overlaps)
    assert max(overlaps) - min(overlaps) > 0.02
    assert all(row["two_samples_differ"] > 0.5 for row in measured.values())
