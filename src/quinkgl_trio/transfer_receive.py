"""``quinkgl-trio receive``: the object of a ticket, from whichever holder answers, into a file."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from quinkgl.cli import CliError, Context, ExitCode
from quinkgl.crypto.identity import Identity, format_peer_id
from quinkgl.crypto.keys import KeySource
from quinkgl.storage import ObjectFile, ObjectFileError
from quinkgl.transport import (
    ConnectFailed,
    ConnectionEstablished,
    ConnectionLost,
    Endpoint,
    EndpointEvent,
    ObjectArrived,
    OfferReceived,
    TransferFailed,
)
from quinkgl.wire.addresses import Address, format_address
from quinkgl.wire.errors import ErrorCode
from quinkgl_trio.bootstrap import PeerTarget, parse_host_port
from quinkgl_trio.driver import Machine, UdpDriver, open_driver
from quinkgl_trio.history import format_bytes, format_percent
from quinkgl_trio.key_log import open_key_log
from quinkgl_trio.listening import bind_listener, flag_value
from quinkgl_trio.sockets import BoundSocket
from quinkgl_trio.transfer_session import (
    TICK_S,
    code_name,
    endpoint_config,
    every,
    interruptible,
    keys_of,
    read_ticket,
)
from quinkgl_trio.transfer_ticket import Ticket, safe_name
from quinkgl_trio.transfer_views import TransferView, make_transfer_view

_CONNECT_AGAIN_S: Final = 1.0
_STALL_S: Final = 3.0
"""A holder that sends nothing for so long stands back when another one waits."""
_GOODBYE_S: Final = 2.0
"""How long to wait for the sender to end the session, which shows that it knows we have the object."""


def receive(context: Context) -> int:
    """Receive the object of a ticket.

    Raises:
        CliError: with one line and the exit code, for whatever is wrong.
        OSError: a file cannot be written; the frame of the command line knows it.
    """
    args = context.args
    ticket = read_ticket(args.ticket)
    keys_of(ticket, args.secret_file)  # before anything is bound or written
    listen = flag_value("--listen", args.listen, parse_host_port)
    holders = [flag_value("--from", text, PeerTarget.parse) for text in args.holders or ()]
    if not holders and not ticket.addresses:
        raise CliError("the ticket names no address: say --from HOST:PORT", ExitCode.VALIDATION)
    path = output_path(args.output, ticket)
    if path.exists() and not args.force:
        raise CliError(f"{path} exists; --force overwrites it", ExitCode.IO)
    with bind_listener(listen) as bound, make_transfer_view(context.output) as view:
        return trio.run(_receive, context, ticket, holders, path, bound, view)


def output_path(given: Path | None, ticket: Ticket) -> Path:
    """Where the object goes: a file that was named, or the ticket's name in a folder."""
    if given is None:
        return Path(safe_name(ticket.name))
    return given / safe_name(ticket.name) if given.is_dir() else given


async def _receive(
    context: Context,
    ticket: Ticket,
    holders: Sequence[PeerTarget],
    path: Path,
    bound: BoundSocket,
    view: TransferView,
) -> int:
    args = context.args
    family = bound.socket.family
    places = {await target.resolve(family): target.peer_id for target in holders}
    for address in ticket.addresses:
        if ":" not in address[0] or family == socket.AF_INET6:
            places.setdefault(address, None)
    with await trio.to_thread.run_sync(_open_sink, path, ticket, args.force) as sink:
        endpoint = Endpoint(
            identity=Identity.generate(KeySource.system()),
            keys=keys_of(ticket, args.secret_file),
            rng=random.SystemRandom(),
            now=trio.current_time(),
            config=endpoint_config(open_key_log(args.keylog, context.output), bound),
        )
        started = time.monotonic()
        resumed = sink.verified_bytes
        machine: Machine[EndpointEvent] = endpoint
        async with open_driver(machine, bound) as driver:
            with trio.CancelScope() as scope:
                async with interruptible(scope.cancel) as interruption:
                    view.tell(
                        "receive.started",
                        f"{path}: {format_bytes(ticket.size)}"
                        + (f", {format_bytes(resumed)} here already" if resumed else ""),
                        path=str(path),
                        name=ticket.name,
                        size=ticket.size,
                        root=ticket.root.hex(),
                        resumed_bytes=resumed,
                    )
                    if resumed < ticket.size or not ticket.size:
                        reception = _Reception(driver, endpoint, sink, view, places, args.timeout)
                        await reception.run()
                        with trio.move_on_after(_GOODBYE_S):
                            await reception.say_goodbye()
            if interruption.number is not None:
                return interruption.exit_code
            await trio.to_thread.run_sync(partial(sink.finish, overwrite=args.force))
            seconds = time.monotonic() - started
            view.tell(
                "received",
                f"received in {seconds:.1f} s, verified",
                path=str(path),
                size=ticket.size,
                root=ticket.root.hex(),
                bytes_received=driver.stats.bytes_received,
                bytes_sent=driver.stats.bytes_sent,
                seconds=round(seconds, 3),
            )
    if not context.output.json:
        context.output.result({}, str(path))
    return ExitCode.SUCCESS


