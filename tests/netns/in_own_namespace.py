"""Runs a command in a network namespace of its own and counts what its loopback interface carries.

    in_own_namespace.py [--drop-udp] [--timeout SECONDS] -- COMMAND...

As root a plain network namespace is made, otherwise one inside a user namespace; where neither is permitted
this fails, with the reason. Nothing in there can reach this machine's network: the namespace has a loopback
interface and no other. With --drop-udp every UDP datagram in it is dropped, and TCP still works; the output
tells how far both are true. Prints one JSON object: what the command returned and wrote, and the counters
around it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
_NAMESPACE = Path("/proc/self/ns/net")
_INTERFACE = struct.Struct("16sH14x")
_SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

_NFT_RULES = """
table inet no_udp {
  chain input { type filter hook input priority 0; policy accept; meta l4proto udp counter drop; }
}
"""
# Without a firewall a routing rule does it: senders see an error then: to QuinkGL, a lost datagram.
# The rule for local addresses (0) must come after ours, and cannot be moved: a copy takes its place.
_IP_RULES = (
    "rule add pref 1 ipproto udp blackhole",
    "rule add pref 2 lookup local",
    "rule del pref 0",
)


def enter():
    """Start this program again inside a new network namespace."""
    unshare = shutil.which("unshare", path=_SBIN)
    if unshare is None:
        sys.exit("in_own_namespace: needs unshare (util-linux)")
    flags = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    outside = str(_NAMESPACE.readlink())
    os.execv(unshare, [unshare, *flags, "--", sys.executable, __file__, "--outside", outside, *sys.argv[1:]])


def bring_loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = _INTERFACE.pack(b"lo", 0)
        name, flags = _INTERFACE.unpack(fcntl.ioctl(handle, _SIOCGIFFLAGS, request))
        fcntl.ioctl(handle, _SIOCSIFFLAGS, _INTERFACE.pack(name, flags | _IFF_UP))


def drop_udp():
    """Drop UDP with nftables, or else with a routing rule; returns which of them it was."""
    nft = shutil.which("nft", path=_SBIN)
    if (
        nft is not None
        and subprocess.run([nft, "-f", "-"], input=_NFT_RULES, text=True, check=False).returncode == 0
    ):
        return "nftables"
    ip = shutil.which("ip", path=_SBIN)
    if ip is None:
        sys.exit("in_own_namespace: dropping UDP needs nft (package nftables) or ip (package iproute2)")
    for family in ("-4", "-6") if Path("/proc/net/if_inet6").exists() else ("-4",):
        for rule in _IP_RULES:
            subprocess.run([ip, family, *rule.split()], check=True)
    return "ip rule"


def udp_passes(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.3)
        try:
            udp.bind((host, 0))
            udp.sendto(b"?", udp.getsockname())
            return udp.recv(1) == b"?"
        except OSError:
            return False


def tcp_passes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            socket.create_connection(server.getsockname(), timeout=3).close()
        except OSError:
            return False
        return True


def counters():
    """What the loopback interface has carried, with headers, in how many datagrams and TCP segments."""
    interfaces = {}
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]:
        name, figures = line.split(":")
        interfaces[name.strip()] = int(figures.split()[8])
    if list(interfaces) != ["lo"]:
        sys.exit(f"in_own_namespace: expected lo alone in a new namespace, found {sorted(interfaces)}")
    protocols = {}
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocols[names.split(":")[0]] = dict(
            zip(names.split()[1:], map(int, values.split()[1:]), strict=True)
        )
    return {
        "bytes": interfaces["lo"],
        "udp_sent": protocols["Udp"]["OutDatagrams"],
        "udp_received": protocols["Udp"]["InDatagrams"],
        "tcp_segments": protocols["Tcp"]["OutSegs"],
    }


def run(command, timeout_s):
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nin_own_namespace: killed after {timeout_s:g} s"
    return {
        "returncode": process.returncode,
        "stdout": out,
        "stderr": err,
        "seconds": time.monotonic() - start,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--outside")
    parser.add_argument("--drop-udp", action="store_true")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    if arguments.outside is None:
        enter()
    if str(_NAMESPACE.readlink()) == arguments.outside:
        sys.exit("in_own_namespace: still in the namespace that this was started from")
    bring_loopback_up()
    how = drop_udp() if arguments.drop_udp else None
    passes = {"udp": udp_passes("127.0.0.1"), "udp6": udp_passes("::1"), "tcp": tcp_passes()}
    before = counters()
    outcome = run(arguments.command, arguments.timeout)
    after = counters()
    moved = {name: after[name] - before[name] for name in before}
    print(json.dumps({"dropped_by": how, "passes": passes, "moved": moved, **outcome}))


if __name__ == "__main__":
    main()
