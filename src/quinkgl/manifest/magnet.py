"""Magnet links: a swarm's id, and hints where to find it, in one line of text.

`quinkgl:?xt=urn:qgl:<64 hex digits>[&dn=name][&kw=a,b][&v=N][&tr=URL]…[&bs=HOST:PORT]…`. The id says which
manifest is meant; everything else may be wrong and is only ever tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, unquote

from quinkgl.manifest.errors import ErrorName, ManifestError
from quinkgl.manifest.record import show

SCHEME: Final = "quinkgl:?"
_XT: Final = "urn:qgl:"
_ID: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST: Final = 8192
_MOST_HINTS: Final = 64


@dataclass(frozen=True, slots=True)
class MagnetLink:
    """What a link says. `swarm_id` is 32 bytes; `trackers` and `bootstrap_peers` are hints."""

    swarm_id: bytes
    display_name: str | None = None
    keywords: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    bootstrap_peers: tuple[str, ...] = ()
    protocol_version: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a link; parameters that are not known are ignored.

        Raises:
            ManifestError: ERR_MAGNET_SCHEME for what is no such link, ERR_MAGNET_XT without exactly one valid
                id, ERR_MAGNET_DUPLICATE for a name, keywords or version that stand there twice.
        """
        if not text.startswith(SCHEME) or len(text) > _LONGEST:
            raise _refusal(ErrorName.ERR_MAGNET_SCHEME, f"{show(text)} does not begin with {SCHEME}")
        values: dict[str, list[str]] = {}
        for parameter in text.removeprefix(SCHEME).split("&"):
            key, _, value = parameter.partition("=")
            values.setdefault(key, []).append(value)
        topics = values.get("xt", [])
        if len(topics) != 1 or not topics[0].startswith(_XT) or not _ID.fullmatch(topics[0][len(_XT) :]):
            raise _refusal(ErrorName.ERR_MAGNET_XT, f"a link has one xt={_XT} and 64 lower-case hex digits")
        for key in ("dn", "kw", "v"):
            if len(values.get(key, ())) > 1:
                raise _refusal(ErrorName.ERR_MAGNET_DUPLICATE, f"{key} stands there twice")
        name = values.get("dn", [None])[0]
        version = values.get("v", ["1"])[0]
        if not version.isascii() or not version.isdigit() or len(version) > 3:
            raise _refusal(ErrorName.ERR_MAGNET_SCHEME, f"v={show(version)} is no version")
        return cls(
            swarm_id=bytes.fromhex(topics[0][len(_XT) :]),
            display_name=None if name is None else unquote(name),
            keywords=tuple(unquote(word) for word in values.get("kw", [""])[0].split(",") if word),
            trackers=tuple(map(unquote, values.get("tr", [])[:_MOST_HINTS])),
            bootstrap_peers=tuple(map(unquote, values.get("bs", [])[:_MOST_HINTS])),
            protocol_version=int(version),
        )

    def __str__(self) -> str:
        parts = [f"xt={_XT}{self.swarm_id.hex()}"]
        if self.display_name not in {None, "unnamed"}:
            parts.append(f"dn={quote(self.display_name or '', safe='')}")
        if self.keywords:
            parts.append("kw=" + ",".join(quote(word, safe="") for word in self.keywords))
        if self.protocol_version != 1:
            parts.append(f"v={self.protocol_version}")
        parts += [f"tr={quote(url, safe='')}" for url in self.trackers]
        parts += [f"bs={quote(place, safe='')}" for place in self.bootstrap_peers]
        return SCHEME + "&".join(parts)


def _refusal(code: ErrorName, reason: str) -> ManifestError:
    return ManifestError(code, {"reason": reason})
