"""The reader of the schemas: every construct with values that fit and values that do not."""

from __future__ import annotations

import pytest

from quinkgl.testing.cddl import CddlError, Schema, Tagged, load_schema
from quinkgl.wire.cbor import encode
from quinkgl.wire.spec_data import spec_directory

ROUND = """
; One of everything.
extension = 64..4294967295
small = 3..5
key = bytes .size 2
some = bytes .size (1..3)
name = tstr .size (0..4)
free = tstr
flag = bool
nothing = null
seven = 7
minus = -7..-5
word = "on"
mark = h'a10127'
either = small / name
      / flag
whole = uint
signed = int
pair = [key, count: small]
list = [1*3 small]
more = [+ small]
maybe = [flag, ? small]
up-to = [*2 small]
any-number = [* small]
empty-list = []
empty = {}
message = {0 => 1, 1 => small, ? 2 => key, * extension => any}
open = {0*2 whole => name}
outer = {0 => message, 1 => [0*2 message]}
kinds = first / second
first = {0 => 1, 1 => small}
second = {0 => 2, 1 => key}
envelope = #6.18([mark, empty, bytes])
packed = bytes .cbor pair
packed-envelope = bytes .cbor envelope
parens = (small / flag)
plain = int / bytes / [* plain]
thing = any
"""
SCHEMA = Schema.parse(ROUND)

FITS = [
    ("small", 3),
    ("small", 5),
    ("key", b"ab"),
    ("some", b"a"),
    ("some", b"abc"),
    ("name", ""),
    ("name", "öö"),
    ("free", "x" * 500),
    ("flag", False),
    ("nothing", None),
    ("seven", 7),
    ("minus", -5),
    ("word", "on"),
    ("mark", bytes.fromhex("a10127")),
    ("either", 4),
    ("either", "ab"),
    ("either", True),
    ("whole", (1 << 64) - 1),
    ("signed", -(1 << 63)),
    ("pair", [b"ab", 3]),
    ("list", [3]),
    ("list", [3, 4, 5]),
    ("more", [3] * 9),
    ("maybe", [True]),
    ("maybe", [True, 3]),
    ("up-to", []),
    ("up-to", [3, 3]),
    ("any-number", []),
    ("any-number", [4] * 50),
    ("empty-list", []),
    ("empty", {}),
    ("message", {0: 1, 1: 3}),
    ("message", {0: 1, 1: 3, 2: b"ab"}),
    ("message", {0: 1, 1: 3, 64: None}),
    ("message", {0: 1, 1: 3, 64: {5: [b"", {0: -1}]}, (1 << 32) - 1: "x"}),
    ("open", {}),
    ("open", {63: "a", 7: ""}),
    ("outer", {0: {0: 1, 1: 3}, 1: []}),
    ("outer", {0: {0: 1, 1: 3}, 1: [{0: 1, 1: 3}, {0: 1, 1: 4, 99: 0}]}),
    ("kinds", {0: 1, 1: 3}),
    ("kinds", {0: 2, 1: b"ab"}),
    ("envelope", Tagged(18, [bytes.fromhex("a10127"), {}, b""])),
    ("packed", encode([b"ab", 3])),
    ("packed-envelope", b"\xd2" + encode([bytes.fromhex("a10127"), {}, b"payload"])),
    ("parens", 3),
    ("parens", False),
    ("plain", [1, [b"", [-1]]]),
    ("thing", {0: [None, True, "x", b"", -5]}),
]

