"""Writes the tables of docs/engines.md from the code: capabilities and settings of every engine.

python docs/make_engines.py
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from draftproof.engines.assisted import (
    AssistedEngine,
    AssistedSettings,
    LookupEngine,
    LookupSettings,
)
from draftproof.engines.dialects import DIALECTS
from draftproof.engines.llama_cpp import LlamaCppEngine, LlamaCppSettings
from draftproof.engines.openai import ServerSettings
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.replay.probing import ProbeEngine

PAGE = Path(__file__).parent / "engines.md"
ENGINES = (ReferenceEngine, ProbeEngine, AssistedEngine, LookupEngine, LlamaCppEngine)
SETTINGS = {
    AssistedEngine.name: AssistedSettings,
    LookupEngine.name: LookupSettings,
    LlamaCppEngine.name: LlamaCppSettings,
    "openai": ServerSettings,
}
IF_GIVEN = {Capability.PLAIN: "with plain_url or plain_body", Capability.COUNTS: "with metrics"}
OF_ALL_SERVERS = frozenset({Capability.BATCHES})


def capabilities():
    """One row a capability, one column an engine; a server's by what speaks there."""
    columns = {engine.name: engine.capabilities for engine in ENGINES}
    servers = {
        f"openai, {name}": dialect.capabilities
        | OF_ALL_SERVERS
        | ({Capability.STREAMS, Capability.CANCELS} if dialect.joined else frozenset())
        for name, dialect in DIALECTS.items()
    }
    rows = [["", *columns, *servers]]
    for capability in Capability:
        own = ["yes" if capability in has else "–" for has in columns.values()]
        theirs = [
            "yes" if capability in has else IF_GIVEN.get(capability, "–")
            for has in servers.values()
        ]
        rows.append([str(capability), *own, *theirs])
    return table(rows)


def settings():
    """One row a setting."""
    rows = [["engine", "setting", "default", "meaning"]]
    for engine, kind in SETTINGS.items():
        for field in dataclasses.fields(kind):
            default = (
                "must be given"
                if field.default is dataclasses.MISSING
                else "–"
                if field.default is None
                else f"{field.default:g}"
                if isinstance(field.default, float)
                else str(field.default)
            )
            rows.append([engine, f"`{field.name}`", default, field.metadata["meaning"]])
    return table(rows)


def table(rows):
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def page(text):
    """The page with its tables made anew."""
    for name, make in (("capabilities", capabilities), ("settings", settings)):
        found = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        content = make()
        text, count = found.subn(lambda match, c=content: match[1] + c + match[2], text)
        if count != 1:
            raise SystemExit(f"{PAGE} has no section {name}")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
