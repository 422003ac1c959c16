"""``quinkgl-trio send``: one file, offered to whoever holds its ticket."""

from __future__ import annotations

import random
import secrets
from typing import Final

import trio

from quinkgl.cli import CliError, Context, ExitCode
from quinkgl.crypto.identity import Identity, format_peer_id
from quinkgl.crypto.keys import KeySource
from quinkgl.transport import (
    ConnectionEstablished,
    ConnectionLost,
    Endpoint,
    EndpointEvent,
    ObjectSent,
    OfferReceived,
    TransferFailed,
    Transmit,
)
from quinkgl.wire.addresses import Address, format_address, parse_address
from quinkgl.wire.errors import ErrorCode
from quinkgl_trio.bootstrap import parse_host_port
from quinkgl_trio.driver import Machine, UdpDriver, open_driver
from quinkgl_trio.history import format_bytes
from quinkgl_trio.key_log import open_key_log
from quinkgl_trio.listening import bind_listener, flag_value, reachable_addresses
from quinkgl_trio.sockets import BoundSocket
from quinkgl_trio.transfer_file import SharedFile
from quinkgl_trio.transfer_session import (
    TICK_S,
    code_name,
    endpoint_config,
    every,
    interruptible,
    keys_of,
    read_ticket,
)
from quinkgl_trio.transfer_ticket import SECRET_BYTES, Holder, Ticket, safe_name
from quinkgl_trio.transfer_views import TransferView, make_transfer_view

_RELEASE_BYTES: Final = 4 << 20
_OFFER_AGAIN_S: Final = 2.0
"""After a transfer that ended early though the session goes on."""


def send(context: Context) -> int:
    """Offer a file until enough receivers have it.

    Raises:
        CliError: with one line and the exit code, for whatever is wrong.
        OSError: a file cannot be read; the frame of the command line knows it.
    """
    args = context.args
    listen = flag_value("--listen", args.listen, parse_host_port)
    advertise = tuple(flag_value("--advertise", text, parse_address) for text in args.advertise or ())
    given = None if args.ticket is None else read_ticket(args.ticket)
    with SharedFile(args.file) as file, bind_listener(listen) as bound:
        addresses = advertise or reachable_addresses(bound, ()) or (("127.0.0.1", bound.address[1]),)
        with make_transfer_view(context.output) as view:
            return trio.run(_send, context, file, given, bound, addresses, view)


async def _send(
    context: Context,
    file: SharedFile,
    given: Ticket | None,
    bound: BoundSocket,
    addresses: tuple[Address, ...],
    view: TransferView,
) -> int:
    args = context.args
    await trio.to_thread.run_sync(file.hash_leaves)
    ticket = given
    if ticket is None:
        name = safe_name(args.name or file.path.name)
        ticket = Ticket(secrets.token_bytes(SECRET_BYTES), file.root, file.size, name)
    elif (ticket.root, ticket.size) != (file.root, file.size):
        raise CliError(f"{file.path}: not the file of this ticket", ExitCode.HASH_MISMATCH)
    identity = Identity.generate(KeySource.system())
    ticket = ticket.with_holder(Holder(identity.peer_id, addresses))
    endpoint = SendingEndpoint(
        identity=identity,
        keys=keys_of(ticket, args.secret_file),
        rng=random.SystemRandom(),
        now=trio.current_time(),
        config=endpoint_config(open_key_log(args.keylog, context.output), bound),
    )
    endpoint.file = file
    machine: Machine[EndpointEvent] = endpoint
    async with open_driver(machine, bound) as driver:
        with trio.CancelScope() as scope:
            async with interruptible(scope.cancel) as interruption:
                _announce(context, view, ticket, file)
                await _Sending(driver, endpoint, file, view, args.receivers).run()
                return ExitCode.SUCCESS
    return interruption.exit_code


