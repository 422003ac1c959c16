"""Families of traces: loss recovery, congestion control, path MTU (chapters 6b.7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ref import SpecError
from ref import recovery as ref
from ref.data import CONSTANTS

from .family import NUM, Family, Json, array, either, pair, record

NULL: Json = {"type": "null"}
DATAGRAM = 1200


def micros(seconds: float) -> int:
    """Return whole microseconds."""
    return round(seconds * 1_000_000)


@dataclass
class Window:
    """NewReno in the form of 8.7."""

    datagram: int = DATAGRAM
    window: int = 0
    threshold: int | None = None
    recovery_start: float | None = None

    def __post_init__(self) -> None:
        """Take the first window."""
        self.window = min(CONSTANTS["initial_window_packets"] * self.datagram, max(14720, self.least))

    @property
    def least(self) -> int:
        """The window never falls below."""
        return int(CONSTANTS["minimum_window_packets"]) * self.datagram

    def acknowledged(self, size: int, sent_at: float, *, limited: bool) -> None:
        """A packet arrived."""
        if not limited or (self.recovery_start is not None and sent_at <= self.recovery_start):
            return
        if self.threshold is None or self.window < self.threshold:
            self.window += size
        else:
            self.window += max(1, self.datagram * size // self.window)

    def congestion(self, sent_at: float, now: float) -> None:
        """A packet was lost."""
        if self.recovery_start is not None and sent_at <= self.recovery_start:
            return
        self.recovery_start = now
        self.threshold = self.window = max(self.window // 2, self.least)

    def persistent(self) -> None:
        """Everything was lost for long."""
        self.window, self.recovery_start = self.least, None


control = Family(
    "cc-trace",
    "The congestion window of NewReno (chapter 8.7).",
    "Begin with datagrams of `datagram` bytes and take the events in order: `acknowledged` is a packet's "
    "size with the time at which it was sent and "
    "whether the window was what held the sender back; `lost` is the time at which the last packet lost "
    "was sent, found lost at `now`; `persistent` "
    "is persistent congestion. Compare the window at the beginning and after each event. There is nothing "
    "to refuse.",
)
_EVENTS = either(
    record(acknowledged=NUM, sent_at=NUM, limited={"type": "boolean"}),
    record(lost=NUM, now=NUM),
    record(persistent={"const": True}),
)


@control.op(
    "trace",
    "events to windows",
    takes=record(datagram=NUM, events=array(_EVENTS)),
    gives=record(windows=array(NUM)),
)
def _control(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    state = Window(given["datagram"])
    windows = [state.window]
    for event in given["events"]:
        if "acknowledged" in event:
            state.acknowledged(event["acknowledged"], event["sent_at"], limited=event["limited"])
        elif "lost" in event:
            state.congestion(event["lost"], event["now"])
        elif event["persistent"] is True:
            state.persistent()
        else:
            raise ValueError(event)
        windows.append(state.window)
    return {}, {"windows": windows}


def got(size: int = DATAGRAM, sent_at: int = 0, *, limited: bool = True) -> dict[str, Json]:
    """Return an acknowledgement."""
    return {"acknowledged": size, "sent_at": sent_at, "limited": limited}


def _trace(
    slug: str, rules: str, events: list[Any], ignored: dict[str, str] | None = None, datagram: int = DATAGRAM
) -> None:
    """Add a trace; times that nothing is compared with are found and marked."""
    marks, recovering = dict(ignored or {}), False
    for index, event in enumerate(events):
        if "acknowledged" in event and not recovering:
            marks[f"events[{index}].sent_at"] = "no recovery has begun that it could lie before"
        if "lost" in event:
            if not recovering:
                marks[f"events[{index}].lost"] = "no recovery has begun that it could lie before"
            recovering = True
        recovering = recovering and "persistent" not in event
        if "acknowledged" in event and any("lost" in each for each in events[:index]):
            marks[f"events[{index}].acknowledged"] = "the growth is rounded down to whole bytes"
    control.valid(slug, "trace", rules, "", (), marks, datagram=datagram, events=events)


_trace("slow-start", "R-061", [got() for _ in range(10)])
_trace(
    "not-limited",
    "R-061",
    [got(limited=False), got(), got(limited=False)],
    {
        "events[0].acknowledged": "the window did not hold the sender back",
        "events[2].acknowledged": "the window did not hold the sender back",
    },
)
_trace(
    "recovery",
    "R-061",
    [
        got(),
        {"lost": 500, "now": 1000},
        got(sent_at=1000),
        got(sent_at=1001),
        {"lost": 1000, "now": 1100},
        {"lost": 1001, "now": 1200},
        got(sent_at=1200),
        got(sent_at=1201),
    ],
    {
        "events[2].limited": "sent before the recovery began",
        "events[4].now": "the loss is of the same round trip",
        "events[6].limited": "sent before the recovery began",
        "events[3].sent_at": "any time after the recovery began",
        "events[5].lost": "any time after the recovery began",
        "events[7].sent_at": "any time after the recovery began",
    },
)
_trace(
    "avoidance",
    "R-061",
    [{"lost": 0, "now": 10}, *(got(sent_at=11 + n) for n in range(6)), got(600, 20)],
    {f"events[{n}].sent_at": "any time after the recovery began" for n in range(1, 8)},
)
_trace(
    "least-window",
    "R-050 R-061",
    [{"lost": 10 * n + 1, "now": 10 * n + 5} for n in range(5)] + [{"persistent": True}, got(), got()],
    {
        f"events[{n}].{what}": "it is after the recovery before, and before the loss behind"
        for n in range(5)
        for what in ("lost", "now")
    },
)
_trace("large-datagrams", "R-061", [got(8952), got(8952)], datagram=8952)
_trace(
    "slow-start-to-threshold",
    "R-050 R-061",
    [got(), {"lost": 5, "now": 9}, {"persistent": True}, *(got() for _ in range(6))],
    {"events[1].now": "the recovery is over before anything is compared with it"},
)

# --- loss recovery ---

recovery = Family(
    "recovery-trace",
    "What a sender knows of its packets: arrived, lost, when to look again (chapter 8.3 to 8.7).",
    "Begin with nothing in flight, a peer that announced a delay of `max_ack_delay_us`, an idle time-out "
    "of `idle_us`, and NewReno with datagrams of 1,200 "
    "bytes. Take the events in order: `send` is a packet that asks for an ACK, of `size` bytes; `ack` has "
    "ranges from the highest down and "
    "the delay that it reports; `timer` is the deadline. Compare after each event what was newly "
    "acknowledged and lost, the bytes in flight, the window, the estimates "
    "and the next deadline. Times are in microseconds; results may differ by one, since they are rounded.",
    tolerance=1,
)
_RECOVERY_EVENT = either(
    record(at_us=NUM, send=NUM, size=NUM),
    record(at_us=NUM, ack=array(pair(NUM, NUM)), delay_us=NUM),
    record(at_us=NUM, timer={"const": True}),
)
_STEP = record(
    acknowledged=array(NUM),
    lost=array(NUM),
    in_flight=NUM,
    window=NUM,
    smoothed_us=NUM,
    variation_us=NUM,
    deadline_us=either(NUM, NULL),
    probes=NUM,
)


@dataclass
class Sender:
    """The pseudocode of 8.4 to 8.6, for packets one by one."""

    max_ack_delay: float
    idle: float
    rtt: ref.Rtt = field(default_factory=ref.Rtt)
    control: Window = field(default_factory=Window)
    tracked: dict[int, tuple[float, int]] = field(default_factory=dict)
    next_number: int = 0
    largest: int = -1
    probes: int = 0
    last_sent_at: float = 0.0
    loss_time: float | None = None
    first_sample_at: float | None = None

    @property
    def in_flight(self) -> int:
        """Bytes of what is tracked."""
        return sum(size for _, size in self.tracked.values())

    def send(self, number: int, size: int, now: float) -> None:
        """A packet leaves."""
        if number != self.next_number:
            raise ValueError("packets leave in order here")
        self.tracked[number] = (now, size)
        self.next_number += 1
        self.last_sent_at = now

    def on_ack(self, ranges: list[list[int]], delay: float, now: float) -> tuple[list[int], list[int]]:
        """Take an ACK; returns what it newly acknowledged, and what is lost then."""
        if ranges[0][1] >= self.next_number:
            raise SpecError("E_ACK", "a packet that was never sent (R-002)")
        got_now = [n for n in sorted(self.tracked) if any(low <= n <= high for low, high in ranges)]
        packets = {number: self.tracked.pop(number) for number in got_now}
        if not packets:
            return [], []
        self.largest = max(self.largest, ranges[0][1])
        if ranges[0][1] in packets:
            self.rtt = ref.sample(self.rtt, now - packets[ranges[0][1]][0], min(delay, self.max_ack_delay))
            self.first_sample_at = now if self.first_sample_at is None else self.first_sample_at
        in_flight = self.in_flight + sum(size for _, size in packets.values())
        lost = self.detect_lost(now)
        in_flight -= sum(size for _, (_, size) in lost)
        limited = 2 * in_flight >= self.control.window
        for sent_at, size in packets.values():
            self.control.acknowledged(size, sent_at, limited=limited)
        self.probes = 0
        return got_now, [number for number, _ in lost]

    def detect_lost(self, now: float) -> list[tuple[int, tuple[float, int]]]:
        """Find lost packets by number and by time."""
        self.loss_time, lost = None, []
        for number, (sent_at, size) in sorted(self.tracked.items()):
            if ref.is_lost(number, sent_at, self.largest, self.rtt, now):
                lost.append((number, self.tracked.pop(number)))
            elif number <= self.largest:
                due = sent_at + ref.loss_delay(self.rtt)
                self.loss_time = due if self.loss_time is None else min(self.loss_time, due)
            del size
        if lost:
            self.control.congestion(lost[-1][1][0], now)
            if self.persistent(lost):
                self.control.persistent()
        return lost

    def persistent(self, lost: list[tuple[int, tuple[float, int]]]) -> bool:
        """Whether consecutive numbers were lost over three probe time-outs (8.6)."""
        span = CONSTANTS["persistent_congestion_threshold"] * ref.probe_timeout(self.rtt, self.max_ack_delay)
        first: tuple[int, float] | None = None
        last = -1
        for number, (sent_at, _) in lost:
            if self.first_sample_at is None or sent_at <= self.first_sample_at:
                first = None
                continue
            first = (number, sent_at) if first is None or last != number - 1 else first
            last = number
            if sent_at - first[1] > span:
                return True
        return False

    def deadline(self) -> float | None:
        """When to look again (8.5)."""
        if self.loss_time is not None:
            return self.loss_time
        if not self.tracked:
            return None
        return self.last_sent_at + ref.probe_wait(self.rtt, self.max_ack_delay, self.probes, self.idle)

    def on_deadline(self, now: float) -> list[int]:
        """The timer fires; returns what is lost."""
        if self.loss_time is not None:
            return [number for number, _ in self.detect_lost(now)]
        self.probes += 1
        self.last_sent_at = now
        return []


@recovery.op(
    "trace",
    "events to what a sender knows",
    takes=record(max_ack_delay_us=NUM, idle_us=NUM, events=array(_RECOVERY_EVENT)),
    gives=record(steps=array(_STEP)),
)
def _recovery(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    sender = Sender(given["max_ack_delay_us"] / 1e6, given["idle_us"] / 1e6)
    steps = []
    for event in given["events"]:
        now, arrived, lost = event["at_us"] / 1e6, [], []
        if "send" in event:
            sender.send(event["send"], event["size"], now)
        elif "ack" in event:
            arrived, lost = sender.on_ack(event["ack"], event["delay_us"] / 1e6, now)
        elif event["timer"] is True:
            lost = sender.on_deadline(now)
        else:
            raise ValueError(event)
        deadline = sender.deadline()
        steps.append(
            {
                "acknowledged": arrived,
                "lost": lost,
                "in_flight": sender.in_flight,
                "window": sender.control.window,
                "smoothed_us": micros(sender.rtt.smoothed),
                "variation_us": micros(sender.rtt.variation),
                "deadline_us": None if deadline is None else micros(deadline),
                "probes": sender.probes,
            }
        )
    return {}, {"steps": steps}


def sent(at: int, number: int, size: int = DATAGRAM) -> dict[str, Json]:
    """Return the event of a packet that leaves, the time in milliseconds."""
    return {"at_us": 1000 * at, "send": number, "size": size}


def acked(at: int, *ranges: tuple[int, int], delay: int = 0) -> dict[str, Json]:
    """Return the event of an ACK, times in milliseconds."""
    return {"at_us": 1000 * at, "ack": [list(each) for each in ranges], "delay_us": 1000 * delay}


def timer(at: int) -> dict[str, Json]:
    """Return the event of the deadline."""
    return {"at_us": 1000 * at, "timer": True}


SENDS = [sent(0, n) for n in range(10)]
_OWN_FIRST = {"idle_us": "no deadline is bounded by it"}


def _recovered(
    slug: str,
    rules: str,
    comment: str,
    events: list[Any],
    ignored: dict[str, str] | None = None,
    idle_us: int = 60_000_000,
) -> None:
    marks = ignored or {}
    if idle_us == 60_000_000:
        marks |= _OWN_FIRST
    recovery.valid(
        slug, "trace", rules, comment, (), marks, max_ack_delay_us=25_000, idle_us=idle_us, events=events
    )


_recovered(
    "samples",
    "R-020 R-021",
    "the four samples of the chapter; a delay is cut to what was announced",
    [
        sent(0, 0),
        acked(100, (0, 0)),
        sent(200, 1),
        acked(340, (1, 1), delay=25),
        sent(400, 2),
        acked(510, (2, 2), delay=40),
        sent(600, 3),
        acked(690, (3, 3), delay=10),
    ],
    {
        "events[1].delay_us": "the first sample takes no delay off",
        "events[3].delay_us": "what was announced; more is cut to it",
        "events[5].delay_us": "cut to what was announced",
        "events[7].delay_us": "taking it off would fall below the minimum",
    },
)
_recovered(
    "in-order",
    "R-001 R-030",
    "",
    [*SENDS[:4], acked(50, (0, 1)), acked(60, (0, 3))],
    {
        "events[0].at_us": "packet 0 is acknowledged along with a later one",
        "events[2].at_us": "packet 2 likewise",
        "events[4].delay_us": "the first sample takes no delay off",
        "events[5].ack[0][0]": "acknowledged before",
    },
)
_recovered(
    "lost-by-number",
    "R-030",
    "packet 0 is three numbers below one that arrived",
    [*SENDS[:5], acked(50, (1, 3)), acked(55, (1, 4))],
    {
        **{f"events[{n}].at_us": "acknowledged along with a later one, or lost by number" for n in (0, 1, 2)},
        "events[5].delay_us": "the first sample takes no delay off",
        "events[6].ack[0][0]": "acknowledged before",
    },
)
_recovered(
    "lost-by-time",
    "R-030",
    "packet 0 is lost 9/8 of the round trip after it left",
    [*SENDS[:2], acked(80, (1, 1)), timer(91)],
    {
        "events[2].delay_us": "the first sample takes no delay off",
        "events[3].at_us": "any time from the deadline on",
    },
)
_recovered(
    "probes",
    "R-040 R-042",
    "the time-out doubles, from the last probe on",
    [sent(0, 0), acked(40, (0, 0)), sent(50, 1), timer(200), timer(500), acked(510, (1, 1), delay=5)],
    {"events[1].delay_us": "the first sample takes no delay off"},
)
_recovered(
    "probes-bounded",
    "R-042",
    "no wait is longer than a tenth of the idle time-out",
    [sent(0, 0), acked(40, (0, 0)), sent(50, 1), timer(200), timer(500), timer(1100), timer(2300)],
    {"events[1].delay_us": "the first sample takes no delay off"},
    idle_us=5_000_000,
)
_recovered(
    "probe-declares-nothing-lost",
    "R-030 R-040",
    "",
    [*SENDS[:3], timer(1100), timer(3100), acked(3200, (0, 2))],
    {
        "events[5].delay_us": "the first sample takes no delay off",
        "events[0].at_us": "acknowledged along with a later one",
        "events[1].at_us": "acknowledged along with a later one",
    },
)
_recovered(
    "persistent",
    "R-050",
    "seven packets over more than three probe time-outs, all lost",
    [sent(0, 0), acked(40, (0, 0)), *(sent(100 + 120 * n, n + 1) for n in range(9)), acked(1200, (9, 9))],
    {
        "events[1].delay_us": "the first sample takes no delay off",
        **{
            f"events[{n}].at_us": "a packet between the first and the last that are lost"
            for n in range(3, 10)
        },
    },
)
_recovered(
    "persistent-interrupted",
    "R-050",
    "one of them arrived: that is not persistent congestion",
    [
        sent(0, 0),
        acked(40, (0, 0)),
        *(sent(100 + 60 * n, n + 1) for n in range(9)),
        acked(1200, (9, 9), (5, 5)),
    ],
    {
        "events[1].delay_us": "the first sample takes no delay off",
        **{f"events[{n}].at_us": "a packet that is lost or arrived, whenever it left" for n in range(2, 10)},
    },
)
for _slug, _why, _events in (
    ("nothing-sent", "an ACK before anything was sent", [acked(0, (0, 0))]),
    ("one-ahead", "the number that comes next", [*SENDS[:3], acked(10, (3, 3))]),
    ("range-ahead", "a range that ends beyond what was sent", [*SENDS[:3], acked(10, (0, 3))]),
    ("far-ahead", "a number far beyond", [*SENDS[:3], acked(10, (2**40, 2**40))]),
    ("ahead-of-two-ranges", "the higher of two ranges", [*SENDS[:3], acked(10, (3, 4), (0, 1))]),
    ("after-a-good-one", "after an ACK that is right", [*SENDS[:3], acked(10, (0, 2)), acked(11, (0, 3))]),
    ("optimistic", "one more than what is in flight", [*SENDS, acked(5, (0, 10))]),
    ("after-loss", "after packets were lost", [*SENDS[:6], acked(10, (5, 5)), acked(20, (6, 6))]),
    ("all-numbers", "every number that there is", [*SENDS[:2], acked(10, (0, 2**53 - 1))]),
):
    recovery.invalid(
        _slug,
        "trace",
        "E_ACK",
        "R-002 F-020",
        _why,
        max_ack_delay_us=25_000,
        idle_us=60_000_000,
        events=_events,
    )

# --- path MTU ---

mtu = Family(
    "pmtu-trace",
    "The size of datagrams on a path: probes, their loss, black holes (chapter 6b.7).",
    "Begin at `start` bytes on a path where nobody takes more than `most`. Take the events in order: `due` "
    "asks whether a probe may leave at `at`, and "
    "if so it leaves as packet `number` and counts as lost after `timeout`; `acknowledged` are ranges of "
    "packet numbers; `arrived` is the size of "
    "another packet that was acknowledged; `lost` is the smallest size among packets found lost together "
    "at `at`. Compare after each event the size of "
    "datagrams and, for `due`, that of the probe or 0. Times are in seconds. There is nothing to refuse.",
)
_MTU_EVENT = either(
    record(due={"const": True}, at=NUM, number=NUM, timeout=NUM),
    record(acknowledged=array(pair(NUM, NUM))),
    record(arrived=NUM),
    record(lost=NUM, at=NUM),
)


@dataclass
class Search:
    """Q-050 to Q-053 as a reader of the chapter would write them down."""

    start: int
    most: int
    size: int = 0
    probe: tuple[int, int, float] | None = None
    tries: int = 0
    quiet_until: float = 0.0
    bursts: int = 0

    def __post_init__(self) -> None:
        """Begin."""
        self.size = self.start

    def due(self, now: float) -> int:
        """Return the size of a probe to send now, or 0."""
        if self.probe is not None:
            if now < self.probe[2]:
                return 0
            self.probe, self.tries = None, self.tries + 1
            last = self.tries >= CONSTANTS["mtu_probe_tries"]
            self.tries = 0 if last else self.tries
            self.quiet_until = now + (CONSTANTS["mtu_raise_s"] if last else CONSTANTS["mtu_probe_retry_s"])
        if now < self.quiet_until:
            return 0
        sizes = [
            each for each in (*CONSTANTS["mtu_probes_bytes"], self.most) if self.size < each <= self.most
        ]
        return min(sizes, default=0)

    def acknowledged(self, ranges: list[list[int]]) -> None:
        """Look for the probe."""
        if self.probe is not None and any(low <= self.probe[0] <= high for low, high in ranges):
            self.size, self.probe, self.tries, self.bursts = self.probe[1], None, 0, 0

    def lost(self, smallest: int, now: float) -> None:
        """Packets are lost, all larger than 1,200 bytes or not."""
        if smallest <= self.start or self.size <= self.start:
            return
        self.bursts += 1
        if self.bursts >= CONSTANTS["mtu_black_hole_bursts"]:
            self.size, self.bursts, self.probe, self.tries = self.start, 0, None, 0
            self.quiet_until = now + CONSTANTS["mtu_cool_off_s"]


@mtu.op(
    "trace",
    "events to sizes",
    takes=record(start=NUM, most=NUM, events=array(_MTU_EVENT)),
    gives=record(sizes=array(NUM), probes=array(NUM)),
)
def _mtu(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    search = Search(given["start"], given["most"])
    sizes, probes = [], []
    for event in given["events"]:
        probe = 0
        if "due" in event:
            probe = search.due(event["at"])
            if probe:
                search.probe = (event["number"], probe, event["at"] + event["timeout"])
        elif "acknowledged" in event:
            search.acknowledged(event["acknowledged"])
        elif "arrived" in event:
            search.bursts = 0 if event["arrived"] > search.start else search.bursts
        else:
            search.lost(event["lost"], event["at"])
        sizes.append(search.size)
        probes.append(probe)
    return {}, {"sizes": sizes, "probes": probes}


def due(at: int, number: int = 0, timeout: int = 1) -> dict[str, Json]:
    """Return the question whether a probe may leave."""
    return {"due": True, "at": at, "number": number, "timeout": timeout}


def arrives(number: int) -> dict[str, Json]:
    """Return an ACK of one packet."""
    return {"acknowledged": [[number, number]]}


def gone(at: int, smallest: int = 1252) -> dict[str, Json]:
    """Return a loss."""
    return {"lost": smallest, "at": at}


_FAR = "larger than anything that is tried here"
_TIMES = "another moment changes nothing here"


def _search(
    slug: str,
    rules: str,
    comment: str,
    events: list[Any],
    most: int = 1452,
    unlike: dict[str, str] | None = None,
) -> None:
    """Add a trace. What decides is the order of events; times count at their bounds alone."""
    marks = {
        f"events[{n}].{name}": _TIMES
        for n, event in enumerate(events)
        for name in ("at", "timeout")
        if name in event
    }
    marks |= {f"events[{n}].due": "the only value" for n, event in enumerate(events) if "due" in event}
    marks |= {
        f"events[{n}].{name}": "of packets larger than 1,200 bytes or not, nothing else counts"
        for n, event in enumerate(events)
        for name in ("lost", "arrived")
        if name in event
    }
    marks |= {
        f"events[{n}].number": "nothing leaves now, or nothing of it comes back"
        for n, event in enumerate(events)
        if "due" in event and not any("acknowledged" in e for e in events[n + 1 : n + 2])
    }
    marks |= {
        f"events[{n}].acknowledged[0][1]": "a range may hold more than the probe"
        for n, event in enumerate(events)
        if "acknowledged" in event
    }
    marks |= unlike or {}
    mtu.valid(slug, "trace", rules, comment, (), marks, start=1200, most=most, events=events)


_search(
    "all-sizes", "Q-050", "", [due(0, 1), arrives(1), due(1, 2), arrives(2), due(2, 3), arrives(3), due(3, 4)]
)
_search(
    "cap-between",
    "Q-050",
    "the most that a side takes comes before the next size",
    [due(0, 1), arrives(1), due(1, 2), arrives(2), due(2, 3)],
    most=1300,
)
_search(
    "one-at-a-time",
    "Q-051",
    "no second probe while one is on its way",
    [due(0, 1), due(0, 2), arrives(1), due(0, 3), arrives(3)],
    unlike={"most": _FAR, "events[1].number": "nothing leaves now"},
)
_search(
    "retries",
    "Q-052",
    "three tries a second apart, then ten minutes of quiet",
    [due(0, 1), due(1, 2), due(2, 2), due(3, 3), due(4, 3), due(5, 4), due(300, 4), due(604, 4), due(605, 5)],
    unlike={"most": _FAR},
)
_search(
    "black-hole",
    "Q-053",
    "three losses of large packets alone",
    [due(0, 1), arrives(1), gone(1), gone(2), gone(3), due(4, 2), due(62, 2), due(63, 3)],
    unlike={"most": _FAR},
)
_search(
    "no-black-hole",
    "Q-053",
    "a large packet that arrived clears the suspicion",
    [due(0, 1), arrives(1), gone(1), gone(2), {"arrived": 1252}, gone(3), gone(4), gone(5)],
    unlike={"most": _FAR},
)
_search(
    "small-losses",
    "Q-053",
    "a packet of 1,200 bytes among the lost says nothing of the size",
    [due(0, 1), arrives(1), gone(1, 1200), gone(2, 1200), gone(3, 1200), gone(4), gone(5), gone(6)],
    unlike={"most": _FAR},
)

FAMILIES = (recovery, control, mtu)
