"""`python -m quinkgl_trio` is `quinkgl-trio`."""

from __future__ import annotations

import sys

from quinkgl_trio.cli import main

sys.exit(main())
