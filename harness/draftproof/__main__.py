"""``python -m draftproof``, the same as ``draftproof``."""

from __future__ import annotations

import sys

from draftproof.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
