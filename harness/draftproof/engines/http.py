"""Requests to a server: bounded in time and number, and every way to fail has a reason."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR
from typing import Any, ClassVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from draftproof.engines.server_events import events_of
from draftproof.errors import EngineError, EngineGoneError, clean_text

_BUSY = {429, 500, 502, 503, 504}
"""Statuses that another try may change."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_SHOWN = 200
_MOST_BYTES = 64 << 20
"""Of one answer: more than an output of any context's length takes, with what is told of it."""
_BLOCK = 1 << 16
_PATIENCE = 10.0
"""An answer may take as long in all as that many silences that would end it."""


class Server:
    """A server that is asked over HTTP.

    A request is sent again, after a pause that doubles, where the server was not reached, closed
    the connection before it answered, or answered that it is busy or failed. It is not sent again
    where it was read and the answer is late or cut: that is what an engine that hangs or dies in
    the middle of an output looks like.

    Args:
        url: Its address, to which paths are added.
        timeout: Seconds without a byte after which it is taken to hang. A whole answer may take ten
            times as long.
        retries: How often a request is sent again.
        headers: Sent with every request.
        connections: Kept open; more are opened where more requests are in flight.
        pause: Waits so many seconds.
    """

    most_bytes: ClassVar[int] = _MOST_BYTES

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int,
        headers: Mapping[str, str] | None = None,
        connections: int = 1,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._headers = dict(headers or {})
        self._pause = pause
        self._longest = _PATIENCE * timeout
        # A server may also send the head of its answer a byte at a time.
        self._pool = urllib3.PoolManager(maxsize=connections)
        longest = {"longest": self._longest}
        self._pool.pool_classes_by_scheme = {
            scheme: type(f"{pool.__name__}WithinTime", (pool,), {"ConnectionCls": connection})
            for scheme, pool, connection in (
                ("http", urllib3.HTTPConnectionPool, type("_", (_PlainConnection,), longest)),
                ("https", urllib3.HTTPSConnectionPool, type("_", (_SafeConnection,), longest)),
            )
        }
        self._failed_with = ""

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that the server answers to a JSON object.

        Raises:
            EngineError: It cannot be reached, hangs, refuses, fails, or its answer is cut or is no
                JSON object.
        """
        text = self._answer("POST", path, body)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EngineError(f"{self.url}{path} answered with no JSON: {_shown(text)}") from error
        if not isinstance(values, dict):
            raise EngineError(f"{self.url}{path} answered with no JSON object: {_shown(text)}")
        return values

    def events(
        self, path: str, body: Mapping[str, Any]
    ) -> Generator[tuple[float, dict[str, Any]], None, None]:
        """The events of an answer that comes piece by piece, each as soon as it is here.

        Yields:
            Seconds since the request was sent, and the JSON object of a server-sent event. The
            connection is given up where the iterator is closed before its end.

        Raises:
            EngineError: As `post`, at whatever piece it happens.
        """
        for attempt in range(self._retries + 1):
            began = time.perf_counter()
            try:
                response = self._opened("POST", path, body)
                break
            except _MayPassError as failure:
                self._wait_or_raise(path, attempt, failure)
        try:
            yield from events_of(self._blocks(response, path, began), began)
            self._failed_with = ""
        except ReadTimeoutError as error:
            raise self._hangs(path) from error
        except HTTPError as error:
            raise self._error(
                f"{self.url}{path}: the answer was cut: {error}", f"cut its answer: {error}"
            ) from error
        except ValueError as error:
            raise EngineError(f"{self.url}{path}: {error}") from error
        finally:
            response.close()

    def get(self, path: str) -> str:
        """The text at a path; raises like `post`."""
        return self._answer("GET", path, None).decode("utf-8", errors="replace")

    def close(self) -> None:
        """Close every connection."""
        self._pool.clear()

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        for attempt in range(self._retries + 1):
            try:
                return self._tried(method, path, body)
            except _MayPassError as failure:
                self._wait_or_raise(path, attempt, failure)
        raise AssertionError("unreachable")

    def _wait_or_raise(self, path: str, attempt: int, failure: _MayPassError) -> None:
        """Pause before the next try, or say after the last one what failed."""
        if attempt == self._retries:
            tries = "once" if attempt == 0 else f"{attempt + 1} times"
            problem = f"{self.url}{path} {failure} (tried {tries})"
            error = self._error(problem, str(failure))
            if failure.is_absent:
                error = EngineGoneError(str(error))
            raise error from failure.__cause__
        self._failed_with = self._failed_with or str(failure)
        self._pause(min(max(failure.wait, _FIRST_PAUSE * 2**attempt), _LONGEST_PAUSE))

    def _tried(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        """The answer to one try; raises like `_opened`."""
        began = time.perf_counter()
        content = self._content(self._opened(method, path, body), path, began)
        self._failed_with = ""
        return content

    def _opened(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> urllib3.BaseHTTPResponse:
        """The beginning of the answer to one try, which the server gave with success.

        Raises:
            _MayPassError: Another try may succeed.
            EngineError: None can.
        """
        try:
            response = self._pool.request(
                method,
                self.url + path,
                json=body,
                headers=self._headers,
                timeout=urllib3.Timeout(self._timeout),
                retries=False,
                preload_content=False,
            )
        except ReadTimeoutError as error:
            if isinstance(error.__cause__, _LateError):
                raise self._late(path) from error
            raise self._hangs(path) from error
        except (NewConnectionError, ConnectTimeoutError, ProtocolError) as error:
            is_absent = isinstance(error, NewConnectionError)
            raise _MayPassError(f"cannot be reached: {error}", is_absent=is_absent) from error
        except HTTPError as error:
            raise self._error(f"{self.url}{path}: {error}") from error
        if response.status == 200:
            return response
        content = self._content(response, path, time.perf_counter())
        if response.status in _BUSY:
            raise _MayPassError(
                f"answered {response.status}: {_shown(content)}",
                _seconds(response.headers.get("Retry-After")),
            )
        raise self._refused(response.status, content, path)

    def _error(self, problem: str, failed_with: str = "") -> EngineError:
        """An error that also says what the server failed with before."""
        before, failed_with = self._failed_with, failed_with or problem
        self._failed_with = before or failed_with
        is_other = before and before != failed_with
        return EngineError(f"{problem}; before that it {before}" if is_other else problem)

    def _blocks(
        self, response: urllib3.BaseHTTPResponse, path: str, began: float
    ) -> Iterator[bytes]:
        """An answer's bytes as they come, of which there may only be so many, for so long.

        Raises:
            EngineError: There are more, or they take longer; or they are compressed, which nobody
                asked for, and can unpack to any size.
            HTTPError: The answer was cut.
        """
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise self._error(
                f"{self.url}{path} answered in {clean_text(encoding[:_SHOWN])}, which was not "
                "asked for; turn compression off in the server or the proxy before it"
            )
        size = 0
        left = self._longest - (time.perf_counter() - began)
        # Between two blocks a server may send a line of a chunk, or trailers, byte by byte.
        with _shut_down_after(left, getattr(response.connection, "sock", None)) as late:
            while True:
                try:
                    found = response.read1(_BLOCK, decode_content=False)
                except (HTTPError, OSError, ValueError):
                    if late.is_set():
                        raise self._late(path) from None
                    raise
                if late.is_set() or time.perf_counter() - began > self._longest:
                    raise self._late(path)
                if not found:
                    return
                size += len(found)
                if size > self.most_bytes:
                    raise self._error(
                        f"{self.url}{path} answered with more than {self.most_bytes:,} bytes, "
                        "which no output takes; check url= and what the server serves"
                    )
                yield found

    def _content(self, response: urllib3.BaseHTTPResponse, path: str, began: float) -> bytes:
        is_whole = False
        try:
            content = b"".join(self._blocks(response, path, began))
            is_whole = True
            return content
        except ReadTimeoutError as error:
            raise self._hangs(path) from error
        except HTTPError as error:
            raise self._error(
                f"{self.url}{path}: the answer was cut: {error}", f"cut its answer: {error}"
            ) from error
        finally:
            if is_whole:
                response.release_conn()
            else:
                response.close()

    def _refused(self, status: int, content: bytes, path: str) -> EngineError:
        hint = (
            "; give api_key=NAME, the environment variable that holds the key"
            if status in (401, 403)
            else "; check url= and what the server serves"
            if status == 404
            else ""
        )
        error = self._error(f"{self.url}{path} answered {status}: {_shown(content)}{hint}")
        # It is there, and refuses this request.
        self._failed_with = ""
        return error

    def _late(self, path: str) -> EngineError:
        so_long = f"sent no whole answer within {self._longest:g} s"
        more = f", of which a whole answer has {_PATIENCE:g} times as many"
        return self._timed_out(path, so_long, "drips", more)

    def _hangs(self, path: str) -> EngineError:
        return self._timed_out(path, f"sent nothing for {self._timeout:g} s", "hangs")

    def _timed_out(self, path: str, failed_with: str, does: str, more: str = "") -> EngineError:
        return self._error(
            f"{self.url}{path} {failed_with}; it {does}, or needs --spec-engine-option "
            f"timeout=SECONDS{more}",
            failed_with,
        )


@contextmanager
def _shut_down_after(seconds: float, sock: Any) -> Iterator[threading.Event]:
    """Shut a socket down after a time, whatever is being read from it; says whether that was."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        with suppress(OSError, AttributeError):
            sock.shutdown(SHUT_RDWR)

    watch = threading.Timer(max(seconds, 0.0), give_up)
    watch.daemon = True
    watch.start()
    try:
        yield late
    finally:
        watch.cancel()


