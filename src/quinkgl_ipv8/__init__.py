"""QuinkGL beside IPv8: nothing yet.

This package is reserved for the adapter that will run a swarm on IPv8's UDP endpoint, with IPv8 for discovery
and hole punching and QuinkGL's own datagrams for everything else. It is not written: there is no name to
import from here. The node that works today is `quinkgl_trio`.
"""

from __future__ import annotations
