"""Where the prompts of a run came from, as its report and its journal say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One table that prompts were read from.

    Attributes:
        dataset: Its data set, as ``--spec-prompts`` names it.
        place: The file, the address, or the repository and configuration on the hub.
        revision: The commit on the hub, where it is known.
        sha256: Of the file, where one was read.
    """

    dataset: str
    place: str
    revision: str | None = None
    sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is left out."""
        values = {
            "dataset": self.dataset,
            "place": self.place,
            "revision": self.revision,
            "sha256": self.sha256,
        }
        return {name: value for name, value in values.items() if value is not None}