class _LateError(TimeoutError):
    """The head of an answer took too long in all."""


class _WithinTime:
    """A connection on which the head of an answer comes within a time, however it is cut up."""

    sock: Any
    longest: ClassVar[float]

    def getresponse(self) -> Any:
        """As `HTTPConnection`; raises `_LateError` where the time is over."""
        response = None
        with _shut_down_after(self.longest, self.sock) as late:
            try:
                response = super().getresponse()  # type: ignore[misc]
            except Exception:
                # What a connection that was shut down in between raises, or returns, says nothing.
                if not late.is_set():
                    raise
        if late.is_set():
            if response is not None:
                response.close()
            raise _LateError("the head of the answer drips")
        return response


class _PlainConnection(_WithinTime, HTTPConnection):
    """Without encryption."""


class _SafeConnection(_WithinTime, HTTPSConnection):
    """With it."""


class _MayPassError(Exception):
    """A failure that another try may not meet.

    Attributes:
        wait: Seconds after which the server asked to be tried again.
        is_absent: Whether nobody is at the server's address.
    """

    def __init__(self, problem: str, wait: float = 0.0, *, is_absent: bool = False) -> None:
        super().__init__(problem)
        self.wait = wait
        self.is_absent = is_absent


def _seconds(header: str | None) -> float:
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _shown(content: bytes) -> str:
    text = content[: 8 * _SHOWN].decode("utf-8", errors="replace").strip()
    return repr(text[:_SHOWN] + ("…" if len(text) > _SHOWN else ""))
