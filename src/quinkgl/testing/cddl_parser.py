"""Parses the CDDL dialect of ``spec/schema`` into types; :mod:`quinkgl.testing.cddl` says what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from quinkgl.wire.cbor import MAX_UINT, MIN_INT


class CddlError(ValueError):
    """A schema text that is not in the dialect."""


@dataclass(frozen=True, slots=True)
class Range:
    """Integers from ``low`` to ``high``, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class String:
    """A byte or text string; sizes are in bytes, of UTF-8 for text."""

    is_text: bool
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``."""


@dataclass(frozen=True, slots=True)
class Null:
    """``null``."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Every value of the encoding profile."""


@dataclass(frozen=True, slots=True)
class Literal:
    """One value and no other."""

    value: int | bytes | str | bool


@dataclass(frozen=True, slots=True)
class Reference:
    """Whatever the rule of this name says."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several types; the first that fits."""

    options: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A key of a map with its value; occurs ``least`` to ``most`` times, None for no bound."""

    key: Type
    value: Type
    least: int = 1
    most: int | None = 1


@dataclass(frozen=True, slots=True)
class Map:
    """A map: members with a number for a key, then at most one with any other key."""

    members: tuple[Member, ...]

    @property
    def fields(self) -> dict[int, Member]:
        """The members by the number that is their key."""
        return {
            member.key.value: member
            for member in self.members
            if isinstance(member.key, Literal) and isinstance(member.key.value, int)
        }

    @property
    def open_member(self) -> Member | None:
        """The member for all other keys, or None."""
        last = self.members[-1] if self.members else None
        return None if last is None or isinstance(last.key, Literal) else last


@dataclass(frozen=True, slots=True)
class Entry:
    """An element of an array; ``label`` is for people."""

    type: Type
    least: int = 1
    most: int | None = 1
    label: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    """An array; only its last entry may occur another number of times than once."""

    entries: tuple[Entry, ...]

    def bounds(self) -> tuple[int, int | None]:
        """Return the least and the largest number of elements."""
        if not self.entries:
            return 0, 0
        fixed, last = len(self.entries) - 1, self.entries[-1]
        return fixed + last.least, None if last.most is None else fixed + last.most

    def entry(self, index: int) -> Entry:
        """Return the entry that the element at ``index`` belongs to."""
        return self.entries[min(index, len(self.entries) - 1)]


@dataclass(frozen=True, slots=True)
class Tag:
    """A value behind a tag."""

    number: int
    content: Type


@dataclass(frozen=True, slots=True)
class Cbor:
    """A byte string that holds the encoding of one item."""

    content: Type


Type: TypeAlias = (
    Range | String | Boolean | Null | Anything | Literal | Reference | Choice | Map | Array | Tag | Cbor
)

_PRELUDE: dict[str, Type] = {
    "any": Anything(),
    "bool": Boolean(),
    "bytes": String(is_text=False),
    "bstr": String(is_text=False),
    "false": Literal(False),
    "int": Range(MIN_INT, MAX_UINT),
    "nint": Range(MIN_INT, -1),
    "null": Null(),
    "text": String(is_text=True),
    "true": Literal(True),
    "tstr": String(is_text=True),
    "uint": Range(0, MAX_UINT),
}
"""Names that CDDL itself gives (RFC 8610 appendix D), as far as the encoding profile has them."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|;[^\n]*)
      | (?P<arrow>=>) | (?P<dots>\.\.) | (?P<control>\.[a-z]+)
      | (?P<tag>\#6\.[0-9]+)
      | (?P<bytes>h'[0-9a-fA-F]*') | (?P<text>"[^"\\\n]*")
      | (?P<number>-?[0-9]+)
      | (?P<name>[A-Za-z_$@][A-Za-z0-9_$@-]*)
      | (?P<mark>[=/(){}\[\],?*+:])""",
    re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


_END = "end"


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CddlError(f"line {line}: {text[at : at + 12]!r} is not in the dialect")
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token(match[0] if kind == "mark" else kind, match[0], line)
        line += match[0].count("\n")
        at = match.end()
    yield _Token(_END, "the end of the text", line)


def parse(text: str) -> dict[str, Type]:
    """Return the rules of a schema text in their order; CddlError, with the line, for what is no schema."""
    parser = _Parser(list(_tokens(text)))
    rules: dict[str, Type] = {}
    while parser.now.kind != _END:
        name = parser.take("name").text
        if name in rules or name in _PRELUDE:
            raise parser.fault(f"the name {name} is given twice")
        parser.take("=")
        rules[name] = parser.type()
    return rules


class _Parser:
    """A recursive descent over the tokens, one method for each production."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def now(self) -> _Token:
        return self._tokens[self._at]

    def _following(self) -> _Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def fault(self, message: str) -> CddlError:
        return CddlError(f"line {self.now.line}: {message}")

    def take(self, kind: str) -> _Token:
        token = self.now
        if token.kind != kind:
            raise self.fault(f"{token.text!r} where {kind!r} is due")
        self._at += 1
        return token

    def accept(self, kind: str) -> bool:
        if self.now.kind == kind:
            self._at += 1
            return True
        return False

    def type(self) -> Type:
        options = [self._ranged()]
        while self.accept("/"):
            options.append(self._ranged())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _ranged(self) -> Type:
        """Parse a type with what may follow it: the end of a range, or a control."""
        first = self._simple()
        if self.accept("dots"):
            last = self._simple()
            ends = [end.value for end in (first, last) if isinstance(end, Literal)]
            low, high = ends if len(ends) == 2 else (None, None)
            if type(low) is not int or type(high) is not int or low > high:
                raise self.fault("a range needs two numbers, the smaller first")
            return Range(low, high)
        if self.now.kind == "control":
            return self._controlled(first)
        return first

    def _controlled(self, first: Type) -> Type:
        control = self.take("control").text
        argument = self._simple()
        if control == ".cbor" and first == String(is_text=False):
            return Cbor(argument)
        if control != ".size" or not isinstance(first, String) or first.most is not None:
            raise self.fault(f"{control} has no meaning here")
        match argument:
            case Literal(int() as size) if size >= 0:
                return String(first.is_text, size, size)
            case Range(least, most) if least >= 0:
                return String(first.is_text, least, most)
        raise self.fault(".size needs a number or a range of numbers")

    def _simple(self) -> Type:
        token = self.now
        if token.kind in {"number", "bytes", "text"}:
            self._at += 1
            return Literal(_literal(token))
        if token.kind == "tag":
            self._at += 1
            self.take("(")
            content = self.type()
            self.take(")")
            return Tag(int(token.text.removeprefix("#6.")), content)
        if self.accept("("):
            inner = self.type()
            self.take(")")
            return inner
        if self.accept("{"):
            return self._map()
        if self.accept("["):
            return self._array()
        name = self.take("name").text
        return _PRELUDE.get(name) or Reference(name)

    def _occurrence(self) -> tuple[int, int | None]:
        """Parse ``?``, ``*``, ``+``, ``n*``, ``*m`` or ``n*m``; once where there is none of them."""
        if self.accept("?"):
            return 0, 1
        if self.accept("+"):
            return 1, None
        least = 0
        if self.now.kind == "number" and self._following().kind == "*":
            least = int(self.take("number").text)
        elif self.now.kind != "*":
            return 1, 1
        self.take("*")
        # A number right behind the star is the bound, unless it is a key (`* 5 => x` says nothing else).
        if self.now.kind != "number" or self._following().kind in {"arrow", "dots"}:
            return least, None
        most = int(self.take("number").text)
        if not 0 <= least <= most:
            raise self.fault(f"an occurrence of {least} to {most}")
        return least, most

    def _map(self) -> Map:
        members: list[Member] = []
        while not self.accept("}"):
            if members and not isinstance(members[-1].key, Literal):
                raise self.fault("a member whose key is no number must be the last")
            least, most = self._occurrence()
            key = self._ranged()
            self.take("arrow")
            member = Member(key, self.type(), least, most)
            if isinstance(key, Literal) and (
                type(key.value) is not int or key.value < 0 or (least, most) not in {(0, 1), (1, 1)}
            ):
                raise self.fault("a single key must be an unsigned number, there once or with a `?`")
            if any(member.key == other.key for other in members):
                raise self.fault("a key is there twice")
            members.append(member)
            if not self.accept(","):
                self.take("}")
                break
        return Map(tuple(members))

    def _array(self) -> Array:
        entries: list[Entry] = []
        while not self.accept("]"):
            if entries and (entries[-1].least, entries[-1].most) != (1, 1):
                raise self.fault("only the last entry of an array may repeat or be left out")
            least, most = self._occurrence()
            label = ""
            if self.now.kind == "name" and self._following().kind == ":":
                label = self.take("name").text
                self.take(":")
            entries.append(Entry(self.type(), least, most, label))
            if not self.accept(","):
                self.take("]")
                break
        return Array(tuple(entries))


def _literal(token: _Token) -> int | bytes | str:
    if token.kind == "number":
        return int(token.text)
    return bytes.fromhex(token.text[2:-1]) if token.kind == "bytes" else token.text[1:-1]
