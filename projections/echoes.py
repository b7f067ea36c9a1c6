"""Echoes: statements by which a system that is a target and a source says no more than what it was sent. Pure.

Of what a target is sent of a page, a receipt keeps what is needed to recognise it: a digest of each entry, by its
place. A statement is an echo if everything that it says was sent so, or is what its source has said before and was not
sent; and if it leaves out nothing that its source has said before. It is also one if it repeats its source's own
newest statement: a system that answers each delivery with what it has anyway would never end otherwise.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from xxhash import xxh3_64_digest, xxh32_digest

from pagefold.domains import DOMAINS, ChannelContext
from pagefold.domains.domain import DECODE_ERRORS, Entries, Said, encode
from pagefold.domains.fold_trace import Path

NULL = b"null"

DISABLED = encode({"enabled": False})
"""What a source says of a product that it no longer shows, and nothing else."""

_PLACE_BYTES = 4
_ENTRY_BYTES = 12
"""Bytes of an entry: the digest of its place, and that of its value."""

_domains = {domain.name: (domain, msgspec.json.Decoder(domain.payload)) for domain in DOMAINS}
_encode_receipt = msgspec.msgpack.Encoder().encode


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """What a target was last sent of a page, made of the page up to `position`, with the `tag` of its document.

    `versions` are the page's `sourceVersions`. Without `entries`, it was a withdrawal, or is not known by entry.
    """

    position: int
    tag: str
    versions: dict[str, int]
    entries: bytes = b""

    @property
    def is_withdrawal(self) -> bool:
        """Whether the target was sent that there is no page."""
        return not self.tag


_decode_receipt = msgspec.msgpack.Decoder(Receipt).decode


def receipt_of(page: Mapping[str, object] | None, sent: Mapping[str, object] | None, position: int, tag: str) -> bytes:
    """The receipt of a page of which this part was sent, encoded. None if there is no page, or nothing was sent."""
    entries = [
        _place(domain.name, path) + _value(value)
        for domain in DOMAINS
        if sent is not None and isinstance(section := sent.get(domain.name), dict)
        for path, value in domain.shows(section).items()
    ]
    versions = {} if page is None else page.get("sourceVersions", {})
    return _encode_receipt(Receipt(position, tag, msgspec.convert(versions, dict[str, int]), b"".join(entries)))


def parse_receipt(text: bytes | None) -> Receipt | None:
    """The receipt; None if there is none, or one of another version."""
    try:
        return None if text is None else _decode_receipt(text)
    except msgspec.MsgspecError:
        return None


def _place(domain: str, path: Path) -> bytes:
    return xxh32_digest(encode([domain, *path]))


def _value(value: object) -> bytes:
    return xxh3_64_digest(encode(value))


class Statement(NamedTuple):
    """What a source says of a domain: its canonical payload, and the newest one that is in the log, if there is one."""

    domain: str
    source: str
    payload: bytes
    before: bytes | None


def is_echo(statement: Statement, receipts: Sequence[tuple[Receipt, ChannelContext]]) -> bool:
    """Whether a statement says only what its source was sent, by the receipts of all channels that it is about."""
    if not receipts or statement.payload == statement.before:
        return bool(receipts)
    live = [each for each in receipts if not each[0].is_withdrawal]
    if statement.payload == NULL or not live:
        return not live and statement.payload in (NULL, DISABLED)
    domain, decoder = _domains[statement.domain]
    try:
        payload = decoder.decode(statement.payload)
        before = None if statement.before in (None, NULL) else decoder.decode(statement.before or NULL)
    except DECODE_ERRORS:
        return False
    seen: set[Path] = set()
    unseen: set[Path] = set()
    for receipt, context in live:
        said = domain.says(payload, context, statement.source)
        own = {} if before is None else domain.says(before, context, statement.source)
        if own.keys() - said.keys() or not _Sent(statement.domain, receipt).sort(said, own, seen, unseen):
            return False
    return bool(seen) and unseen <= seen


class _Sent:
    """What a receipt has of one domain."""

    def __init__(self, domain: str, receipt: Receipt) -> None:
        self._domain = domain
        entries = receipt.entries
        self._values = {
            entries[start : start + _PLACE_BYTES]: entries[start + _PLACE_BYTES : start + _ENTRY_BYTES]
            for start in range(0, len(entries), _ENTRY_BYTES)
        }

    def sort(self, said: Mapping[Path, Said], own: Mapping[Path, Said], seen: set[Path], unseen: set[Path]) -> bool:
        """Adds what is said to what was sent or said before, or to what was not. False if something else was sent."""
        for path, each in said.items():
            if self._shows(each):
                seen.add(path)
            elif self._contradicts(each):
                return False
            else:
                (seen if path in own and own[path].value == each.value else unseen).add(path)
        return True

    def _shows(self, said: Said) -> bool:
        return any(self._has(way) for way in said.ways)

    def _contradicts(self, said: Said) -> bool:
        return any(_place(self._domain, path) in self._values for way in said.ways for path, _ in way)

    def _has(self, entries: Entries) -> bool:
        return all(self._values.get(_place(self._domain, path)) == _value(value) for path, value in entries)
