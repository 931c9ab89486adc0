"""A file that cannot be written is refused before the work that would fill it."""

import pytest

from draftproof.cli.main import main
from draftproof.cli.outputs import require_file
from draftproof.errors import USAGE_EXIT_CODE, UsageError


@pytest.mark.parametrize("command", [["selftest", "--mutant", "M04"], ["verify"]])
@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_commands_refuse_it_at_once(command, option, capsys, monkeypatch):
    monkeypatch.setattr("draftproof.conformance.making.make_subject", None)
    assert main([*command, option, "nowhere/board"]) == USAGE_EXIT_CODE
    assert f"{option} nowhere/board: there is no folder nowhere" in capsys.readouterr().err


def test_a_folder_is_no_file_and_nothing_asked_for_is_nothing_to_check(tmp_path):
    require_file("--json", None)
    require_file("--json", tmp_path / "new.json")
    with pytest.raises(UsageError, match="it is a folder"):
        require_file("--json", tmp_path)
