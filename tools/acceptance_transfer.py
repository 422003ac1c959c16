"""Move a file by ``quinkgl-trio send`` and ``receive``, kill either side half-way, and judge what it cost.

    python tools/acceptance_transfer.py                # 100 MB, all of it
    python tools/acceptance_transfer.py --megabytes 20 receiver

Every byte passes a relay of this program, which counts it and holds the rate down, so that there is a
half-way to be killed at. Memory is what the kernel says (`/proc/PID/status`): the peak of the resident set
from just before the offer on, less what it was then. Exit code 0 when every bound holds.

| run | what must hold, for an object of S bytes |
|---|---|
| memory | bit for bit; sender's growth ≤ 0.2 S; receiver's ≤ 0.2 S into a file, ≤ 1.3 S into memory |
| receiver | killed at half: after its restart ≤ 0.55 S come again |
| sender | killed at half and started again with the same ticket: ≤ 0.55 S come again |
| third | the sender is killed at half for good: ≤ 0.55 S come from another machine that has the file |
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from quinkgl.storage.object_file import MAP_SUFFIX
from quinkgl.wire.merkle import leaf_count, list_bytes

MB: Final = 1_000_000
SENDER_GROWTH: Final = 0.2
FILE_GROWTH: Final = 0.2
MEMORY_GROWTH: Final = 1.3
AGAIN: Final = 0.55
PATIENCE_S: Final = 180.0
_MAP_HEADER_BYTES: Final = 64
_CLEAR_PEAK: Final = "5"
"""Written to /proc/PID/clear_refs: forget the peak of the resident set."""


class Relay:
    """A UDP relay in front of one holder; one thread, counting what the holder sends.

    Attributes:
        address: where receivers find the holder.
        sent: bytes of UDP payload from the holder to receivers.
    """

    def __init__(self, holder: tuple[str, int], rate: float) -> None:
        self.sent = 0
        self._holder = holder
        self._rate = rate
        self._front = _udp()
        self._front.bind(("127.0.0.1", 0))
        self.address: str = "{}:{}".format(*self._front.getsockname())
        self._backs: dict[socket.socket, tuple[str, int]] = {}
        self._by_client: dict[tuple[str, int], socket.socket] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop relaying."""
        self._stop.set()
        self._thread.join()
        for each in (self._front, *self._backs):
            each.close()

    def _run(self) -> None:
        ready_at = time.monotonic()
        while not self._stop.is_set():
            readable, _, _ = select.select([self._front, *self._backs], [], [], 0.1)
            for each in readable:
                with contextlib.suppress(OSError):
                    if each is self._front:
                        data, client = each.recvfrom(65535)
                        self._back(client).send(data)
                        continue
                    data = each.recv(65535)
                    self.sent += len(data)
                    self._front.sendto(data, self._backs[each])
                    ready_at = max(ready_at, time.monotonic() - 0.005) + len(data) / self._rate
                    time.sleep(max(0.0, ready_at - time.monotonic()))

    def _back(self, client: tuple[str, int]) -> socket.socket:
        if client not in self._by_client:
            back = _udp()
            back.connect(self._holder)
            self._by_client[client] = back
            self._backs[back] = client
        return self._by_client[client]


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)  # what is readable may be an error that a send has taken away meanwhile
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return made


class Process:
    """One process that prints JSON lines, and its memory."""

    def __init__(self, *line: str | Path, folder: Path) -> None:
        self.growth_bytes = 0
        self.events: list[dict[str, Any]] = []
        self._process = subprocess.Popen(list(map(str, line)), cwd=folder, stdout=subprocess.PIPE, text=True)
        self._arrived = threading.Condition()
        self._before: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, event: str) -> dict[str, Any]:
        """Wait for an event of one kind."""
        with self._arrived:
            found = self._arrived.wait_for(lambda: self._find(event) or self.is_over, PATIENCE_S)
        last = self._find(event)
        if not found or last is None:
            raise SystemExit(f"no {event!r} from {self._process.args}: {self.events[-3:]}")
        return last

    @property
    def is_over(self) -> bool:
        """Whether it closed its standard output."""
        return not self._reader.is_alive()

    def weigh(self) -> None:
        """From now on `growth_bytes` is the peak of the resident set less what it is now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text(_CLEAR_PEAK, encoding="ascii")
        self._before = self._memory("VmRSS")
        threading.Thread(target=self._sample, daemon=True).start()

    def kill(self) -> None:
        """End it at once; it learns nothing of it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> int:
        """Wait for the end."""
        code = self._process.wait(PATIENCE_S)
        self._reader.join()
        return code

    def _find(self, event: str) -> dict[str, Any] | None:
        return next((each for each in self.events if each["event"] == event), None)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._arrived:
                self.events.append(json.loads(line))
                self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()

    def _sample(self) -> None:
        with contextlib.suppress(OSError, IndexError):  # a process that is ending has no memory
            while self._process.poll() is None:
                self.growth_bytes = self._memory("VmHWM") - (self._before or 0)
                time.sleep(0.02)

    def _memory(self, field: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.split(f"{field}:")[1].split()[0]) * 1024


