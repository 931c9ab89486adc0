"""Requests to a server that fails in every way it can."""

import gzip
import time
import tracemalloc

import pytest
from fake_server import cut, hang, send, serving, vanish

from draftproof.engines.http import Server
from draftproof.errors import EngineError


def client(url, retries=2, timeout=0.3):
    waited = []
    return Server(url, timeout=timeout, retries=retries, pause=waited.append), waited


def in_turn(*replies):
    left = list(replies)
    return lambda path, body: left.pop(0) if len(left) > 1 else left[0]


def test_a_good_answer():
    with serving(in_turn({"fine": True})) as fake:
        server, waited = client(fake.url + "/")
        assert server.post("/v1/completions", {"prompt": [1]}) == {"fine": True}
        assert fake.asked[0][:2] == ("/v1/completions", {"prompt": [1]})
        assert waited == []
        server.close()


@pytest.mark.parametrize("failure", [429, 500, 502, 503, 504, vanish])
def test_a_failure_that_may_pass_is_tried_again_with_longer_pauses(failure):
    with serving(in_turn(failure, failure, {"fine": True})) as fake:
        server, waited = client(fake.url)
        assert server.post("/x", {}) == {"fine": True}
        assert waited == [0.5, 1.0]
        server.close()


@pytest.mark.parametrize(
    ("failure", "message"),
    [(500, 'answered 500: \'{"error": "no"}\' (tried 3 times)'), (vanish, "cannot be reached")],
)
def test_one_that_lasts_is_given_up(failure, message):
    with serving(in_turn(failure)) as fake:
        server, waited = client(fake.url)
        with pytest.raises(EngineError) as failed:
            server.post("/x", {})
        assert message in str(failed.value)
        assert len(fake.asked) == 3
        assert len(waited) == 2
        server.close()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (400, "answered 400"),
        (401, "give api_key=NAME"),
        (404, "check url="),
        (cut, "the answer was cut"),
        (hang, "sent nothing for 0.3 s; it hangs"),
        ("not json", "answered with no JSON: 'not json'"),
        ("[1, 2]", "answered with no JSON object"),
    ],
)
def test_a_failure_that_lasts_is_not_tried_again(failure, message):
    with serving(in_turn(failure)) as fake:
        server, waited = client(fake.url)
        with pytest.raises(EngineError) as failed:
            server.post("/x", {})
        assert message in str(failed.value)
        assert len(fake.asked) == 1
        assert waited == []
        server.close()


def test_nobody_there():
    with serving(in_turn({})) as fake:
        url = fake.url
    server, waited = client(url, retries=1)
    with pytest.raises(EngineError, match=r"cannot be reached.*\(tried 2 times\)"):
        server.get("/metrics")
    assert waited == [0.5]
    server.close()


def test_a_server_that_says_when_to_come_back():
    def busy(handler):
        handler.send_response(429)
        handler.send_header("Retry-After", "3")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(in_turn(busy, {"fine": True})) as fake:
        server, waited = client(fake.url)
        server.post("/x", {})
        assert waited == [3.0]
        server.close()


def test_what_a_server_failed_with_is_said_when_it_is_gone():
    """The first failure says why; the others only that nobody is there."""

    def failing(handler):
        send(handler, 500, b'{"error": "CUDA error: device-side assert"}')

    with serving(in_turn(failing, vanish)) as fake:
        server, _ = client(fake.url)
        for _ in range(2):  # the second request meets a server that is gone from the start
            with pytest.raises(EngineError) as failed:
                server.post("/x", {})
            message = str(failed.value)
            assert "cannot be reached" in message
            assert "before that it answered 500: " in message
            assert "device-side assert" in message
        server.close()


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (hang, "sent nothing"),
        (cut, "the answer was cut"),
        (400, "answered 400"),
        (503, "answered 503"),
    ],
)
def test_no_later_failure_takes_the_place_of_the_first(last, said):
    with serving(in_turn(500, last)) as fake:
        server, _ = client(fake.url)
        with pytest.raises(EngineError, match=said) as failed:
            server.post("/x", {})
        assert "before that it answered 500" in str(failed.value)
        server.close()


