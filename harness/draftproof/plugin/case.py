"""What the fixture `case` is: one prompt of a suite, and the test that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from draftproof.data.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt under test.

    Attributes:
        prompt: What the model is asked.
        node: The test it belongs to, which carries what is measured to the report.
    """

    prompt: Prompt
    node: pytest.Item