class Trial:
    """A folder with the file, and the commands that move it."""

    def __init__(self, folder: Path, size: int, rate: float) -> None:
        self.folder = folder
        self.size = size
        self.rate = rate
        self.source = folder / "object.bin"
        rng = random.Random(1)  # noqa: S311  test data
        with self.source.open("wb") as file:
            for start in range(0, size, MB):
                file.write(rng.randbytes(min(MB, size - start)))
        self.digest = _digest(self.source)
        self.failures: list[str] = []

    def send(self, *flags: str, ticket: str | None = None, listen: str = "127.0.0.1:0") -> Process:
        """Start a sender."""
        given = ("--ticket", ticket) if ticket else ()
        return self._command("send", self.source, "--listen", listen, *given, *flags)

    def receive(self, ticket: str, *flags: str | Path) -> Process:
        """Start a receiver."""
        return self._command("receive", ticket, "--output", self.target, *flags)

    @property
    def target(self) -> Path:
        """Where the object is received."""
        return self.folder / "received.bin"

    def share(self) -> float:
        """How much of the object is verified in the file that is being received."""
        try:
            notes = self.target.with_name(self.target.name + MAP_SUFFIX).read_bytes()
        except FileNotFoundError:
            return 1.0 if self.target.exists() else 0.0
        return notes[_MAP_HEADER_BYTES + list_bytes(self.size) :].count(1) / leaf_count(self.size)

    def until_half(self) -> None:
        """Wait until half of the object is verified."""
        _wait(lambda: self.share() >= 0.5)

    def check(self, words: str, value: float, most: float) -> None:
        """Judge one figure."""
        good = value <= most
        print(f"  {words:58} {value:6.3f} S   at most {most:.2f}   {'ok' if good else 'NOT MET'}", flush=True)
        if not good:
            self.failures.append(words)

    def check_whole(self) -> None:
        """Judge what arrived, and remove it."""
        same = _digest(self.target) == self.digest
        print(f"  {'bit for bit':58} {'ok' if same else 'NOT MET'}", flush=True)
        if not same:
            self.failures.append("bit for bit")
        self.target.unlink()

    def _command(self, *arguments: str | Path) -> Process:
        return Process(sys.executable, "-m", "quinkgl_trio", *arguments, "--json", folder=self.folder)


def memory(trial: Trial) -> None:
    """One transfer into a file, and one into memory."""
    for kind, most in (("file", FILE_GROWTH), ("memory", MEMORY_GROWTH)):
        with served(trial, "--receivers", "0") as (sender, relay, ticket):
            sender.weigh()
            if kind == "file":
                receiver = trial.receive(ticket)
                receiver.wait("receive.started")
                receiver.weigh()
                if receiver.end():
                    trial.failures.append("receive")
                trial.check_whole()
            else:
                receiver = Process(sys.executable, __file__, "--into-memory", ticket, folder=trial.folder)
                receiver.wait("receive.started")
                receiver.weigh()
                if receiver.wait("received")["digest"] != trial.digest:
                    trial.failures.append("bit for bit, into memory")
                receiver.kill()
            sender.wait("delivered")
            time.sleep(0.1)
            trial.check(
                f"growth of the sender, to a receiver into {kind}",
                sender.growth_bytes / trial.size,
                SENDER_GROWTH,
            )
            trial.check(f"growth of the receiver into {kind}", receiver.growth_bytes / trial.size, most)
            trial.check("sent in all", relay.sent / trial.size, 1.2)


def receiver_killed(trial: Trial) -> None:
    """The receiver dies half-way and starts again."""
    with served(trial) as (_, relay, ticket):
        first = trial.receive(ticket)
        trial.until_half()
        first.kill()
        share = trial.share()
        before = relay.sent
        second = trial.receive(ticket)
        if second.end():
            trial.failures.append("receive again")
        print(f"  killed at {share:.1%}", flush=True)
        trial.check("sent after the receiver's restart", (relay.sent - before) / trial.size, AGAIN)
        trial.check_whole()