@pytest.mark.parametrize("first", [hang, cut])
def test_a_request_that_was_read_is_remembered_too(first):
    with serving(in_turn(first, vanish)) as fake:
        server, _ = client(fake.url)
        with pytest.raises(EngineError):
            server.post("/x", {})
        with pytest.raises(EngineError, match="cannot be reached.*before that it (sent|cut)"):
            server.post("/x", {})
        server.close()


def test_a_failure_is_forgotten_when_the_server_answers_again():
    with serving(in_turn(500, {"fine": True}, 400)) as fake:
        server, _ = client(fake.url)
        server.post("/x", {})
        with pytest.raises(EngineError) as failed:
            server.post("/x", {})
        assert "before that" not in str(failed.value)
        server.close()


@pytest.mark.parametrize("pause", ["nan", "inf", "-inf", "1e999", "-5", "soon"])
def test_no_header_makes_a_pause_that_is_none(pause):
    def busy(handler):
        handler.send_response(429)
        handler.send_header("Retry-After", pause)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(in_turn(busy, {"fine": True})) as fake:
        server, waited = client(fake.url)
        assert server.post("/x", {}) == {"fine": True}
        assert waited == [0.5]
        server.close()


def _asked(server, way):
    return list(server.events("/x", {})) if way == "events" else getattr(server, way)("/x")


WAYS = ["get", "events"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_not_read_to_its_end(way, status, monkeypatch):
    """Whether it declares its size or not, and whether the server calls it a success or a fault."""
    monkeypatch.setattr(Server, "most_bytes", 1 << 20)

    def endless(handler):
        handler.send_response(status)
        handler.end_headers()
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(b"data: " + b"x" * (1 << 16))
        except OSError:
            pass

    with serving(in_turn(endless)) as fake:
        server, _ = client(fake.url, timeout=5)
        tracemalloc.start()
        with pytest.raises(EngineError, match="more than 1,048,576 bytes"):
            _asked(server, way)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 8 << 20
        server.close()


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_unpacks_to_more_is_not_unpacked(way):
    packed = gzip.compress(gzip.compress(bytes(64 << 20)))

    def bomb(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip, gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    with serving(in_turn(bomb)) as fake:
        server, _ = client(fake.url)
        with pytest.raises(EngineError, match="gzip, gzip, which was not asked for"):
            _asked(server, way)
        server.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["head", "body", "size of a chunk", "trailers"])
def test_an_answer_that_drips_comes_to_an_end(way, part):
    """Each byte comes in time, and the answer never does."""

    def drip(handler):
        handler.close_connection = True
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        begun, dripped = {
            "head": (b"X-Slow: ", b"x"),
            "body": (b"\r\n", b"x"),
            "size of a chunk": (chunked, b"0"),
            "trailers": (chunked + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
        }[part]
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + begun)
            for _ in range(400):
                handler.wfile.write(dripped)
                time.sleep(0.01)
        except OSError:
            pass

    with serving(in_turn(drip)) as fake:
        server, _ = client(fake.url, timeout=0.05)
        with pytest.raises(EngineError, match=r"no whole answer within 0\.5 s; it drips"):
            _asked(server, way)
        assert len(fake.asked) == 1
        server.close()


@pytest.mark.parametrize("way", ["post", "events"])
def test_json_of_any_depth_is_no_answer(way):
    deep = "[" * 200_000
    with serving(in_turn(deep if way == "post" else f"data: {deep}\n\n")) as fake:
        server, _ = client(fake.url)
        with pytest.raises(EngineError, match="no JSON"):
            server.post("/x", {}) if way == "post" else _asked(server, way)
        server.close()
