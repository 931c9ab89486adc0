"""A small server that decodes what comes in together as one batch, rightly or with a fault.

It speaks vLLM's completions, draws by the seeds it is sent, and tells what it counted. What it is
asked within a moment is one batch of the reference engine: greedy requests in one, others in
another.
"""

import json
import queue
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_server import send

from draftproof.config import Sampling
from draftproof.engines.protocol import Request
from draftproof.engines.rows import RowDecoding, rows_maker
from draftproof.laws import default_rule
from draftproof.selftest.batches import KeepsTheFirstRows
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping
from draftproof.stopwatch import Clock

MOMENT = 0.03
"""Seconds for which a batch waits for further requests."""
ROWS = 8
SHARED = 4
"""Tokens of a beginning by which the faulty prefix cache finds an entry."""


def settings_of_the_last(requests):
    return [replace(request, sampling=requests[-1].sampling) for request in requests]


def warmer_in_crowds(requests):
    """Drawn at another temperature than asked for, where several are drawn together."""
    if len(requests) == 1:
        return requests
    return [
        replace(one, sampling=replace(one.sampling, temperature=2 * one.sampling.temperature))
        for one in requests
    ]


def limit_of_the_longest(requests):
    most = max(request.stopping.max_new_tokens for request in requests)
    return [
        replace(request, stopping=replace(request.stopping, max_new_tokens=most))
        for request in requests
    ]


def one_generator(requests):
    """Draws depend on the place in the batch, and not on the request's own seed."""
    return [
        replace(request, seed=0, request_id=f"row {row}") for row, request in enumerate(requests)
    ]


def prefixes_mixed_up(requests):
    """Prompts that begin alike are taken for the first of them."""
    known = {}
    return [
        replace(
            request,
            prompt_token_ids=known.setdefault(
                request.prompt_token_ids[:SHARED], request.prompt_token_ids
            ),
        )
        for request in requests
    ]


def drafts_of_other_rows(make):
    """The draft model's rows are misaligned after one of them leaves: only acceptance suffers."""
    return lambda: KeepsTheFirstRows(make())


