"""A local server that answers as it is told, and fails as it is told."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeServer:
    """Answers each request by a function of its path and body.

    Attributes:
        url: Its address.
        asked: Every request, as (path, body, headers).
        answer: From the path and the body to a reply; a reply is a dict (sent as JSON), a str (sent
            as text), an int (a status), or a function of the handler, which does as it likes.
    """

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                fake._reply(self, json.loads(self.rfile.read(length)))

            def do_GET(self):
                fake._reply(self, None)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _reply(self, handler, body):
        self.asked.append((handler.path, body, dict(handler.headers)))
        reply = self.answer(handler.path, body)
        if callable(reply):
            reply(handler)
            return
        status, content = (reply, {"error": "no"}) if isinstance(reply, int) else (200, reply)
        text = content if isinstance(content, str) else json.dumps(content)
        send(handler, status, text.encode())


def send(handler, status, content, declared=None):
    """Send an answer, of which the header may declare more than there is."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if declared is None else declared))
    handler.end_headers()
    handler.wfile.write(content)


def cut(handler):
    """An answer that ends in the middle."""
    send(handler, 200, b'{"choices": [', declared=500)
    handler.close_connection = True


def vanish(handler):
    """No answer: the connection is closed."""
    handler.close_connection = True


def hang(handler):
    """No answer for longer than anyone waits."""
    time.sleep(1.0)
    handler.close_connection = True


@contextmanager
def serving(answer):
    """A fake server while the block lasts."""
    server = FakeServer(answer)
    try:
        yield server
    finally:
        server.close()
