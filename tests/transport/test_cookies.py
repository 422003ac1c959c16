"""Under load: whoever wants work and memory of a node first shows that it is where it says it is."""

from __future__ import annotations

from collections import Counter

import pytest

from quinkgl.testing.contract import Checked
from quinkgl.testing.endpoints import A, B, Pair, ScriptedPeer, drain, events_of, make_endpoint
from quinkgl.testing.network import Link
from quinkgl.transport import ConnectFailed, ConnectionEstablished, EndpointConfig
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import LongType, PacketForm, packet_form

ALWAYS = EndpointConfig(init_rate_total_per_s=0)
"""Of a node that asks everybody for proof."""


def kind(data: bytes | memoryview) -> LongType | None:
    return LongType(data[0] & 0x0F) if packet_form(data) is PacketForm.LONG else None


def loaded(seed: int = 1) -> Checked:
    return Checked(make_endpoint(seed, config=ALWAYS), deep=False)


def answers(endpoint, datagram: bytes, source: Address = A, now: float = 0.0) -> list[bytes]:
    endpoint.receive_datagram(datagram, source, now=now)
    return [bytes(transmit.data) for transmit in drain(endpoint, now)[1]]


def address(network: int) -> Address:
    return (f"10.{network // 256}.{network % 256}.1", 4000)


# The exchange


def test_under_load_a_proof_is_asked_for_and_taken():
    pair = Pair(config_b=ALWAYS)
    pair.connect()
    assert pair.b.machine.stats.cookies_sent == pair.a.machine.stats.cookies_received == 1
    assert len(events_of(pair.b, ConnectionEstablished)) == 1


def test_without_load_nobody_is_asked():
    pair = Pair()
    pair.connect()
    assert pair.b.machine.stats.cookies_sent == 0


@pytest.mark.req("S-014")
def test_without_load_a_proof_that_is_none_is_no_hindrance():
    endpoint, peer = make_endpoint(1), ScriptedPeer()
    assert [kind(data) for data in answers(endpoint, peer.init(cookie=bytes(16)))] == [LongType.RESP]


@pytest.mark.req("S-060")
def test_nothing_is_remembered_of_an_init_without_proof():
    """Removing the check would make this INIT cost Diffie-Hellman and a place in the table."""
    endpoint, peer = loaded(), ScriptedPeer()
    (cookie,) = answers(endpoint, peer.init())
    assert kind(cookie) is LongType.COOKIE
    assert endpoint.deadline() is None
    assert endpoint.stats.dropped == {}


def test_a_cookie_is_smaller_than_what_it_answers_and_names_nobody():
    endpoint, peer = loaded(), ScriptedPeer()
    (cookie,) = answers(endpoint, peer.init())
    assert len(cookie) == 21 + 16 + 32
    assert cookie[5:13] == peer.local_id
    assert cookie[13:21] == bytes(8)


@pytest.mark.req("S-060", "S-062")
def test_the_proof_is_good_for_its_address_alone():
    endpoint, peer = loaded(), ScriptedPeer()
    proof = peer.init(cookie=peer.cookie(answers(endpoint, peer.init())[0]))
    for elsewhere in (B, (A[0], A[1] + 1)):
        assert [kind(data) for data in answers(endpoint, proof, elsewhere)] == [LongType.COOKIE]
    assert [kind(data) for data in answers(endpoint, proof)] == [LongType.RESP]


@pytest.mark.req("S-060")
def test_a_guess_is_no_proof():
    endpoint, peer = loaded(), ScriptedPeer()
    assert [kind(data) for data in answers(endpoint, peer.init(cookie=bytes(16)))] == [LongType.COOKIE]


@pytest.mark.req("S-061")
def test_a_cookie_lives_as_long_as_its_secret_and_the_next_one():
    endpoint = loaded()
    peer, other = ScriptedPeer(1), ScriptedPeer(2)
    cookie = peer.cookie(answers(endpoint, peer.init())[0])
    now = 1.9 * CONSTANTS.cookie_secret_s
    answers(endpoint, other.init(), now=CONSTANTS.cookie_secret_s)
    assert [kind(data) for data in answers(endpoint, peer.init(cookie=cookie), now=now)] == [LongType.RESP]
    now = 2.1 * CONSTANTS.cookie_secret_s
    assert [kind(data) for data in answers(endpoint, other.init(cookie=cookie), now=now)] == [LongType.COOKIE]


# The initiator


