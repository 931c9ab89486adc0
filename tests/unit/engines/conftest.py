"""The built-in pair, and requests for it."""

import pytest

from draftproof.config import RunConfig, Sampling
from draftproof.data.load import load_prompts
from draftproof.engines.protocol import Request
from draftproof.models.loading import load_pair
from draftproof.stopping import Stopping


@pytest.fixture(scope="session")
def pair():
    """The built-in pair."""
    return load_pair(RunConfig(), lambda line: None)


@pytest.fixture(scope="session")
def prompts():
    """Four prompts of each of two domains."""
    return [prompt for domain in ("code", "chat") for prompt in load_prompts(domain, limit=4)]


@pytest.fixture(scope="session")
def ask(pair):
    """Makes a request."""

    def ask(text="Write a short list.", *, ids=None, limit=16, stops=None, strings=(), **sampling):
        return Request(
            request_id=text,
            prompt_token_ids=pair.encode(text) if ids is None else tuple(ids),
            sampling=Sampling(**sampling),
            stopping=Stopping(
                max_new_tokens=limit,
                stop_token_ids=pair.stop_token_ids if stops is None else frozenset(stops),
                stop_strings=strings,
                decode=pair.decode,
            ),
        )

    return ask
