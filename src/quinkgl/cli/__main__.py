"""`python -m quinkgl.cli` is `quinkgl`."""

from __future__ import annotations

import sys

from quinkgl.cli import main

sys.exit(main())