FAULTS = [
    ("small", 2, "not an integer from 3 to 5"),
    ("small", 6, "not an integer from 3 to 5"),
    ("small", True, "not an integer"),
    ("small", b"\3", "not an integer"),
    ("small", None, "not an integer"),
    ("key", b"a", "1 bytes, not 2 to 2"),
    ("key", b"abc", "3 bytes"),
    ("key", "ab", "not a byte string"),
    ("some", b"", "0 bytes, not 1 to 3"),
    ("some", b"abcd", "4 bytes"),
    ("name", "ööö", "6 bytes, not 0 to 4"),
    ("name", b"ab", "not text"),
    ("free", 1, "not text"),
    ("flag", 1, "not a boolean"),
    ("flag", None, "not a boolean"),
    ("nothing", False, "not null"),
    ("seven", 8, "not 7"),
    ("seven", "7", "not 7"),
    ("minus", -4, "not an integer from -7 to -5"),
    ("word", "off", "not 'on'"),
    ("word", b"on", "not 'on'"),
    ("mark", b"", "not b"),
    ("either", 6, "integer"),
    ("either", None, "integer"),
    ("whole", -1, "integer"),
    ("whole", 1 << 64, "integer"),
    ("signed", -(1 << 63) - 1, "integer"),
    ("pair", [b"ab"], "not an array of 2 to 2"),
    ("pair", [b"ab", 3, 3], "not an array of 2 to 2"),
    ("pair", [3, b"ab"], "at 0: not a byte string"),
    ("pair", (b"ab", 3), "not an array"),
    ("list", [], "not an array of 1 to 3"),
    ("list", [3] * 4, "not an array of 1 to 3"),
    ("list", [3, 9], "at 1: not an integer"),
    ("more", [], "not an array of 1 to any number of"),
    ("maybe", [], "not an array of 1 to 2"),
    ("maybe", [True, 9], "at 1: not an integer"),
    ("up-to", [3, 3, 3], "not an array of 0 to 2"),
    ("any-number", {}, "not an array"),
    ("empty-list", [1], "not an array of 0 to 0"),
    ("empty", {0: 1}, "unknown key 0"),
    ("empty", {64: 1}, "unknown key 64"),
    ("empty", [], "not a map"),
    ("message", {0: 1}, "key 1 is missing"),
    ("message", {1: 3}, "key 0 is missing"),
    ("message", {0: 2, 1: 3}, "at 0: not 1"),
    ("message", {0: True, 1: 3}, "at 0: not 1"),
    ("message", {0: 1, 1: 3, 2: b"a"}, "at 2: 1 bytes"),
    ("message", {0: 1, 1: 3, 3: 0}, "unknown key 3"),
    ("message", {0: 1, 1: 3, 63: 0}, "unknown key 63"),
    ("message", {0: 1, 1: 3, 1 << 32: 0}, "not an unsigned integer below 2^32"),
    ("message", {0: 1, 1: 3, 64: 1.5}, "at 64: outside the encoding profile"),
    ("message", {"0": 1}, "not an unsigned integer"),
    ("message", {False: 1, 1: 3}, "not an unsigned integer"),
    ("message", 5, "not a map"),
    ("open", {1: "", 2: "", 3: ""}, "3 keys, at most 2"),
    ("open", {1: 1}, "at 1: not text"),
    ("outer", {0: {0: 1}, 1: []}, "at 0: key 1 is missing"),
    ("outer", {0: {0: 1, 1: 3}, 1: [{0: 1, 1: 3}, {0: 1, 1: 9}]}, "at 1/1/1: not an integer"),
    ("kinds", {0: 3, 1: 3}, "at 0: not 1"),
    ("kinds", {0: 2, 1: 3}, "at 1: not a byte string"),
    ("envelope", [bytes.fromhex("a10127"), {}, b""], "not under tag 18"),
    ("envelope", Tagged(17, []), "not under tag 18"),
    ("envelope", Tagged(18, [b"", {}, b""]), "at 0: not b"),
    ("packed", [b"ab", 3], "not a byte string"),
    ("packed", encode([b"ab", 9]), "inside the byte string, at 1: not an integer"),
    ("packed", b"\xff", "does not hold CBOR"),
    ("packed-envelope", encode([bytes.fromhex("a10127"), {}, b""]), "not under tag 18"),
    ("parens", b"", "not"),
    ("plain", [1, [None]], "integer"),
    ("thing", 0.5, "outside the encoding profile"),
    ("thing", [{-1: 0}], "outside the encoding profile"),
    ("thing", 1 << 64, "outside the encoding profile"),
]


@pytest.mark.parametrize(("name", "value"), FITS, ids=str)
def test_a_value_fits(name, value):
    assert SCHEMA.fault(name, value) is None


@pytest.mark.parametrize(("name", "value", "reason"), FAULTS, ids=str)
def test_a_value_does_not_fit_and_it_is_said_why(name, value, reason):
    fault = SCHEMA.fault(name, value)
    assert fault is not None
    assert reason in str(fault)


def test_every_rule_has_values_of_both_kinds():
    assert {name for name, *_ in FITS} == set(SCHEMA.rules) - {"extension", "first", "second"}
    assert {name for name, *_ in FAULTS} == {name for name, *_ in FITS}


NOT_IN_THE_DIALECT = [
    ("a = b", "there is no rule b"),
    ("a = [b]", "there is no rule b"),
    ("a = {0 => b}", "there is no rule b"),
    ("a = 1\na = 2", "line 2: the name a is given twice"),
    ("uint = 1", "the name uint is given twice"),
    ("a =\n = 1", "line 2: '=' where"),
    ("a = 5..3", "the smaller first"),
    ('a = "x".."y"', "two numbers"),
    ("a = uint .size 4", "no meaning here"),
    ("a = tstr .cbor uint", "no meaning here"),
    ("a = bytes .regexp 4", "no meaning here"),
    ("a = bytes .size tstr", ".size needs"),
    ("a = bytes .size (-1..4)", ".size needs"),
    ("a = [1*2 uint, 3]", "only the last entry"),
    ("a = [3*2 uint]", "an occurrence of 3 to 2"),
    ("a = {* uint => any, 0 => 1}", "must be the last"),
    ("a = {0 => 1, 0 => 2}", "twice"),
    ('a = {"x" => 1}', "a single key must be"),
    ("a = {* 0 => 1}", "a single key must be"),
    ("a = {0 = 1}", "'=' where 'arrow' is due"),
    ("a = {0 => 1", "the end of the text"),
    ("a = [1", "the end of the text"),
    ("a = (1", "the end of the text"),
    ("a = 1 ~ 2", "'~ 2' is not in the dialect"),
    ("a = 'text'", "not in the dialect"),
    ("a<t> = t", "not in the dialect"),
]


@pytest.mark.parametrize(("text", "message"), NOT_IN_THE_DIALECT, ids=str)
def test_what_is_not_in_the_dialect_is_refused_with_its_place(text, message):
    with pytest.raises(CddlError) as refused:
        Schema.parse(text)
    assert message in str(refused.value)


def test_two_texts_may_not_have_a_rule_in_common():
    with pytest.raises(CddlError, match="twice"):
        Schema.parse("a = 1", "a = 1")


def test_every_schema_file_is_read():
    names = [path.stem for path in sorted((spec_directory() / "schema").glob("*.cddl"))]
    assert len(names) == 8
    for name in names:
        assert load_schema(name).rules
    with pytest.raises(KeyError):
        load_schema("objects").rule("no-such-rule")
