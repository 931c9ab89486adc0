"""A stop string inside an accepted block does not end assisted generation: a minimal reproduction.

    python docs/examples/transformers_stop_string.py [TARGET DRAFT]

With transformers alone, on the built-in pair or on two checkpoints of one tokenizer. Plain generation
ends with the token that completes the stop string. Assisted generation looks at the end of each block
only: it returns tokens after the stop string, or goes on to the length limit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, StopStringCriteria

MODELS = Path(__file__).resolve().parents[2] / "fixtures" / "models"
PROMPT = "Write a short story about a river."
STOP = "."


def main(target_name: str, draft_name: str) -> int:
    """Generates both ways and prints what differs: 1 where the stop string was missed, else 0."""
    tokenizer = AutoTokenizer.from_pretrained(target_name)
    target = AutoModelForCausalLM.from_pretrained(target_name)
    draft = AutoModelForCausalLM.from_pretrained(draft_name)
    asked = tokenizer(PROMPT, return_tensors="pt")

    def generated(**settings: object) -> str:
        output = target.generate(
            **asked,
            max_new_tokens=24,
            do_sample=False,
            stopping_criteria=[StopStringCriteria(tokenizer, [STOP])],
            **settings,
        )
        return tokenizer.decode(output[0, asked["input_ids"].shape[1] :])

    plain, assisted = generated(), generated(assistant_model=draft)
    print(f"transformers {transformers.__version__}, {target_name} and {draft_name}")
    print(f"stop string  {STOP!r} after {PROMPT!r}")
    print(f"plain        {plain!r}")
    print(f"assisted     {assisted!r}")
    print("the stop string was missed" if plain != assisted else "the outputs are the same")
    return int(plain != assisted)


if __name__ == "__main__":
    names = sys.argv[1:] or [str(MODELS / "builtin-target"), str(MODELS / "builtin-draft")]
    sys.exit(main(*names))
