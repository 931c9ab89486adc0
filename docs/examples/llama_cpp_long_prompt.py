"""Drafts die beyond 512 tokens in llama-cpp-python: a minimal reproduction.

    python docs/examples/llama_cpp_long_prompt.py MODEL.gguf

With llama-cpp-python alone and its own prompt lookup. With drafts the library copies the logits of
every token into a table that has `n_batch` rows (512) unless `logits_all` is set; a longer text does
not fit. Plain generation, and drafts with `logits_all=True`, answer.
"""

from __future__ import annotations

import itertools
import sys

import llama_cpp
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

TOKENS = 600


def answer(path: str, *, drafts: bool, logits_all: bool) -> str:
    """Three tokens after a prompt of `TOKENS` tokens, or what it died of."""
    llama = llama_cpp.Llama(
        model_path=path,
        n_ctx=2 * TOKENS,
        draft_model=LlamaPromptLookupDecoding() if drafts else None,
        logits_all=logits_all,
        verbose=False,
    )
    prompt = [100 + index % 7 for index in range(TOKENS)]
    try:
        return str(list(itertools.islice(llama.generate(prompt, temp=0.0), 3)))
    except ValueError as error:
        return f"ValueError: {error}"
    finally:
        llama.close()


def main(path: str) -> int:
    """Answers in three ways and prints them: 1 where one of them died, else 0."""
    print(f"llama-cpp-python {llama_cpp.__version__}, a prompt of {TOKENS} tokens")
    answers = {
        "no drafts": answer(path, drafts=False, logits_all=False),
        "drafts": answer(path, drafts=True, logits_all=False),
        "drafts and logits_all": answer(path, drafts=True, logits_all=True),
    }
    for name, text in answers.items():
        print(f"{name:<24}{text}")
    return int(any(text.startswith("ValueError") for text in answers.values()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give a .gguf file")
    sys.exit(main(sys.argv[1]))