def opening(config: EndpointConfig | None = None) -> tuple[Checked, bytes]:
    endpoint = Checked(make_endpoint(5, config=config), deep=False)
    endpoint.connect(B, now=0.0)
    ((init, _),) = [(bytes(transmit.data), transmit.destination) for transmit in drain(endpoint, 0.0)[1]]
    return endpoint, init


@pytest.mark.req("S-065")
def test_the_same_init_goes_out_again_with_its_proof_at_once():
    endpoint, init = opening()
    (cookie,) = answers(loaded(), init)
    (proof,) = answers(endpoint, cookie, B, now=0.1)
    assert proof[:37] + proof[53:] == init[:37] + init[53:]
    assert proof[37:53] != bytes(16)


@pytest.mark.req("S-065", "S-066")
def test_a_later_try_and_a_later_attempt_have_the_proof_too():
    endpoint, init = opening()
    responder = loaded()
    answers(endpoint, answers(responder, init)[0], B, now=0.1)
    endpoint.handle_timer(now=endpoint.deadline())
    (again,) = [bytes(transmit.data) for transmit in drain(endpoint, endpoint.now)[1]]
    assert [kind(data) for data in answers(responder, again, now=2.0)] == [LongType.RESP]
    while endpoint.deadline() is not None:
        endpoint.handle_timer(now=endpoint.deadline())
        drain(endpoint, endpoint.now)
    endpoint.connect(B, now=endpoint.now)
    (fresh,) = [bytes(transmit.data) for transmit in drain(endpoint, endpoint.now)[1]]
    assert fresh[37:53] != bytes(16)


@pytest.mark.req("S-065")
@pytest.mark.parametrize("position", [21, 40, -1])
def test_a_forged_cookie_is_not_believed(position):
    endpoint, init = opening()
    (cookie,) = answers(loaded(), init)
    forged = bytearray(cookie)
    forged[position] ^= 1
    assert answers(endpoint, bytes(forged), B) == []
    assert answers(endpoint, cookie, A) == []
    assert answers(endpoint, cookie[:-1], B) == []
    assert answers(endpoint, cookie[:5] + b"somebody" + cookie[13:], B) == []
    assert endpoint.stats.dropped == {"E_HS_DECRYPT": 1, "unknown_connection": 2, "E_PROTOCOL": 1}
    assert [kind(data) for data in answers(endpoint, cookie, B)] == [LongType.INIT]


@pytest.mark.req("W-011")
def test_what_a_cookie_packet_reserves_is_ignored():
    endpoint, init = opening()
    (cookie,) = answers(loaded(), init)
    assert cookie[13:21] == bytes(8)
    later = cookie[:13] + b"\xff" * 8 + cookie[21:]
    assert [kind(data) for data in answers(endpoint, later, B)] == [LongType.INIT]


@pytest.mark.req("S-065")
def test_cookies_do_not_make_a_node_send_more_than_once_a_try():
    endpoint, init = opening()
    responder = loaded()
    sent = 1
    for index in range(20):
        for cookie in answers(responder, init, now=0.01 * index):
            sent += len(answers(endpoint, cookie, B, now=0.01 * index))
    assert sent == 2
    assert endpoint.stats.cookies_received == 20


@pytest.mark.req("S-065")
def test_the_tries_are_not_fewer_for_a_cookie():
    endpoint, init = opening()
    (cookie,) = answers(loaded(), init)
    inits = 1 + len(answers(endpoint, cookie, B, now=0.1))
    while endpoint.deadline() is not None:
        endpoint.handle_timer(now=endpoint.deadline())
        events, datagrams = drain(endpoint, endpoint.now)
        inits += len(datagrams)
    assert inits == LIMITS.handshake_retries + 1
    assert [event.code for event in events if isinstance(event, ConnectFailed)] == [ErrorCode.E_HS_TIMEOUT]


@pytest.mark.parametrize("seed", range(5))
def test_a_cookie_that_is_lost_costs_a_try(seed):
    pair = Pair(seed, Link(delay_s=0.02, loss=0.3, duplicate=0.1), config_b=ALWAYS)
    pair.connect(limit_s=60.0)
    assert pair.b.machine.stats.cookies_sent >= 1


# What load is


@pytest.mark.req("S-060")
def test_more_inits_in_a_second_than_the_total():
    config = EndpointConfig(init_rate_total_per_s=50)
    endpoint = make_endpoint(1, config=config)
    seen: Counter[LongType | None] = Counter()
    for index in range(60):
        seen.update(kind(data) for data in answers(endpoint, ScriptedPeer(index).init(), address(index)))
    assert seen == {LongType.RESP: 50, LongType.COOKIE: 10}
    assert [kind(data) for data in answers(endpoint, ScriptedPeer(99).init(), address(99), now=1.0)] == [
        LongType.RESP
    ]


