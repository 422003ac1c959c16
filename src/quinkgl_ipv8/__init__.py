"""Where the IPv8 adapter will live: discovery and puncturing by IPv8, our own datagrams on the same socket.

It is not built yet. What is there to use today is :mod:`quinkgl_trio`.
"""

from __future__ import annotations

__all__: list[str] = []
