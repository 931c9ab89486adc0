"""Whether a GGUF's ids are those of the judge's tokenizer, as far as the library can read them."""

from types import SimpleNamespace

import pytest

from draftproof.engines.llama_cpp import _require_same_tokens
from draftproof.errors import ModelError

OURS = {0: "a", 1: " b", 2: "-" * 40, 3: "[PAD3]", 4: "<|end|>"}


def compared(theirs):
    """Compares ids with the judge's; of what is not in `theirs` the library reads nothing."""
    llama = SimpleNamespace(
        n_vocab=lambda: len(OURS),
        detokenize=lambda ids, special: theirs.get(ids[0], "").encode(),
    )
    pair = SimpleNamespace(
        target=SimpleNamespace(vocabulary_size=len(OURS)),
        tokenizer=SimpleNamespace(all_special_ids=[4]),
        decode=lambda ids: OURS[ids[0]],
    )
    _require_same_tokens(llama, pair, "draft.gguf")


def test_tokens_that_the_library_reads_nothing_of_are_left_out():
    compared({0: "a", 1: "b", 4: "anything"})


def test_another_token_is_named():
    with pytest.raises(ModelError, match="draft.gguf: token 1 is 'c', and of --spec-target ' b'"):
        compared({0: "a", 1: "c"})
