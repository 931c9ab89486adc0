"""``python -m draftproof.cli``, the same as ``draftproof``: recipes that were copied call it so."""

from __future__ import annotations

import sys

from draftproof.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
