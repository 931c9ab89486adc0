"""The settings of a server: where it is, how it is asked, and the key that it wants."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from draftproof.engines.chat import HERE
from draftproof.engines.dialects import DIALECTS
from draftproof.engines.http import Server
from draftproof.engines.settings import setting
from draftproof.errors import UsageError

_CONNECTIONS = 64
"""Kept open; a request more opens one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of ``openai``."""

    url: str = setting("address of the server, without /v1")
    model: str = setting("name of the model there", "default")
    server: str = setting(f"what speaks there: {', '.join(DIALECTS)}", "vllm")
    plain_url: str | None = setting("a second server of the same target, without speculation", None)
    metrics: str | None = setting("address of the server's Prometheus metrics", None)
    draft_length: int | None = setting(
        "tokens in the server's longest draft, where its answers do not say", None
    )
    timeout: float = setting(
        "seconds without a byte after which it is taken to hang; an answer has ten times as many",
        120.0,
    )
    retries: int = setting("how often a request is sent again to a busy or absent server", 3)
    dtype: str | None = setting(
        "type that the server computes in, by which near-ties are judged; the judge's if not given",
        None,
    )
    api_key: str | None = setting("name of the environment variable that holds the key", None)
    stream: bool = setting("ask for answers piece by piece, which tells when tokens arrive", False)
    extra_body: str | None = setting(
        "a JSON object, or @FILE of one, that is added to every request; what changes tokens needs "
        "plain decoding of the server, whose answers are then the reference",
        None,
    )
    speculative_body: str | None = setting(
        "a JSON object, or @FILE of one, that is added to requests that are to be decoded with "
        "speculation, and to no others; plain decoding is then this server's without it",
        None,
    )
    plain_body: str | None = setting(
        "the same, of requests that are to be decoded plainly: what switches speculation off there",
        None,
    )
    chat: str = setting(
        "where chat templates are rendered: here, or there (messages are sent to the server's chat "
        "endpoint, and it must make the same prompt of them)",
        HERE,
    )
    seeds: bool | None = setting(
        "whether the server keeps the seed of a request, where that is not as the table of "
        "capabilities says",
        None,
    )


def connected(url: str, settings: ServerSettings) -> Server:
    """The server at an address, which is asked as the settings say.

    Raises:
        UsageError: There is no key where there is to be one.
    """
    key = server_key(settings)
    return Server(
        url,
        timeout=settings.timeout,
        retries=settings.retries,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        connections=_CONNECTIONS,
    )


def server_key(settings: ServerSettings) -> str:
    """The server's key; empty without one.

    Raises:
        UsageError: The environment variable that is to hold it is not set.
    """
    variable = settings.api_key
    if not variable:
        return ""
    if not os.environ.get(variable):
        raise UsageError(
            f"--spec-engine-option api_key={variable}: there is no such environment variable; give "
            "the name of the one that holds the key"
        )
    return os.environ[variable]


def switches(settings: ServerSettings) -> bool:
    """Whether one server decodes with speculation and plainly, as a request asks for."""
    return settings.speculative_body is not None or settings.plain_body is not None


def is_address(url: str) -> bool:
    """Whether a text is the address of a server."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.netloc)
