"""Unpacking and dequantising against words packed one code at a time by the tests' own writer."""

import gptq_writer as writer
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from draftproof.errors import ModelError
from draftproof.models.gptq_format import GPTQFormat
from draftproof.models.gptq_weights import GPTQTensors, PackedLayer, dequantise, unpack, zero_points

BITS = st.sampled_from([4, 8])


def packing(**settings):
    return GPTQFormat(
        **{
            "bits": 4,
            "group_size": 32,
            "desc_act": False,
            "sym": False,
            "zero_points_less_one": True,
            "borrows": True,
            **settings,
        }
    )


@st.composite
def code_tables(draw, bits):
    """Rows of whole words of codes, rich in the first and last ones."""
    per_word = 32 // bits
    code = st.one_of(st.sampled_from([0, 1, (1 << bits) - 1]), st.integers(0, (1 << bits) - 1))
    width = per_word * draw(st.integers(1, 3))
    row = st.lists(code, min_size=width, max_size=width)
    return draw(st.lists(row, min_size=1, max_size=4))


@given(st.data(), BITS, st.sampled_from([torch.int32, torch.int64]))
def test_unpacking_undoes_packing(data, bits, dtype):
    codes = data.draw(code_tables(bits))
    words = writer.to_tensor(writer.pack(codes, bits)).to(dtype)
    assert unpack(words, bits).tolist() == codes


@given(st.data(), BITS)
def test_any_zero_points_survive_a_subtraction_with_borrow(data, bits):
    codes = data.draw(code_tables(bits))
    words = writer.to_tensor(writer.pack_zero_points(codes, bits, "gptq"))
    assert zero_points(words, packing(bits=bits)).tolist() == codes


@given(st.data(), BITS)
def test_zero_points_of_the_second_format_are_stored_as_they_are(data, bits):
    codes = data.draw(code_tables(bits))
    words = writer.to_tensor(writer.pack_zero_points(codes, bits, "gptq_v2"))
    found = zero_points(words, packing(bits=bits, zero_points_less_one=False))
    assert found.tolist() == codes


@given(st.data(), BITS)
def test_zero_points_from_1_up_are_the_same_however_1_was_subtracted(data, bits):
    codes = [[max(1, code) for code in row] for row in data.draw(code_tables(bits))]
    words = writer.to_tensor(writer.pack_zero_points(codes, bits, "gptq", borrow=False))
    assert torch.equal(words, writer.to_tensor(writer.pack_zero_points(codes, bits, "gptq")))
    assert zero_points(words, packing(bits=bits, borrows=False)).tolist() == codes


def test_a_borrow_by_hand():
    """0 and 5 are stored as 0 - 1 = f, borrowing from 5 - 1 - 1 = 3; the others as 2 - 1."""
    words = torch.tensor([[0x1111113F]], dtype=torch.int32)
    assert zero_points(words, packing()).tolist() == [[0, 5, 2, 2, 2, 2, 2, 2]]


@given(
    data=st.data(),
    bits=BITS,
    group_size=st.sampled_from([32, 64, 128, -1]),
    desc_act=st.booleans(),
    layout=st.sampled_from(["gptq", "gptq_v2"]),
    inputs=st.sampled_from([32, 96, 128, 640]),
    seed=st.integers(0, 99),
)
def test_a_layer_with_any_codes_is_dequantised_exactly(
    data, bits, group_size, desc_act, layout, inputs, seed
):
    outputs = 8 * data.draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(seed)
    g_idx = writer.group_of_each_input(inputs, group_size, desc_act, generator)
    groups = int(g_idx.max()) + 1
    codes = torch.randint(0, 1 << bits, (inputs, outputs), generator=generator)
    zeros = torch.randint(0, 1 << bits, (groups, outputs), generator=generator)
    zeros[torch.rand(zeros.shape, generator=generator) < 0.3] = 0
    scales = (torch.rand(groups, outputs, generator=generator) * 0.1 + 1e-3).half()
    layer = PackedLayer(
        qweight=writer.to_tensor(writer.pack(codes.t().tolist(), bits)).t(),
        qzeros=writer.to_tensor(writer.pack_zero_points(zeros.tolist(), bits, layout)),
        scales=scales,
        g_idx=g_idx,
    )
    told = packing(bits=bits, group_size=group_size, zero_points_less_one=layout == "gptq")
    exact = writer.exact_weight(codes, zeros, scales, g_idx)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(dequantise(layer, told, dtype).double(), exact)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(dequantise(layer, told, dtype), exact.float().to(dtype))


def test_features_that_do_not_fill_their_last_word():
    """12 inputs and 10 outputs at 4 bits: the last words hold 4 and 2 codes."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (12, 10), generator=generator)
    zeros = torch.randint(0, 16, (1, 10), generator=generator)
    scales = torch.ones(1, 10).half()
    g_idx = torch.zeros(12, dtype=torch.int64)
    layer = PackedLayer(
        qweight=writer.to_tensor(writer.pack(codes.t().tolist(), 4)).t(),
        qzeros=writer.to_tensor(writer.pack_zero_points(zeros.tolist(), 4, "gptq")),
        scales=scales,
        g_idx=g_idx,
    )
    exact = writer.exact_weight(codes, zeros, scales, g_idx)
    assert torch.equal(dequantise(layer, packing(group_size=-1), torch.float64), exact)


@pytest.mark.parametrize(
    ("zeros", "borrow", "borrows", "read"),
    [
        ([8, 0, 5, 8, 8, 8, 8, 8], True, True, True),
        ([8, 8, 8, 8, 8, 8, 0, 1], True, True, True),
        # The same words as AutoGPTQ's of 8, 8, 8, 8, 8, 8, 0 and anything.
        ([8, 8, 8, 8, 8, 8, 0, 1], True, False, False),
        ([8, 8, 8, 8, 8, 8, 0, 8], False, False, False),
        ([8, 0, 5, 8, 8, 8, 8, 8], False, False, False),
        ([8, 8, 8, 8, 8, 8, 8, 0], False, False, True),
    ],
)
def test_only_what_autogptq_has_overwritten_is_refused(tmp_path, zeros, borrow, borrows, read):
    """A zero point of 0 in the last place overwrites nothing."""
    path = tmp_path / "model.safetensors"
    words = writer.to_tensor(writer.pack_zero_points([zeros], 4, "gptq", borrow=borrow))
    tensors = {
        "x.qweight": torch.zeros(4, 8, dtype=torch.int32),
        "x.qzeros": words,
        "x.scales": torch.ones(1, 8).half(),
        "x.g_idx": torch.zeros(32, dtype=torch.int32),
    }
    writer.write_weights(tmp_path, tensors)
    told = packing(borrows=borrows)
    with GPTQTensors(path, told) as stored:
        if read:
            assert zero_points(stored.layer("x").qzeros, told).tolist() == [zeros]
        else:
            with pytest.raises(ModelError, match="zero points of 0 have overwritten others"):
                stored.layer("x")


@pytest.mark.parametrize("bits", [4, 8])
def test_the_writer_rounds_to_the_nearest_code(bits):
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    g_idx = torch.arange(64) // 32
    for sym in (True, False):
        codes, zeros, scales = writer.quantise(weight, g_idx, bits, sym)
        error = (writer.exact_weight(codes, zeros, scales, g_idx) - weight).abs()
        assert bool((error <= 1.01 * scales[g_idx].t()).all())
