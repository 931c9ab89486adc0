"""``python -m harness.cli``, the same as ``draftproof``."""

from __future__ import annotations

import sys

from harness.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