def _open_sink(path: Path, ticket: Ticket, start_over: bool) -> ObjectFile:
    try:
        return ObjectFile(path, root=ticket.root, size=ticket.size)
    except ObjectFileError as error:
        if start_over:
            return ObjectFile(path, root=ticket.root, size=ticket.size, start_over=True)
        raise CliError(str(error), ExitCode.IO, hint="--force begins anew") from error
    except BlockingIOError:
        raise CliError(f"another process is receiving into {path}", ExitCode.IO) from None


class _Reception:
    """Takes the object from one holder at a time; the others stand by."""

    def __init__(
        self,
        driver: UdpDriver[EndpointEvent],
        endpoint: Endpoint,
        sink: ObjectFile,
        view: TransferView,
        places: Mapping[Address, bytes | None],
        timeout_s: float,
    ) -> None:
        self._driver = driver
        self._endpoint = endpoint
        self._sink = sink
        self._view = view
        self._timeout_s = timeout_s
        self._places = places
        self._connect_at = dict.fromkeys(places, 0.0)
        self._offers: dict[bytes, int] = {}
        self._active: bytes | None = None
        self._done = 0
        self._moved_at = trio.current_time()

    async def run(self) -> None:
        """Receive the object.

        Raises:
            CliError: nothing came for too long, or the file cannot be written.
        """
        self._tick()
        async with every(TICK_S, self._tick):
            while True:
                event = await self._driver.next_event()
                if isinstance(event, ObjectArrived):
                    self._view.progress(self._sink.size, self._sink.size)
                    return
                self._on_event(event)

    async def say_goodbye(self) -> None:
        """Wait until the holder that sent the object has ended the session, or knows that we have it."""
        while self._active in self._endpoint.peers() and not self._endpoint.is_quiet():
            with trio.move_on_after(TICK_S):
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
            case ConnectFailed(address):
                self._connect_at[address] = trio.current_time() + _CONNECT_AGAIN_S
            case OfferReceived(peer, transfer, root, size):
                if (root, size) == (self._sink.root, self._sink.size):
                    self._offers[peer] = transfer
                    self._begin()
                else:
                    self._refuse(peer, transfer, ErrorCode.NOT_WANTED)
            case TransferFailed(peer, _, _, code, False):
                if self._sink.failure is not None:
                    raise CliError(f"{self._sink.path}: {self._sink.failure.strerror}", ExitCode.IO)
                self._view.tell(
                    "transfer_failed",
                    "the transfer broke off",
                    peer=format_peer_id(peer),
                    code=code_name(code),
                )
                self._forget(peer)
            case ConnectionLost(peer, code, reason, by_remote):
                self._view.tell(
                    "disconnected",
                    "the connection is lost",
                    peer=format_peer_id(peer),
                    code=code_name(code),
                    reason=reason,
                    by_remote=by_remote,
                )
                self._forget(peer)

    def _forget(self, peer: bytes) -> None:
        self._offers.pop(peer, None)
        if self._active == peer:
            self._active = None
        self._begin()

    def _begin(self) -> None:
        """Ask a holder for what is missing, unless one is sending."""
        if self._active is not None:
            return
        for peer, transfer in self._offers.items():
            if self._driver.call(partial(_accept, self._endpoint, peer, transfer, self._sink)):
                self._active = peer
                return

    def _refuse(self, peer: bytes, transfer: int, code: ErrorCode) -> None:
        self._driver.call(lambda now: self._endpoint.refuse_object(peer, transfer, code, now=now))

    def _tick(self) -> None:
        now = trio.current_time()
        done = self._sink.verified_bytes
        if done > self._done:
            self._done, self._moved_at = done, now
        self._view.progress(done, self._sink.size)
        if now - self._moved_at >= self._timeout_s:
            raise CliError(self._explanation(), ExitCode.WIRE)
        if self._active is not None and len(self._offers) > 1 and now - self._moved_at >= _STALL_S:
            peer, self._active = self._active, None
            self._refuse(peer, self._offers.pop(peer), ErrorCode.TOO_SLOW)
        self._begin()
        for address, at in self._connect_at.items():
            if at <= now:
                # Nothing happens where a session or an attempt is there already.
                self._driver.call(partial(_connect, self._endpoint, address, self._places[address]))

    def _explanation(self) -> str:
        seconds = f"{self._timeout_s:g} s"
        if not self._endpoint.peers() and not self._done:
            return f"nobody who holds this ticket answered within {seconds}"
        share = format_percent(self._done / self._sink.size if self._sink.size else 0)
        return f"nothing came for {seconds}; {share} is here: run the same command again to go on"


def _accept(endpoint: Endpoint, peer: bytes, transfer: int, sink: ObjectFile, now: float) -> bool:
    return endpoint.accept_object(peer, transfer, sink=sink, now=now)


def _connect(endpoint: Endpoint, address: Address, peer_id: bytes | None, now: float) -> None:
    endpoint.connect(address, expected_peer=peer_id, now=now)
