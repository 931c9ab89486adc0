"""Watches the server of a run: once, in the process that writes the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from draftproof.config import RunConfig

if TYPE_CHECKING:
    from draftproof.engines.server_watch import ServerWatch


def started_watch(settings: RunConfig, session: pytest.Session) -> ServerWatch | None:
    """A watch of the server's metrics that has begun; None where there are none to read."""
    if settings.engine != "openai" or session.config.option.collectonly:
        return None
    from draftproof.engines.openai import OpenAIEngine
    from draftproof.engines.server_watch import ServerWatch

    read = OpenAIEngine.metrics_reader(settings)
    if read is None:
        return None
    watch = ServerWatch(read)
    watch.start()
    return watch
