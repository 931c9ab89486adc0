"""Other tools' results as runs: what their files tell, and nothing that they do not."""

from draftproof.importing.formats import FORMATS, read_results
from draftproof.importing.saving import imported_run

__all__ = ["FORMATS", "imported_run", "read_results"]
