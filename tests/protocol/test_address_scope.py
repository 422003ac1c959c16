"""Which addresses a node may try."""

from __future__ import annotations

import pytest

from quinkgl.protocol.address_scope import Scope, scope_of, usable


@pytest.mark.req("M-040")
@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("127.0.0.1", Scope.LOOPBACK),
        ("127.255.255.255", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("169.254.1.1", Scope.LINK),
        ("fe80::1", Scope.LINK),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.16.0.1", Scope.PRIVATE),
        ("172.31.255.255", Scope.PRIVATE),
        ("172.32.0.0", Scope.PUBLIC),
        ("192.168.0.1", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("100.128.0.0", Scope.PUBLIC),
        ("fd00::1", Scope.PRIVATE),
        ("8.8.8.8", Scope.PUBLIC),
        ("192.0.2.1", Scope.PUBLIC),
        ("2001:db8::1", Scope.PUBLIC),
        ("::7f00:1", Scope.PUBLIC),
    ],
)
def test_scopes(host, scope):
    assert scope_of((host, 1)) is scope


@pytest.mark.req("M-040")
def test_only_addresses_within_our_own_scopes_may_be_tried():
    record = (("127.0.0.1", 1), ("192.168.0.9", 2), ("8.8.8.8", 3), ("fe80::1", 4), ("10.0.0.1", 5))
    assert usable(record, ()) == (("8.8.8.8", 3),)
    assert usable(record, (("9.9.9.9", 1),)) == (("8.8.8.8", 3),)
    assert usable(record, (("127.0.0.1", 1),)) == (("127.0.0.1", 1), ("8.8.8.8", 3))
    assert usable(record, (("172.16.0.1", 1),)) == (("192.168.0.9", 2), ("8.8.8.8", 3), ("10.0.0.1", 5))
