"""QuinkGL on Trio: the UDP driver, the reference node and the `quinkgl-trio` command."""

from __future__ import annotations