def _announce(context: Context, view: TransferView, ticket: Ticket, file: SharedFile) -> None:
    """Print the ticket: the one result of this command."""
    view.tell(
        "send.ready",
        f"{file.path}: {format_bytes(file.size)}. On the other machine:  quinkgl-trio receive TICKET",
        ticket=str(ticket),
        name=ticket.name,
        size=ticket.size,
        root=ticket.root.hex(),
        peer_id=format_peer_id(ticket.holders[0].peer_id),
        addresses=[format_address(address) for address in ticket.holders[0].addresses],
    )
    if not context.output.json:
        context.output.result({}, str(ticket))


class SendingEndpoint(Endpoint):
    """An endpoint that hands the file's pages back to the kernel every few megabytes it sent."""

    file: SharedFile
    _unreleased = 0

    def next_datagram(self, now: float) -> Transmit | None:
        """Build the next datagram, or run of them."""
        transmit = super().next_datagram(now)
        if transmit is not None:
            self._unreleased += len(transmit.data)
            if self._unreleased >= _RELEASE_BYTES:
                self._unreleased = 0
                self.file.release()
        return transmit


class _Sending:
    """Offers the file to each peer that comes, until enough have it."""

    def __init__(
        self,
        driver: UdpDriver[EndpointEvent],
        endpoint: Endpoint,
        file: SharedFile,
        view: TransferView,
        receivers: int,
    ) -> None:
        self._driver = driver
        self._endpoint = endpoint
        self._file = file
        self._view = view
        self._receivers = receivers
        self._delivered = 0
        self._transfers: dict[bytes, int] = {}
        self._offer_at: dict[bytes, float] = {}

    async def run(self) -> None:
        """Serve until enough receivers have the object; without a bound, until cancelled."""
        async with every(TICK_S, self._tick):
            while not self._receivers or self._delivered < self._receivers:
                self._on_event(await self._driver.next_event())
        with trio.move_on_after(1.0):  # let the last receiver end the session: it has one more word to say
            while self._endpoint.peers():
                await self._driver.next_event()

    def _on_event(self, event: EndpointEvent) -> None:
        match event:
            case ConnectionEstablished(peer, address):
                self._view.tell(
                    "connected",
                    f"connected: {format_address(address)}",
                    peer=format_peer_id(peer),
                    address=format_address(address),
                )
                self._offer(peer)
            case ObjectSent(peer):
                self._delivered += 1
                self._transfers.pop(peer, None)
                self._view.tell(
                    "delivered",
                    f"delivered, {self._delivered} so far",
                    peer=format_peer_id(peer),
                    count=self._delivered,
                )
            case TransferFailed(peer, _, _, code):
                self._transfers.pop(peer, None)
                self._view.tell("transfer_failed", peer=format_peer_id(peer), code=code_name(code))
                if code != ErrorCode.NOT_WANTED:
                    self._offer_at[peer] = trio.current_time() + _OFFER_AGAIN_S
            case ConnectionLost(peer, code, reason, by_remote):
                self._transfers.pop(peer, None)
                self._offer_at.pop(peer, None)
                self._view.tell(
                    "disconnected",
                    peer=format_peer_id(peer),
                    code=code_name(code),
                    reason=reason,
                    by_remote=by_remote,
                )
            case OfferReceived(peer, transfer):
                self._driver.call(
                    lambda now: self._endpoint.refuse_object(peer, transfer, ErrorCode.NOT_WANTED, now=now)
                )

    def _offer(self, peer: bytes) -> None:
        file = self._file
        transfer = self._driver.call(
            lambda now: self._endpoint.offer_object(peer, file.root, file.leaves, b"", file.body, now=now)
        )
        if transfer is not None:
            self._transfers[peer] = transfer

    def _tick(self) -> None:
        if self._file.is_changed:
            raise CliError(f"{self._file.path}: changed while it was being sent", ExitCode.VALIDATION)
        now = trio.current_time()
        for peer in [peer for peer, at in self._offer_at.items() if at <= now]:
            del self._offer_at[peer]
            self._offer(peer)
        under_way = [
            self._endpoint.progress_of(peer, transfer, outgoing=True) or (0, 0)
            for peer, transfer in self._transfers.items()
        ]
        total = sum(wanted for _, wanted in under_way)
        if total:
            self._view.progress(sum(done for done, _ in under_way), total)
