"""Any server that speaks the OpenAI completions protocol, or SGLang's own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any

from draftproof.choices import DTYPES
from draftproof.config import RunConfig
from draftproof.engines.chat import (
    HERE,
    THERE,
    as_completion,
    chat_body,
    require_same_ids,
    require_same_template,
)
from draftproof.engines.dialect import Answer
from draftproof.engines.dialects import DIALECTS
from draftproof.engines.extra_body import (
    RENDERED,
    beyond_judge,
    extras_of,
    read_extra_body,
    template_arguments,
    with_extras,
)
from draftproof.engines.http import Server
from draftproof.engines.in_flight import answers_in_flight
from draftproof.engines.protocol import Capability, Generation, Request
from draftproof.engines.server_context import told_context
from draftproof.engines.server_counters import (
    Positions,
    asked_by_one,
    metric_counts,
    metric_positions,
    metric_totals,
    together,
)
from draftproof.engines.server_settings import (
    ServerSettings,
    connected,
    is_address,
    server_key,
    switches,
)
from draftproof.engines.settings import read_settings
from draftproof.errors import EngineError, UsageError
from draftproof.models.loading import ModelPair
from draftproof.stopwatch import Clock, Stopwatch
from draftproof.trace import Arrivals


class OpenAIEngine:
    """Asks a server for completions, prompts and outputs as token ids.

    Args:
        config: `engine_options` is used.
        pair: Its tokenizer must be the server's.

    Raises:
        UsageError: A setting is not valid.
    """

    name = "openai"
    rounds = 16
    """Requests of one call to `generate`, for each that is in flight: few are sent while others of
    the same call have ended and none takes their place."""

    def __init__(self, config: RunConfig, pair: ModelPair) -> None:
        self._settings = settings = self.read(config)
        self._pair = pair
        self._dialect = DIALECTS[settings.server]
        self._extras = read_extra_body(settings.extra_body)
        self._added = {
            name: read_extra_body(getattr(settings, name), name)
            for name in ("speculative_body", "plain_body")
        }
        self._server = self._connect(settings.url)
        self._plain_server = self._connect(settings.plain_url) if settings.plain_url else None
        if self._plain_server is None and switches(settings):
            self._plain_server = self._server
        by_request = settings.metrics if asked_by_one() else None
        self._metrics = self._connect(by_request) if by_request else None
        self.capabilities = (
            self._dialect.capabilities
            | {Capability.BATCHES, Capability.EXTRAS}
            | ({Capability.STREAMS, Capability.CANCELS} if self._dialect.joined else frozenset())
            | ({Capability.PLAIN} if self._plain_server else frozenset())
            | ({Capability.COUNTS} if self._metrics else frozenset())
        )
        if settings.seeds is not None:
            self.capabilities -= {Capability.SEEDS}
            self.capabilities |= {Capability.SEEDS} if settings.seeds else frozenset()

    @cached_property
    def max_length(self) -> int | None:
        """The most tokens that the server attends to; None where it does not say."""
        return told_context(self._server.get)

    @classmethod
    def read(cls, config: RunConfig) -> ServerSettings:
        """The server's settings.

        Raises:
            UsageError: One is not valid.
        """
        return read_settings(
            ServerSettings,
            config.engine_options,
            cls.name,
            [
                ("url", is_address, "give an address such as http://localhost:8000"),
                ("plain_url", is_address, "give an address such as http://localhost:8001"),
                ("metrics", is_address, "give an address such as http://localhost:8000/metrics"),
                ("draft_length", lambda value: value >= 1, "give at least 1"),
                ("server", DIALECTS.__contains__, f"give one of: {', '.join(DIALECTS)}"),
                ("timeout", lambda value: value > 0, "give seconds"),
                ("dtype", DTYPES[1:].__contains__, f"give one of: {', '.join(DTYPES[1:])}"),
                ("chat", (HERE, THERE).__contains__, f"give {HERE} or {THERE}"),
                ("retries", lambda value: value >= 0, "give 0 or more"),
            ],
        )

    @classmethod
    def template_arguments(cls, config: RunConfig) -> dict[str, Any]:
        """What chat templates are given, here and there.

        Raises:
            UsageError: A setting is not valid.
        """
        return template_arguments(read_extra_body(cls.read(config).extra_body))

    @classmethod
    def metrics_reader(cls, config: RunConfig) -> Callable[[], str] | None:
        """What reads the server's metrics; None where no address of them is given.

        Raises:
            UsageError: A setting is not valid.
        """
        settings = cls.read(config)
        if not settings.metrics:
            return None
        return partial(connected(settings.metrics, settings).get, "")

    @classmethod
    def check_settings(cls, config: RunConfig) -> None:
        """Find invalid settings before a model is loaded."""
        settings = cls.read(config)
        server_key(settings)
        if settings.stream and DIALECTS[settings.server].joined is None:
            raise UsageError(
                f"--spec-engine-option stream: streamed answers of server={settings.server} are "
                "not read; leave it out"
            )
        dialect = DIALECTS[settings.server]
        if settings.chat == THERE and not (dialect.chat_path or dialect.renders):
            raise UsageError(
                f"--spec-engine-option chat: chat completions of server={settings.server} do not "
                "tell token ids; leave it out, and templates are rendered here"
            )
        for name in ("speculative_body", "plain_body"):
            read_extra_body(getattr(settings, name), name)
        cls.template_arguments(config)
        unknown = beyond_judge(read_extra_body(settings.extra_body))
        if unknown and not (settings.plain_url or switches(settings)):
            raise UsageError(
                f"--spec-engine-option extra_body: the judge does not apply {', '.join(unknown)}; "
                "give plain_url=, a server of the same target without speculation, or plain_body=, "
                "what switches speculation off for one request: plain decoding of the same "
                "requests is then the reference"
            )

    def speculate(self, request: Request) -> Generation:
        """Decode on the server.

        Raises:
            EngineError: It cannot be reached, hangs, fails, its answer is cut, has no token ids, or
                has those of another tokenizer.
        """
        watch = Stopwatch(Clock())
        with watch.running():
            before, places = self._counted()
        generation = self._answered(self._server, request)
        if self._metrics:
            with watch.running():
                after, now = self._counted()
                grown = metric_counts(before, after, places=(places, now))
                counts = together(generation.counts, grown)
            generation = replace(generation, counts=counts)
        return replace(generation, watching_seconds=watch.seconds)

    def generate(
        self, requests: Iterable[Request], *, most_rows: int, plainly: bool = False
    ) -> Iterator[tuple[int, Generation]]:
        """Decode with `most_rows` requests in flight; raises like `speculate`.

        Growth of the server's metrics cannot be told apart by request then, so that counts are
        those of the answers alone.
        """
        ask = self.plain if plainly else partial(self._answered, self._server)
        return answers_in_flight(ask, requests, most_rows)

    def plain(self, request: Request) -> Generation:
        """Decode on the server without speculation; raises like `speculate`."""
        if not self._plain_server:
            raise EngineError(
                "openai decodes plainly with --spec-engine-option plain_url=… or plain_body=… only"
            )
        answer = self._answered(self._plain_server, request, "plain_body")
        told = answer.counts
        if self._plain_server is self._server and told is not None and told.drafted:
            raise EngineError(
                f"the server drafted {told.drafted} tokens for a request that was to be decoded "
                "plainly; plain_body= (or leaving speculative_body= out) does not switch its "
                "speculation off; give plain_url=, a server without speculation"
            )
        return replace(answer, counts=None)

    def cancel(self, request: Request) -> None:
        """Give an output up after its first piece, by closing the connection.

        Raises:
            EngineError: As `speculate`; it ended before a token came.
        """
        body, by_chat = self._body(self._server, request, "speculative_body")
        path = self._dialect.chat_path if by_chat else self._dialect.path
        events = self._server.events(path, {**body, **self._dialect.in_pieces})
        shaped = as_completion if by_chat else dict
        try:
            if not any(self._dialect.brought([shaped(piece)])[0] for _, piece in events):
                raise EngineError("an answer that was to be given up ended without a token")
        finally:
            events.close()

    def extras_to_try(self, token_ids: Sequence[int]) -> dict[str, str]:
        """Penalties and biases that this kind of server takes, which the judge does not apply."""
        tried = self._dialect.extras_to_try(token_ids)
        return {name: json.dumps(extras) for name, extras in tried.items()}

    def describe(self) -> dict[str, Any]:
        unknown = beyond_judge(self._extras)
        judged = {"judged_by_plain": list(unknown)} if unknown else {}
        return {"name": self.name, **asdict(self._settings), **judged}

    def close(self) -> None:
        """Close the connections."""
        for server in (self._server, self._plain_server, self._metrics):
            if server:
                server.close()

    def _connect(self, url: str) -> Server:
        return connected(url, self._settings)

    def _counted(self) -> tuple[dict[str, float], Positions]:
        """One reading of the server's metrics: its totals, and what it counts by places."""
        text = self._metrics.get("") if self._metrics else ""
        return metric_totals(text), metric_positions(text)

    def _answered(
        self, server: Server, request: Request, added: str = "speculative_body"
    ) -> Generation:
        body, by_chat = self._body(server, request, added)
        began = time.perf_counter()
        try:
            values, arrivals = self._asked(server, body, by_chat=by_chat)
            seconds = time.perf_counter() - began
            answer = self._dialect.read(values)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EngineError(f"the server's answer cannot be read: {error!r}") from error
        if arrivals is not None and answer.finish in ("", "None"):
            raise EngineError("the streamed answer ended without a reason to end: it was cut")
        _require_same_prompt(answer, request)
        token_ids = self._with_stop_token(self._token_ids(answer, request), answer, request)
        return Generation(
            token_ids=token_ids,
            stop_reason=_stop_reason(answer, token_ids, request),
            seconds=seconds,
            text=answer.text,
            log_probabilities=_log_probabilities(answer, len(token_ids)),
            counts=answer.counts,
            arrivals=arrivals,
            server_seconds=answer.server_seconds,
        )

    def _body(self, server: Server, request: Request, added: str) -> tuple[dict[str, Any], bool]:
        """The body of a request, and whether it is one of the chat endpoint."""
        prompt = self._pair.decode(request.prompt_token_ids) if self._dialect.takes_text else ""
        body = self._dialect.ask(request, prompt, self._settings.model)
        by_chat = self._settings.chat == THERE and bool(request.messages)
        rendered = {key: value for key, value in self._extras.items() if key in RENDERED}
        if by_chat and self._dialect.renders:
            require_same_template(server, request.messages, rendered, request.prompt_token_ids)
            by_chat = False
        if by_chat:
            body = {**chat_body(body, request.messages), **self._dialect.in_chat, **rendered}
        body = with_extras(body, extras_of(request, self._extras))
        return with_extras(body, self._added[added], added), by_chat

    def _asked(
        self, server: Server, body: dict[str, Any], *, by_chat: bool
    ) -> tuple[Mapping[str, Any], Arrivals | None]:
        """An answer as if it had come whole, and when its tokens arrived."""
        dialect = self._dialect
        path = dialect.chat_path if by_chat else dialect.path
        shaped = as_completion if by_chat else dict
        if not (self._settings.stream and dialect.joined):
            return shaped(server.post(path, body)), None
        events = list(server.events(path, {**body, **dialect.in_pieces}))
        failed = next((piece["error"] for _, piece in events if piece.get("error")), None)
        if failed is not None:
            raise EngineError(f"the server ended a streamed answer with an error: {failed}")
        pieces = [shaped(piece) for _, piece in events]
        brought = zip(events, dialect.brought(pieces), strict=True)
        arrivals = tuple((seconds, tokens) for (seconds, _), tokens in brought if tokens)
        return dialect.joined(pieces), arrivals

    def _token_ids(self, answer: Answer, request: Request) -> tuple[int, ...]:
        if answer.token_ids is not None:
            return answer.token_ids
        if self._dialect.tells_text_alone:
            return self._ids_of_output(answer, request)
        if answer.token_texts is None:
            raise EngineError(
                "the server returned text without token ids or logprobs; losslessness is judged by "
                "ids (a vLLM without return_token_ids gives them with server=vllm-logprobs)"
            )
        ids = []
        for index, text in enumerate(answer.token_texts):
            known = self._ids_of_text.get(text, ())
            if len(known) != 1:
                raise EngineError(
                    f"the server returned texts of tokens, and {len(known)} of the tokenizer's "
                    f"tokens are {text!r} (token {index}), so that its id is not known"
                )
            ids.append(known[0])
        return tuple(ids)

    def _ids_of_output(self, answer: Answer, request: Request) -> tuple[int, ...]:
        """The ids of a text after the prompt, where they are as many as the server counts.

        Raises:
            EngineError: They are not, so that the output's own ids are not known.
        """
        prompt = request.prompt_token_ids
        text = self._pair.decode(prompt) + (answer.text or "")
        ids = tuple(self._pair.tokenizer(text, add_special_tokens=False)["input_ids"])
        found, counted = ids[len(prompt) :], answer.output_tokens
        ended = 1 if answer.finish == "stop" else 0
        if ids[: len(prompt)] != prompt:
            raise EngineError(
                "the server returned text alone, and the tokenizer does not make the prompt's "
                "token ids of the prompt's text: the output's are not known"
            )
        if counted is None or not len(found) <= counted <= len(found) + ended:
            raise EngineError(
                f"the server returned text alone and counts {counted} tokens in it, and the "
                f"tokenizer makes {len(found)} of it, so that the output's own are not known"
            )
        return found

    @cached_property
    def _ids_of_text(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for token in range(self._pair.target.vocabulary_size):
            text = self._pair.decode([token])
            found[text] = (*found.get(text, ()), token)
        return found

    def _with_stop_token(
        self, token_ids: tuple[int, ...], answer: Answer, request: Request
    ) -> tuple[int, ...]:
        """The output with its stop token, where the server says that there was one and drops it."""
        stops = request.stopping.stop_token_ids
        if answer.finish != "stop" or (token_ids and token_ids[-1] in stops):
            return token_ids
        if isinstance(answer.stopped_by, int):
            return (*token_ids, answer.stopped_by)
        if isinstance(answer.stopped_by, str) or request.stopping.stop_strings:
            return token_ids
        if len(stops) != 1:
            raise EngineError(
                f"the server ended the output with a stop token and does not say with which of "
                f"{sorted(stops)}"
            )
        return (*token_ids, *stops)


def _log_probabilities(answer: Answer, tokens: int) -> tuple[float, ...] | None:
    """What the server tells, with NaN for a stop token that its answer leaves out."""
    told = answer.log_probabilities
    if told is None:
        return None
    known = len(answer.token_ids if answer.token_ids is not None else answer.token_texts or ())
    return told + (math.nan,) * (tokens - known)


def _require_same_prompt(answer: Answer, request: Request) -> None:
    """Verify that the server decoded after the prompt that it was sent."""
    sent = request.prompt_token_ids
    if answer.prompt_token_ids is not None:
        require_same_ids(answer.prompt_token_ids, sent)
    if answer.prompt_tokens is not None and answer.prompt_tokens != len(sent):
        raise EngineError(
            f"the server counts {answer.prompt_tokens} tokens in a prompt of {len(sent)}: it has "
            "another tokenizer or chat template, or adds tokens of its own"
        )


def _stop_reason(answer: Answer, token_ids: tuple[int, ...], request: Request) -> str:
    if answer.finish != "stop":
        return answer.finish
    is_token = bool(token_ids) and token_ids[-1] in request.stopping.stop_token_ids
    return "stop_token" if is_token else "stop_string"
