"""llama.cpp's own server on GGUF files: a `llama-server` on the path, or the wheel xllamacpp.

    python tests/llama_server.py PORT TARGET [DRAFT|ngram]

As a script it serves with xllamacpp until it is ended. DRAFTPROOF_XLLAMACPP_PYTHON names a Python
that has the wheel, where this one has not.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROWS = 4
CONTEXT = 2304
"""Tokens of a request's context: more than the built-in pair's, which its judge fills."""
DRAFT_LENGTH = 4
START_SECONDS = 60


def missing():
    """Why there is no such server here; empty where there is one."""
    if shutil.which("llama-server") or os.environ.get("DRAFTPROOF_XLLAMACPP_PYTHON"):
        return ""
    if importlib.util.find_spec("xllamacpp"):
        return ""
    return "neither llama-server nor the wheel xllamacpp is here; run: tox -e llama-server"


@contextmanager
def running(target, draft=None):
    """The address of a server of a target, with a draft model, ``ngram`` or without speculation."""
    port = free_port()
    with served(_command(port, str(target), draft and str(draft)), port, START_SECONDS) as url:
        yield url


@contextmanager
def served(words, port, seconds, *, environment=None, log=os.devnull):
    """The address of a server that a command starts, for as long as it is needed.

    Args:
        words: The command.
        port: On which it listens.
        seconds: In which it must answer.
        environment: Its variables; this process's by default.
        log: File for what it prints.

    Raises:
        RuntimeError: It ended, or does not answer.
    """
    with Path(log).open("wb") as output:
        process = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, seconds)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _command(port, target, draft):
    binary = shutil.which("llama-server")
    if not binary:
        python = os.environ.get("DRAFTPROOF_XLLAMACPP_PYTHON", sys.executable)
        return [python, __file__, str(port), target, *([draft] if draft else [])]
    command = [binary, "-m", target, "--port", str(port), "-np", str(ROWS)]
    command += ["-c", str(ROWS * CONTEXT), "-t", "1", "--metrics", "--no-warmup"]
    if draft == "ngram":
        command += ["--spec-type", "ngram-simple"]
    elif draft:
        command += ["-md", draft, "--draft-max", str(DRAFT_LENGTH)]
    return command


def free_port():
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(url, process, seconds):
    for _ in range(seconds * 5):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError("the server did not start")


def serve(port, target, draft=None):
    """Serve with xllamacpp."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.port = target, port
    settings.n_parallel, settings.n_ctx = ROWS, ROWS * CONTEXT
    settings.endpoint_metrics, settings.warmup = True, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    kinds = xllamacpp.common_speculative_type
    if draft == "ngram":
        settings.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        settings.speculative.ngram_simple.size_n = 2
        settings.speculative.ngram_simple.size_m = DRAFT_LENGTH
    elif draft:
        settings.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        settings.speculative.draft.mparams.path = draft
        settings.speculative.draft.n_max = DRAFT_LENGTH
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:4])
