"""Everything goes wrong on purpose: kills, faults of engines and bad inputs, and what was lost.

    python tests/chaos/run.py                     some minutes, into reports/chaos/chaos.json
    python docs/make_chaos.py                       the figures of docs/chaos.md

Each attack is kept in a journal as it ends, so that a run that is stopped goes on where it was.
What is lost is a defect: the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "harness")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from chaos import faults, inputs, kills  # noqa: E402
from chaos.attack import Attack  # noqa: E402


def planned(seed: int, kills_of_each: int, inputs_of_each: int) -> list[Attack]:
    """Every attack, in the order of a shuffle by the seed."""
    chosen = [
        *kills.attacks(seed, kills_of_each),
        *inputs.attacks(seed, inputs_of_each),
        *faults.attacks(),
    ]
    random.Random(seed).shuffle(chosen)
    return chosen


def done(attack: Attack, folder: Path) -> str:
    """What an attack lost; one that cannot be carried out is a loss too, until it is known."""
    try:
        return attack.run(folder)
    except Exception as error:
        return f"the attack itself failed: {type(error).__name__}: {error}"


def document(attacks: Sequence[Attack], found: dict[str, Any], command: str) -> dict[str, Any]:
    """The figures: what was tried of each kind, and what was lost."""
    from draftproof.environment import hardware, versions

    rows: dict[str, dict[str, Any]] = {}
    for attack in sorted(attacks, key=lambda attack: attack.kind):
        row = rows.setdefault(attack.kind, {"tried": 0, "lost": []})
        row["tried"] += attack.tried
        if found[attack.name]["lost"]:
            row["lost"].append({"attack": attack.name, "lost": found[attack.name]["lost"]})
    return {"command": command, "hardware": hardware(), "versions": versions(), "kinds": rows}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seed", type=int, default=0, help="draws everything (default: %(default)s)")
    add("--kills", type=int, default=5, metavar="N", help="of each kind (default: %(default)s)")
    add(
        "--inputs",
        type=int,
        default=5,
        metavar="N",
        help=f"times {inputs.EACH} bad inputs of each kind, or {inputs.MODELS} checkpoints "
        "(default: %(default)s)",
    )
    add("--only", default="", metavar="TEXT", help="attacks whose name has this text; no figures")
    add(
        "--json",
        type=Path,
        default=ROOT / "reports" / "chaos" / "chaos.json",
        metavar="FILE",
        help="the figures (default: reports/chaos/chaos.json)",
    )
    add(
        "--journal",
        type=Path,
        default=Path(tempfile.gettempdir()) / "draftproof-chaos.jsonl",
        metavar="FILE",
        help="attacks that ended; delete it to begin anew (default: %(default)s)",
    )
    given = parser.parse_args()
    attacks = planned(given.seed, given.kills, given.inputs)
    if given.only:
        attacks = [attack for attack in attacks if given.only in attack.name]
    found = _kept(given.journal)
    begun, lost = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="draftproof-chaos-") as name:
        root = Path(name)
        kills.make_pair(root)
        for number, attack in enumerate(attacks):
            if attack.name not in found:
                folder = root / f"attack{number}"
                folder.mkdir()
                found[attack.name] = {"name": attack.name, "lost": done(attack, folder)}
                with given.journal.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[attack.name]) + "\n")
            loss = found[attack.name]["lost"]
            lost += bool(loss)
            print(
                f"{number + 1}/{len(attacks)}, {time.monotonic() - begun:.0f} s, lost {lost}: "
                f"{attack.name}{': LOST: ' + loss if loss else ''}",
                flush=True,
            )
    if not given.only:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        words = ["python", "tests/chaos/run.py", *sys.argv[1:]]
        text = json.dumps(document(attacks, found, shlex.join(words)), indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")
        given.journal.unlink(missing_ok=True)  # the next run is one of the code of its time
    return 1 if lost else 0


def _kept(journal: Path) -> dict[str, Any]:
    """Attacks of earlier runs that ended; a last line that was cut off is left out."""
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.exists() else []
    return {record["name"]: record for record in map(json.loads, lines)}


if __name__ == "__main__":
    raise SystemExit(main())
