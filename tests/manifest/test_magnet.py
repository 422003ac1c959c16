"""Magnet links: the golden form, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.manifest import ErrorName, MagnetLink, ManifestError

ZERO = "0" * 64
FULL = (
    f"quinkgl:?xt=urn:qgl:{ZERO}&dn=a%20b%2F%C3%BC&kw=x,y%20z&v=2&tr=http%3A%2F%2Ft%2F%3Fa%3D1&bs=1.2.3.4%3A5"
)
LINK = MagnetLink(bytes(32), "a b/ü", ("x", "y z"), ("http://t/?a=1",), ("1.2.3.4:5",), 2)


def test_the_golden_link_both_ways():
    assert str(LINK) == FULL
    assert MagnetLink.parse(FULL) == LINK


def test_a_bare_link():
    bare = f"quinkgl:?xt=urn:qgl:{ZERO}"
    assert MagnetLink.parse(bare) == MagnetLink(bytes(32))
    assert str(MagnetLink(bytes(32), "unnamed")) == bare
    assert MagnetLink.parse(bare + "&xl=9&later=%00") == MagnetLink(bytes(32))


TEXTS = st.text(max_size=20).filter(lambda text: text.isprintable())


@given(
    st.binary(min_size=32, max_size=32),
    TEXTS.filter(lambda name: name != "unnamed"),
    st.lists(TEXTS, max_size=3),
    st.integers(1, 9),
)
def test_links_round_trip(swarm_id, name, hints, version):
    link = MagnetLink(swarm_id, name, (), tuple(hints), tuple(hints), version)
    assert MagnetLink.parse(str(link)) == link


REFUSED = {
    "another scheme": (f"magnet:?xt=urn:qgl:{ZERO}", ErrorName.ERR_MAGNET_SCHEME),
    "too long": (FULL + "&tr=" + "x" * 9000, ErrorName.ERR_MAGNET_SCHEME),
    "a version that is none": (f"quinkgl:?xt=urn:qgl:{ZERO}&v=x", ErrorName.ERR_MAGNET_SCHEME),
    "no id": ("quinkgl:?dn=a", ErrorName.ERR_MAGNET_XT),
    "another topic": (f"quinkgl:?xt=urn:btih:{ZERO}", ErrorName.ERR_MAGNET_XT),
    "upper case": (f"quinkgl:?xt=urn:qgl:{'A' * 64}", ErrorName.ERR_MAGNET_XT),
    "two ids": (f"quinkgl:?xt=urn:qgl:{ZERO}&xt=urn:qgl:{ZERO}", ErrorName.ERR_MAGNET_XT),
    "two names": (f"quinkgl:?xt=urn:qgl:{ZERO}&dn=a&dn=b", ErrorName.ERR_MAGNET_DUPLICATE),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_link_is_refused(text, code):
    with pytest.raises(ManifestError) as caught:
        MagnetLink.parse(text)
    assert caught.value.code is code
    assert "\n" not in str(caught.value)


def test_the_length_of_a_link_is_bounded_exactly():
    longest = (FULL + "&tr=").ljust(8192, "x")
    assert MagnetLink.parse(longest).trackers[-1] == "x" * (8192 - len(FULL) - 4)
    with pytest.raises(ManifestError) as caught:
        MagnetLink.parse(longest + "x")
    assert caught.value.code is ErrorName.ERR_MAGNET_SCHEME


@pytest.mark.parametrize(("key", "field"), [("tr", "trackers"), ("bs", "bootstrap_peers")])
def test_sixty_four_hints_of_a_kind_are_kept(key, field):
    hints = [str(number) for number in range(65)]
    text = f"quinkgl:?xt=urn:qgl:{ZERO}" + "".join(f"&{key}={hint}" for hint in hints)
    assert getattr(MagnetLink.parse(text), field) == tuple(hints[:64])


@given(st.text(max_size=100))
def test_any_text_raises_only_what_it_may(text):
    for candidate in (text, f"quinkgl:?xt=urn:qgl:{ZERO}&" + text):
        try:
            MagnetLink.parse(candidate)
        except ManifestError as error:
            assert error.code.startswith("ERR_MAGNET_")
