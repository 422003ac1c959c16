"""Twenty megabytes between two processes: every byte arrives, over a real socket, in bearable time."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

_END = Path(__file__).with_name("one_update_process.py")
_SIZE = 20_000_000
_LIMIT_S = 60.0


def start_end(*arguments):
    return subprocess.Popen(
        [sys.executable, str(_END), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_object(process):
    out, err = process.communicate(timeout=2 * _LIMIT_S)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def transfer(size, seed):
    with start_end("receive") as receiver:
        try:
            place = json.loads(receiver.stdout.readline())
            with start_end("send", place["host"], place["port"], size, seed) as sender:
                try:
                    return last_object(sender), last_object(receiver)
                finally:
                    sender.kill()
        finally:
            receiver.kill()


def test_an_update_of_20_megabytes_arrives_bit_for_bit_in_another_process():
    seed = random.SystemRandom().getrandbits(32)
    print(f"python {_END.name} send HOST PORT {_SIZE} {seed}")
    expected = hashlib.sha256(random.Random(seed).randbytes(_SIZE)).hexdigest()
    sent, received = transfer(_SIZE, seed)
    for name, figures in (("sender", sent), ("receiver", received)):
        rate = _SIZE / figures["seconds"] / 1e6
        print(
            f"{name}: {figures['seconds']:.2f} s ({rate:.1f} MB/s), {figures['cpu_seconds']:.2f} s of CPU, "
            f"{figures['datagrams_sent']} datagrams out, {figures['datagrams_received']} in, "
            f"{figures['packets_lost']} lost"
        )
    assert (received["size"], received["sha256"]) == (_SIZE, expected)
    assert sent["sha256"] == expected
    assert max(sent["seconds"], received["seconds"]) < _LIMIT_S
    # The bytes went through the socket: no datagram carries more than 65,507 of them.
    assert received["datagrams_received"] >= _SIZE / 65507
