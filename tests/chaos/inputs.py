"""Bad inputs: options, journals, data files, checkpoints and engines' answers, changed at random.

Each is accepted for what it says, or refused with a reason; it never crashes, hangs, or is read as
something else than was written.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.attack import Attack, held
from checkpoints import save_checkpoint

Attempt = Callable[[], Any]
EACH = 100
"""Inputs of one attack."""
MODELS = 20
"""Checkpoints of one attack, each of which is loaded."""


def attacks(seed: int, count: int) -> list[Attack]:
    """So many attacks of each kind, each of `EACH` inputs, drawn by the seed."""
    kinds = {
        "options": options,
        "journals with a flipped bit": flipped_journals,
        "journals with a cut tail": cut_journals,
        "data files": data_files,
        "checkpoints": checkpoints,
        "engine answers": answers,
    }
    return [
        Attack(
            kind=f"bad input: {kind}",
            name=f"bad input: {kind}, seed {seed}, number {number}",
            tried=MODELS if make is checkpoints else EACH,
            run=lambda folder, make=make, number=number: _first_lost(
                make(folder, random.Random(f"{seed} {number} {make.__name__}"))
            ),
        )
        for kind, make in kinds.items()
        for number in range(count)
    ]


def _first_lost(attempts: list[Attempt]) -> str:
    return next(filter(None, held(attempts)), "")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes turned over, cut out, doubled, or put in."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(content) + 1)
        length = rng.choice([1, 2, 8, 64])
        what = rng.randrange(5)
        if what == 0 and place < len(content):
            content[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            del content[place : place + length]
        elif what == 2:
            content[place:place] = content[place : place + length]
        elif what == 3:
            content[place:place] = rng.choice(
                [b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"[[[[", b"1e999", b"-1", b'"', b"\x1b[31m"]
            )
        else:
            del content[place:]
    return bytes(content)


def options(folder: Path, rng: random.Random) -> list[Attempt]:
    from draftproof.plugin.options import OPTIONS, value_of
    from draftproof.plugin.settings import _CONFIG_FIELDS, _SAMPLING_FIELDS, settings_of

    known = [
        option
        for option in OPTIONS
        if option.name in {**_CONFIG_FIELDS, **_SAMPLING_FIELDS} and option.metavar
    ]
    seeds = (
        "0", "1", "-1", "nan", "inf", "1e400", "9" * 40, "", " ", "3x2", "chain:4", "2x2x2", "all",
        "auto", "builtin", "cpu", "cuda:0", "float32", "a=b", "a=b,c={", "humaneval", "[1,2",
        "\x1b[31m", "\ud800", "٣", "1_000", "0x10", "own", "../..", "x" * 5000,
    )  # fmt: skip

    def attempt(option: Any, text: str) -> Attempt:
        return lambda: settings_of({option.name: value_of(option, [text])}) and None

    chosen = []
    for _ in range(EACH):
        text = rng.choice(seeds)
        for _ in range(rng.choice([0, 1, 3])):
            place = rng.randrange(len(text) + 1)
            text = text[:place] + rng.choice(string.printable) + text[place:]
        chosen.append(attempt(rng.choice(known), text))
    return chosen


def _journal(path: Path, rng: random.Random) -> list[Any]:
    import numpy as np

    from draftproof.journal import Journal
    from draftproof.trace import (
        NODE_COLUMNS,
        STEP_COLUMNS,
        CaseRecord,
        DecodedOutput,
        Verdict,
        columns_from,
    )

    draws = np.random.default_rng(rng.randrange(1 << 32))
    output = DecodedOutput(token_ids=(1, 2, 3), stop_reason="length", seconds=0.25)
    records = [
        CaseRecord(
            case_id=f"letters/{number}",
            domain="letters",
            prompt_tokens=7,
            verdict=Verdict.IDENTICAL,
            plain=output,
            speculative=output,
            steps=columns_from(
                STEP_COLUMNS, {name: draws.integers(0, 9, 2) for name in STEP_COLUMNS}
            ),
            nodes=columns_from(NODE_COLUMNS, {name: draws.random(3) for name in NODE_COLUMNS}),
        )
        for number in range(4)
    ]
    with Journal(path, {"fingerprint": "abc", "name": "chaos"}) as journal:
        for record in records:
            journal.append(record)
    return [record.to_json() for record in records]


def _reads_as_prefix(path: Path, data: bytes, written: list[Any], least: int) -> Attempt:
    def attempt() -> str:
        from draftproof.journal import read_journal

        path.write_bytes(data)
        found = [case.to_json() for case in read_journal(path).cases]
        if found != written[: len(found)]:
            return "a journal is read as other cases than were written"
        return "" if len(found) >= least else f"{len(found)} of {least} whole cases are read"

    return attempt


def flipped_journals(folder: Path, rng: random.Random) -> list[Attempt]:
    path = folder / "journal.jsonl"
    written, data = _journal(path, rng), path.read_bytes()
    chosen = []
    for _ in range(EACH):
        content = bytearray(data)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        chosen.append(_reads_as_prefix(path, bytes(content), written, 0))
    return chosen


def cut_journals(folder: Path, rng: random.Random) -> list[Attempt]:
    path = folder / "journal.jsonl"
    written, data = _journal(path, rng), path.read_bytes()
    header = data.index(b"\n") + 1
    chosen = []
    for _ in range(EACH):
        cut = data[: rng.randrange(header, len(data) + 1)]
        chosen.append(_reads_as_prefix(path, cut, written, cut.count(b"\n") - 1))
    return chosen


def data_files(folder: Path, rng: random.Random) -> list[Attempt]:
    import pyarrow
    import pyarrow.parquet

    from draftproof.data.own import own_records

    rows = [{"prompt": "a b c", "answer": "1"}, {"prompt": "d é", "answer": "2"}]
    table = pyarrow.Table.from_pylist(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    pyarrow.parquet.write_table(table, folder / "seed.parquet")
    with pyarrow.ipc.new_stream(folder / "seed.arrow", table.schema) as writer:
        writer.write_table(table)
    forms = {
        "rows.jsonl": lines,
        "rows.jsonl.gz": gzip.compress(lines),
        "rows.json": json.dumps(rows).encode(),
        "rows.csv": b"prompt,answer\na b c,1\nd e,2\n",
        "rows.parquet": (folder / "seed.parquet").read_bytes(),
        "saved/data.arrow": (folder / "seed.arrow").read_bytes(),
    }
    state = json.dumps({"_data_files": [{"filename": "data.arrow"}]})

    def attempt(name: str, data: bytes) -> Attempt:
        def read() -> None:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            if name.startswith("saved"):
                (path.parent / "state.json").write_text(state)
                path = path.parent
            list(own_records(path, {}))

        return read

    names = sorted(forms)
    return [
        attempt(name, mutated(forms[name], rng)) for name in rng.choices(names, k=EACH)
    ]  # fmt: skip


def checkpoints(folder: Path, rng: random.Random) -> list[Attempt]:
    import torch

    from draftproof.config import RunConfig
    from draftproof.models.loading import load_pair

    sound = save_checkpoint(folder / "sound")
    # What is imported here is not imported by every attempt; and the seed is one that loads.
    load_pair(RunConfig(target=str(sound), draft=str(sound)), lambda line: None)
    files = sorted(path.name for path in sound.iterdir())

    def attempt(number: int, name: str, data: bytes) -> Attempt:
        def load() -> None:
            # The parent's other threads are not in its copy, which would wait for them.
            torch.set_num_threads(1)
            target = folder / f"changed{number}"
            shutil.copytree(sound, target)
            (target / name).write_bytes(data)
            load_pair(RunConfig(target=str(target), draft=str(sound)), lambda line: None)

        return load

    chosen = []
    for number in range(MODELS):
        name = rng.choice(files)
        chosen.append(attempt(number, name, mutated((sound / name).read_bytes(), rng)))
    return chosen


def answers(folder: Path, rng: random.Random) -> list[Attempt]:
    from dataclasses import fields, replace

    from draftproof.config import Sampling
    from draftproof.engines.guarded import GuardedEngine
    from draftproof.engines.protocol import Capability, Generation, Request, check_generation
    from draftproof.journal import Journal, read_journal
    from draftproof.stopping import Stopping
    from draftproof.trace import CaseRecord, Counts, DecodedOutput, Verdict

    good = Generation(
        token_ids=(5, 6), stop_reason="length", seconds=0.1, counts=Counts(drafted=2, accepted=1)
    )
    junk: tuple[Any, ...] = (
        None, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", "\ud800", "\x1b[31m", (), [],
        {}, (5, 10**30), (5, None), (5, 6, 7), (5,), {"step": [0]}, {"step": "x"}, {1: 2}, object(),
        Counts(drafted=10**30, accepted=1), Counts(drafted=1, accepted=2), iter([5, 6]), {5, 6},
        {"accept": float("nan")}, "length", (True, False), (float("nan"), -1.0), folder, 1j,
        ((0.1, 1), (0.2, 1)), range(2), "x" * 100_000,
    )  # fmt: skip
    names = [field.name for field in fields(Generation)]
    request = Request(
        request_id="letters/0",
        prompt_token_ids=(2, 3),
        sampling=Sampling(temperature=0.0),
        stopping=Stopping(max_new_tokens=2, stop_token_ids=frozenset({1})),
    )

    class Returns:
        name = "returns"
        capabilities = frozenset({Capability.PLAIN})

        def __init__(self, value: Any) -> None:
            self.value = value

        def speculate(self, request: Request) -> Any:
            return self.value

        plain = speculate

        def describe(self) -> dict[str, Any]:
            return {"name": "returns", "odd": self.value}

        def close(self) -> None:
            pass

    def attempt(number: int, value: Any) -> Attempt:
        def ask() -> str:
            engine = GuardedEngine(Returns(value), timeout=20)
            json.dumps(engine.describe(), allow_nan=False).encode("ascii")
            answer = engine.speculate(request)
            check_generation(answer, request, 10)
            record = CaseRecord(
                case_id="letters/0",
                domain="letters",
                prompt_tokens=2,
                verdict=Verdict.IDENTICAL,
                speculative=DecodedOutput(
                    token_ids=answer.token_ids,
                    stop_reason=answer.stop_reason,
                    seconds=answer.seconds,
                    arrivals=answer.arrivals,
                ),
                counts=answer.counts,
                draws=answer.draws,
            )
            path = folder / f"journal{number}.jsonl"
            with Journal(path, {"fingerprint": "abc"}) as journal:
                journal.append(record)
            (read,) = read_journal(path).cases
            return "" if read.to_json() == record.to_json() else "it is read as something else"

        return ask

    chosen = []
    for number in range(EACH):
        changes = {name: rng.choice(junk) for name in rng.sample(names, rng.choice([1, 1, 2]))}
        value = rng.choice(junk) if rng.random() < 0.1 else replace(good, **changes)
        chosen.append(attempt(number, value))
    return chosen