class BatchedServer:
    """Serves a pair of models.

    Args:
        pair: Target and draft model.
        asked: From the requests of a batch to those that are decoded in their place.
        of_draft: From what makes rows of the draft model to what is used in its place.
        swaps: Whether the answers of a batch's first two requests are exchanged when they end.
        pieces: From the ids of an output to the pieces in which they are streamed.
        by_piece: Whether a stop string is looked for in single pieces of a streamed answer.
        moment: Seconds for which a batch waits for further requests.
        moves: Whether the answers of other rows are exchanged where one of a batch is cancelled.
    """

    def __init__(
        self,
        pair,
        *,
        asked=list,
        of_draft=None,
        swaps=False,
        pieces=None,
        moves=False,
        by_piece=False,
        moment=MOMENT,
    ):
        self.moment = moment
        self.pair, self.asked, self.swaps = pair, asked, swaps
        self.moves, self.by_piece, self.cancelled = moves, by_piece, 0
        self.pieces = pieces or (lambda ids: [ids[i : i + 2] for i in range(0, len(ids), 2)])
        tree = parse_tree("chain:3")
        make_draft = rows_maker(pair.draft)
        self.decoding = {
            greedy: RowDecoding(
                rows_maker(pair.target),
                of_draft(make_draft) if of_draft else make_draft,
                tree,
                default_rule(tree.law, is_chain=True, is_greedy=greedy),
                checker=None,
                clock=Clock(),
            )
            for greedy in (True, False)
        }
        self.most = 0
        self.waiting = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def answer(self, body):
        future = Future()
        future.is_streamed, future.is_gone = body["stream"], Future()
        self.waiting.put((self.request(body), future))
        return self.completion(body, future.result(60)), future.is_gone

    def request(self, body):
        stopping = Stopping(
            max_new_tokens=body["max_tokens"],
            stop_token_ids=frozenset(body["stop_token_ids"]),
            stop_strings=() if self.by_piece and body["stream"] else tuple(body["stop"] or ()),
            decode=self.pair.decode,
        )
        sampling = Sampling(
            temperature=body["temperature"],
            top_k=max(body["top_k"], 0),
            top_p=body["top_p"],
            min_p=body["min_p"],
            repetition_penalty=body["repetition_penalty"],
            min_new_tokens=body["min_tokens"],
        )
        return Request(
            request_id="",
            prompt_token_ids=tuple(body["prompt"]),
            sampling=sampling,
            stopping=stopping,
            seed=body["seed"],
        )

    def serve(self):
        while (first := self.waiting.get()) is not None:
            time.sleep(self.moment)
            batch = [first]
            while not self.waiting.empty() and len(batch) < ROWS:
                batch.append(self.waiting.get())
            self.most = max(self.most, len(batch))
            for greedy in (True, False):
                rows = [pair for pair in batch if pair[0].sampling.greedy is greedy]
                if rows:
                    self.decode(greedy, rows)

    def decode(self, greedy, rows):
        requests = self.asked([request for request, _ in rows])
        try:
            answers = self.answers(greedy, requests)
        except Exception as error:
            for _, future in rows:
                future.set_exception(error)
            return
        if self.swaps and len(rows) > 1:
            answers[0], answers[1] = answers[1], answers[0]
        gone = []
        for row, (_, future) in enumerate(rows):
            if future.is_streamed:
                future.set_result(answers[row])
                gone.append(future.is_gone.result(30))
        self.cancelled += sum(gone)
        stay = [row for row, (_, future) in enumerate(rows) if not future.is_streamed]
        turned = [*stay[1:], *stay[:1]] if self.moves and any(gone) else stay
        for row, other in zip(stay, turned, strict=True):
            rows[row][1].set_result(answers[other])

    def answers(self, greedy, requests):
        return dict(self.decoding[greedy].speculate(requests, len(requests)))

    def completion(self, body, generation):
        ids, counts = list(generation.token_ids), generation.counts
        metrics = {
            "num_spec_steps": counts.drafted_steps,
            "num_draft_tokens": counts.drafted,
            "num_accepted_draft_tokens": counts.accepted,
        }
        return {
            "choices": [
                {
                    "text": self.pair.decode(ids),
                    "token_ids": ids,
                    "prompt_token_ids": body["prompt"],
                    "finish_reason": "length" if generation.stop_reason == "length" else "stop",
                    "stop_reason": None,
                }
            ],
            "metrics": {"speculative_decoding": metrics},
        }

    def events(self, whole):
        choice = whole["choices"][0]
        ids = choice["token_ids"]
        said = ""
        for n, piece in enumerate(pieces := self.pieces(ids)):
            text = self.pair.decode([token for part in pieces[: n + 1] for token in part])
            ends = n == len(pieces) - 1
            yield {
                "choices": [
                    {
                        **choice,
                        "text": text[len(said) :],
                        "token_ids": piece,
                        "finish_reason": choice["finish_reason"] if ends else None,
                    }
                ]
            }
            said = text
        yield {"choices": [], "metrics": whole["metrics"]}


@contextmanager
def batched(pair, *, kind=BatchedServer, **faults):
    """The server and its address, while the block lasts."""
    server = kind(pair, **faults)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
        server.waiting.put(None)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, server_of_batches, *arguments):
        self.batches = server_of_batches
        super().__init__(*arguments)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        whole, is_gone = self.batches.answer(body)
        if not body["stream"]:
            send(self, 200, json.dumps(whole).encode())
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            for event in self.batches.events(whole):
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                # Whoever has gone away is noticed after the first piece.
                if not is_gone.done():
                    is_gone.set_result(self.left())
        except OSError:
            return
        self.wfile.write(b"data: [DONE]\n\n")

    def left(self):
        """Whether the other side closes the connection within a moment."""
        self.connection.settimeout(MOMENT)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(None)

    def log_message(self, *arguments):
        pass
