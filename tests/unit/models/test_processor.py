"""Types that a processor emulates are avoided where it is free to, and named where it is not."""

import platform

import pytest
import torch
from checkpoints import save_checkpoint

from draftproof.config import RunConfig
from draftproof.models import checkpoint, processor
from draftproof.models.loading import load_pair
from draftproof.models.processor import free_bytes, is_slow_in

CPU = torch.device("cpu")


@pytest.fixture
def half(tmp_path):
    """A checkpoint in bfloat16."""
    folder = save_checkpoint(tmp_path / "target")
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def loaded(folder, dtype="auto"):
    lines = []
    settings = RunConfig(target=str(folder), draft=str(folder), dtype=dtype, device="cpu")
    pair = load_pair(settings, lines.append)
    return pair.descriptions["target"]["dtype"], "\n".join(lines)


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(checkpoint, "is_slow_in", lambda dtype, device: dtype == torch.bfloat16)


def test_a_type_that_is_emulated_is_not_taken_by_itself(half, slow):
    dtype, said = loaded(half)
    assert dtype == "float32"
    assert "runs in float32, since this processor has no instructions for its own bfloat16" in said


def test_where_memory_is_short_it_is_and_the_cost_is_said(half, slow, monkeypatch):
    monkeypatch.setattr(checkpoint, "free_bytes", lambda device: 1000)
    dtype, said = loaded(half)
    assert dtype == "bfloat16"
    assert "--spec-dtype float32" in said


def test_what_is_asked_for_is_done_and_the_cost_is_said(half, slow):
    dtype, said = loaded(half, "bfloat16")
    assert dtype == "bfloat16"
    assert "this processor has no instructions for bfloat16" in said


def test_a_processor_that_is_quick_in_it_says_nothing(half, monkeypatch):
    monkeypatch.setattr(checkpoint, "is_slow_in", lambda dtype, device: False)
    dtype, said = loaded(half)
    assert dtype == "bfloat16"
    assert "instructions" not in said


@pytest.mark.parametrize(
    ("machine", "has", "expected"),
    [
        ("x86_64", False, True),
        ("x86_64", True, False),
        ("arm64", False, False),
    ],
)
def test_which_processors_are_slow(monkeypatch, machine, has, expected):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has, raising=False)
    assert is_slow_in(torch.bfloat16, CPU) is expected
    assert not is_slow_in(torch.float32, CPU)
    assert not is_slow_in(torch.bfloat16, torch.device("cuda"))


def test_a_pytorch_that_does_not_tell_is_taken_to_be_fast(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert not is_slow_in(torch.bfloat16, CPU)


def test_free_memory_is_some():
    assert 0 < free_bytes(CPU) < 2**50