@pytest.mark.req("S-060")
def test_half_of_the_table_is_kept_for_those_who_prove_their_address():
    endpoint = make_endpoint(1)
    half = LIMITS.half_open // 2
    for index in range(half):
        assert [kind(data) for data in answers(endpoint, ScriptedPeer(index).init(), address(index))] == [
            LongType.RESP
        ]
    peer = ScriptedPeer(999)
    (cookie,) = answers(endpoint, peer.init(), A, now=1.5)
    proof = peer.init(cookie=peer.cookie(cookie))
    assert [kind(data) for data in answers(endpoint, proof, A, now=1.5)] == [LongType.RESP]


@pytest.mark.req("S-060")
def test_half_of_a_network_s_places_is_kept_too():
    endpoint = make_endpoint(1)
    kinds = []
    for host in range(LIMITS.half_open_per_prefix):
        kinds += [
            kind(data) for data in answers(endpoint, ScriptedPeer(host).init(), ("192.0.2.1", 1 + host))
        ]
    half = LIMITS.half_open_per_prefix // 2
    assert kinds == [LongType.RESP] * half + [LongType.COOKIE] * half


@pytest.mark.req("S-063")
def test_one_network_that_proves_its_addresses_has_a_rate_all_the_same():
    """Its members finish each handshake, so that no place in the table is taken."""
    endpoint = loaded()
    finished = 0
    for index in range(LIMITS.init_rate_per_prefix_per_s + 5):
        peer, source = ScriptedPeer(100 + index), ("192.0.2.7", 4000 + index)
        (cookie,) = answers(endpoint, peer.init(), source)
        for resp in answers(endpoint, peer.init(cookie=peer.cookie(cookie)), source):
            answers(endpoint, peer.finish(resp), source)
            finished += 1
    assert finished == LIMITS.init_rate_per_prefix_per_s
    assert endpoint.stats.dropped == {"init_rate": 5}


@pytest.mark.req("S-063")
def test_those_who_prove_their_address_have_a_rate_in_all():
    """Each comes from a network of its own and finishes: neither quotas nor places hold anybody back."""
    endpoint = loaded()
    finished = 0
    for index in range(LIMITS.init_rate_total_per_s + 5):
        peer, source = ScriptedPeer(100 + index), address(index)
        (cookie,) = answers(endpoint, peer.init(), source)
        for resp in answers(endpoint, peer.init(cookie=peer.cookie(cookie)), source):
            answers(endpoint, peer.finish(resp), source)
            finished += 1
    assert finished == LIMITS.init_rate_total_per_s
    assert endpoint.stats.dropped == {"init_rate": 5}


@pytest.mark.req("S-041")
def test_a_repeated_init_needs_no_second_proof():
    endpoint, peer = loaded(), ScriptedPeer()
    proof = peer.init(cookie=peer.cookie(answers(endpoint, peer.init())[0]))
    (first,) = answers(endpoint, proof)
    assert answers(endpoint, peer.init(), now=0.5) == [first]


# A flood


@pytest.mark.req("L-003", "S-060", "S-064", "V-008", "W-040")
def test_a_flood_leaves_nothing_behind_and_gets_less_than_it_sent():
    """Replays with forged sources, many between two drains: what waits to be sent is bounded."""
    endpoint = make_endpoint(1)
    init = ScriptedPeer().init()
    sent = received = 0
    for burst in range(30):
        for index in range(100):
            endpoint.receive_datagram(init, address(100 * burst + index), now=0.0)
            received += len(init)
        datagrams = [transmit.data for transmit in drain(endpoint, 0.0)[1]]
        assert len(datagrams) <= 100
        sent += sum(map(len, datagrams))
    assert endpoint.stats.cookies_sent + endpoint.stats.dropped["stateless_answers"] == 3000 - 128
    assert sent <= received
    endpoint.handle_timer(now=20.0)
    assert drain(endpoint, 20.0) == ([], [])
    assert endpoint.deadline() is None


def test_who_is_there_gets_in_during_a_flood():
    pair = Pair(link=Link(delay_s=0.01))
    init = ScriptedPeer().init()
    for index in range(1000):
        pair.b.machine.receive_datagram(init, address(index), now=0.0)
        pair.network.run(limit_s=0.0)
    pair.connect(limit_s=1.0)
    assert pair.a.machine.stats.cookies_received == 1