def sender_killed(trial: Trial) -> None:
    """The sender dies half-way and starts again with the same ticket; the receiver knows nothing of it."""
    port = _free_port()
    relay = Relay(("127.0.0.1", port), trial.rate)
    flags = ("--advertise", relay.address)
    listen = f"127.0.0.1:{port}"
    sender = trial.send(*flags, listen=listen)
    ticket = sender.wait("send.ready")["ticket"]
    receiver = trial.receive(ticket)
    trial.until_half()
    sender.kill()
    share, before = trial.share(), relay.sent
    again = trial.send(*flags, ticket=ticket, listen=listen)
    if receiver.end() or again.end():
        trial.failures.append("receive from the new sender")
    print(f"  killed at {share:.1%}", flush=True)
    trial.check("sent after the sender's restart", (relay.sent - before) / trial.size, AGAIN)
    relay.close()
    trial.check_whole()


def third(trial: Trial) -> None:
    """The sender dies half-way for good; another machine that has the file sends the rest."""
    with served(trial) as (sender, relay, ticket), served(trial, ticket=ticket) as (_, other, _):
        receiver = trial.receive(ticket)
        trial.until_half()
        sender.kill()
        share = trial.share()
        receiver.kill()
        rest = trial.receive(ticket, "--from", other.address)
        if rest.end():
            trial.failures.append("receive from another holder")
        print(f"  killed at {share:.1%}; {relay.sent / trial.size:.3f} S from the first holder", flush=True)
        trial.check("sent by the other holder", other.sent / trial.size, AGAIN)
        trial.check_whole()


@contextlib.contextmanager
def served(trial: Trial, *flags: str, ticket: str | None = None) -> Iterator[tuple[Process, Relay, str]]:
    """A sender behind a relay of its own."""
    port = _free_port()
    relay = Relay(("127.0.0.1", port), trial.rate)
    arguments = ("--advertise", relay.address, *flags)
    sender = trial.send(*arguments, ticket=ticket, listen=f"127.0.0.1:{port}")
    try:
        yield sender, relay, sender.wait("send.ready")["ticket"]
    finally:
        sender.kill()
        relay.close()


def into_memory(token: str) -> None:
    """Receive an object into memory, as a node does; the child process of the run `memory`."""
    import trio

    from quinkgl.crypto.identity import Identity
    from quinkgl.crypto.keys import KeySource
    from quinkgl.transport import Endpoint, ObjectArrived, OfferReceived
    from quinkgl_trio.driver import open_driver
    from quinkgl_trio.sockets import bind_udp
    from quinkgl_trio.transfer_ticket import Ticket

    ticket = Ticket.parse(token)

    async def run() -> None:
        endpoint = Endpoint(
            identity=Identity.generate(KeySource.system()),
            keys=ticket.keys(),
            rng=random.SystemRandom(),
            now=trio.current_time(),
        )
        with bind_udp(("127.0.0.1", 0)) as bound:
            async with open_driver(endpoint, bound) as driver:
                driver.call(lambda now: endpoint.connect(ticket.addresses[0], now=now))
                while True:
                    event = await driver.next_event()
                    if isinstance(event, OfferReceived):
                        print(json.dumps({"event": "receive.started"}), flush=True)
                        await trio.sleep(0.5)  # to be weighed before the object is asked for
                        peer, transfer = event.peer, event.transfer
                        driver.call(lambda now: endpoint.accept_object(peer, transfer, now=now))  # noqa: B023
                    elif isinstance(event, ObjectArrived):
                        digest = hashlib.sha256(event.body).hexdigest()
                        print(json.dumps({"event": "received", "digest": digest}), flush=True)

    trio.run(run)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("nothing moves")
        time.sleep(0.005)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


RUNS: Final = {"memory": memory, "receiver": receiver_killed, "sender": sender_killed, "third": third}


def main() -> int:
    """Run the trials that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help=", ".join(RUNS))
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="of each relay, MB/s")
    parser.add_argument("--into-memory", metavar="TICKET", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.into_memory:
        into_memory(args.into_memory)
        return 0
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), args.megabytes * MB, args.rate * MB)
        for name in args.runs or RUNS:
            print(f"{name}: {(RUNS[name].__doc__ or '').splitlines()[0]}", flush=True)
            RUNS[name](trial)
        failures = trial.failures
    print(f"NOT MET: {', '.join(failures)}" if failures else "every bound holds", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
