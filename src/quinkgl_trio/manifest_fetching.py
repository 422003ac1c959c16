"""``quinkgl-trio run`` with a swarm id instead of a manifest: fetch it from a member, then judge it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import trio

from quinkgl.cli import CliError, ExitCode
from quinkgl.manifest import SwarmManifest, read_fetched_manifest
from quinkgl.swarm import FetchFailed, ManifestFetched, ManifestFetcher
from quinkgl.wire.addresses import Address, format_address
from quinkgl.wire.errors import ErrorCode
from quinkgl_trio.bootstrap import PeerTarget
from quinkgl_trio.driver import open_driver
from quinkgl_trio.listening import bind_listener

_EXITS: Final = {
    ErrorCode.E_MAN_HASH: ExitCode.HASH_MISMATCH,
    ErrorCode.E_HS_IDENTITY: ExitCode.TRUST,
}
_SILENCE: Final = (
    "it serves no manifests, or has another swarm or join secret (then it stays silent), nobody listens "
    "there, or UDP is blocked on the way"
)


def fetch_manifest(
    swarm_id: bytes, peers: Sequence[PeerTarget], *, listen: Address, join_secret: bytes, timeout_s: float
) -> SwarmManifest:
    """Fetch the manifest of a swarm from the first of these peers that gives it.

    The socket is one of its own, on the host of ``listen``; nothing is written.

    Raises:
        CliError: no peer gave it, with the last reason.
        ManifestError: what came is no valid manifest, has expired, or carries a wrong signature.
    """
    if not peers:
        raise CliError(
            "a swarm id needs a peer to fetch the manifest from",
            ExitCode.IO,
            hint="give --peer HOST:PORT, or a link with bs=HOST:PORT",
        )
    return trio.run(_fetch, swarm_id, peers, (listen[0], 0), join_secret, timeout_s)


async def _fetch(
    swarm_id: bytes, peers: Sequence[PeerTarget], listen: Address, join_secret: bytes, timeout_s: float
) -> SwarmManifest:
    with bind_listener(listen) as bound:
        places = [(await peer.resolve(bound.socket.family), peer.peer_id) for peer in peers]
        fetcher = ManifestFetcher(
            swarm_id=swarm_id, peers=places, join_secret=join_secret, now=trio.current_time()
        )
        failures: list[FetchFailed] = []
        with trio.move_on_after(timeout_s):
            async with open_driver(fetcher, bound) as driver:
                while True:
                    event = await driver.next_event()
                    if isinstance(event, ManifestFetched):
                        return read_fetched_manifest(
                            event.manifest,
                            event.signature,
                            expected_swarm_id=swarm_id.hex(),
                            unix_now=time.time(),
                        )
                    if not isinstance(event, FetchFailed):
                        break
                    failures.append(event)
    raise _no_manifest(failures, timeout_s)


def _no_manifest(failures: Sequence[FetchFailed], timeout_s: float) -> CliError:
    """Say why: what a peer answered comes before silence."""
    answers = [failure for failure in failures if failure.code is not ErrorCode.E_HS_TIMEOUT]
    if not answers:
        silent = ", ".join(format_address(failure.address) for failure in failures)
        where = f"from {silent}" if silent else f"within {timeout_s:g} s"
        return CliError(f"no manifest {where}: {_SILENCE}", ExitCode.WIRE)
    last = answers[-1]
    place = format_address(last.address)
    return CliError(
        f"no manifest from {place} ({last.code.name}): {last.reason or last.code.when}",
        _EXITS.get(last.code, ExitCode.WIRE),
    )
