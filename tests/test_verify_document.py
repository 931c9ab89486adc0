"""docs/verify.md: its table is that of the code, and its tolerances are those in force."""

import json
import re
import runpy
from pathlib import Path

from draftproof.lossless.certificate import TIE_TOLERANCE

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")


def spreads():
    """The largest measured spread by dtype, over all rows of the table."""
    found = {}
    table = PAGE.partition("<!-- width spread -->")[2].partition("<!-- end of width spread -->")[0]
    for row in table.strip().splitlines()[2:]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        dtype = cells[1].split()[0]
        found[dtype] = max(found.get(dtype, 0.0), float(cells[5]))
    return found


def test_the_checks_are_those_of_the_kit():
    assert runpy.run_path(str(ROOT / "docs" / "make_verify.py"))["updated"](PAGE) == PAGE


def test_the_page_names_the_tolerances_in_force():
    stated = re.search(r"by default (\S+) in float32, (\S+) in float16, (\S+)\s+in bfloat16", PAGE)
    dtypes = ("float32", "float16", "bfloat16")
    assert [float(value) for value in stated.groups()] == [TIE_TOLERANCE[d] for d in dtypes]


def test_every_tolerance_covers_four_times_what_was_measured():
    measured = spreads()
    assert set(measured) == set(TIE_TOLERANCE)
    for dtype, largest in measured.items():
        assert TIE_TOLERANCE[dtype] >= 4 * largest, dtype


def test_a_failed_check_of_a_committed_certificate_is_explained():
    """Every check that a public engine fails is named below the table."""
    found = ROOT / "reports" / "certificates"
    text = PAGE.partition("<!-- end of certificates -->")[2]
    for path in found.glob("*.json"):
        for check in json.loads(path.read_text(encoding="utf-8"))["checks"]:
            if check["status"] == "failed":
                assert f"*{check['name']}*" in text, f"{path.name}: {check['name']}"
