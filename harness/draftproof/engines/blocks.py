"""What is learnt of an engine by watching its blocks: which tokens it proposed, which it emitted.

An engine that does not tell what it accepted can often be watched: here it asks for a draft, there
it hands out tokens. A proposed token was accepted exactly if it was emitted at its place with every
proposed token before it, since an engine's extra token after a rejection is never the rejected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from draftproof.errors import EngineError
from draftproof.trace import STEP_COLUMNS, Columns, Counts, columns_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One step of an engine, as it was watched.

    Attributes:
        proposed: The chain that the target scored.
        emitted: The tokens that it added to the output, at least one.
        draft_seconds: Spent until the draft was there.
        verify_seconds: Spent from there until the first token was out.
    """

    proposed: tuple[int, ...]
    emitted: tuple[int, ...]
    draft_seconds: float = float("nan")
    verify_seconds: float = float("nan")

    @property
    def accepted(self) -> int:
        """Proposed tokens that were kept and are in the output.

        Example:
            >>> Block(proposed=(5, 6, 7), emitted=(5, 6, 9)).accepted
            2
        """
        pairs = enumerate(zip(self.proposed, self.emitted, strict=False))
        return next(
            (index for index, (proposed, emitted) in pairs if proposed != emitted),
            min(len(self.proposed), len(self.emitted)),
        )

    @property
    def judged(self) -> int:
        """Proposed tokens of which the output shows what became of them.

        All of them where the extra token is in the output. Where the output ends with an accepted
        token, what was proposed after it is neither kept nor rejected.
        """
        return len(self.proposed) if len(self.emitted) > self.accepted else self.accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An output as the blocks that it was made of.

    Attributes:
        prompt_tokens: Length of the prompt.
        prefill: Tokens that were decided before the first block: one or none.
        blocks: In order.
    """

    prompt_tokens: int
    prefill: tuple[int, ...]
    blocks: tuple[Block, ...]

    def require(self, token_ids: Sequence[int]) -> None:
        """Verify that the blocks make up an output.

        Raises:
            EngineError: They do not, or a block emitted more than it could.
        """
        made = list(self.prefill)
        for index, block in enumerate(self.blocks):
            made += block.emitted
            if len(block.emitted) > block.accepted + 1:
                raise EngineError(
                    f"step {index} emitted {len(block.emitted)} tokens, although only "
                    f"{block.accepted} of its {len(block.proposed)} proposed tokens were accepted"
                )
        if made != list(token_ids):
            raise EngineError(
                f"the engine's {len(self.blocks)} steps add up to {len(made)} tokens that are not "
                f"its output of {len(token_ids)}"
            )

    @property
    def accepted(self) -> tuple[bool, ...]:
        """Whether each token of the output is a draft that was kept."""
        flags = [False] * len(self.prefill)
        for block in self.blocks:
            flags += [index < block.accepted for index in range(len(block.emitted))]
        return tuple(flags)

    @property
    def counts(self) -> Counts:
        """Steps, and proposed and accepted tokens among those that were judged."""
        return Counts(
            steps=len(self.blocks),
            drafted_steps=sum(block.judged > 0 for block in self.blocks),
            drafted=sum(block.judged for block in self.blocks),
            accepted=sum(block.accepted for block in self.blocks),
        )

    @property
    def steps(self) -> Columns:
        """`STEP_COLUMNS`, each ``[steps]``; every draft is a chain."""
        position = self.prompt_tokens + len(self.prefill) - 1
        rows = []
        for index, block in enumerate(self.blocks):
            rows.append(
                {
                    "step": index,
                    "nodes": block.judged,
                    "depth": block.judged,
                    "accepted_length": block.accepted,
                    "committed_tokens": len(block.emitted),
                    "root_position": position,
                    "draft_seconds": block.draft_seconds,
                    "verify_seconds": block.verify_seconds,
                }
            )
            position += len(block.emitted)
        return columns_from(
            STEP_COLUMNS, {name: [row[name] for row in rows] for name in STEP_COLUMNS}
        )
