"""The best draft length in the words of servers, which take one for all requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerOption:
    """How a server is told the length of drafts.

    Attributes:
        server: Its name.
        template: The option, with ``{n}`` for the length.
        off: How speculation is left out.
    """

    server: str
    template: str
    off: str

    def text(self, length: int) -> str:
        """The option for a length; how to leave speculation out for 0."""
        return self.template.format(n=length, m=length + 1) if length else self.off


SERVER_OPTIONS = (
    ServerOption(
        "vLLM",
        '--speculative-config \'{{"model": "DRAFT", "num_speculative_tokens": {n}}}\'',
        "no --speculative-config",
    ),
    ServerOption(
        "SGLang",
        "--speculative-num-steps {n} --speculative-eagle-topk 1 --speculative-num-draft-tokens {m}",
        "no --speculative-algorithm",
    ),
    ServerOption("llama.cpp", "--draft-max {n}", "no --model-draft"),
)
"""By server; the lengths are those of chains."""
