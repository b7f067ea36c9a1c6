"""The contract of a domain, which every file of this package keeps.

A domain is pure. It defines what a source may send for a SKU (`payload`), which payloads are valid (`validate`,
`channel_mismatch`), and how the payloads of all sources become one section of one page (`fold`). It has no access to
stores, clocks or the event loop.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from pagefold.domains.channel_view import ChannelView
from pagefold.domains.fold_trace import FoldTrace, Path

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

Payload = TypeVar("Payload", bound=msgspec.Struct)


class InvalidPayload(ValueError):
    """A payload breaks a rule that its type cannot express. `path` is inside the payload, such as `amount`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ChannelContext:
    """The part of a channel's configuration that a domain sees.

    `locales` are tried in order for a text (`de-AT`, `de`, then the fallbacks); `currency` is the ISO 4217 code of all
    prices of the channel. `view` is what the channel shows and requires of a product; None if it has no such rules.
    """

    locales: tuple[str, ...]
    currency: str
    view: ChannelView | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The configured rules for the payloads of one source: whether a price may be zero."""

    zero_price: bool = True


class Contribution(msgspec.Struct, Generic[Payload], frozen=True, gc=False):
    """One source's payload for one section. Contributions come in the order in which the channel ranks its sources."""

    source: str
    payload: Payload


class SectionBody(msgspec.Struct, frozen=True, gc=False):
    """A section as it is served: canonical JSON (keys sorted, no spaces), and whether the domain is ready."""

    json: bytes
    ready: bool = True


Entries: TypeAlias = tuple[tuple[Path, object], ...]
"""Entries of a section, each with its place and value."""


class Said(NamedTuple):
    """One thing that a payload says: its value, and the ways in which a section shows it, of which any one is enough.

    Without a way, sections of the channel do not show it.
    """

    value: object
    ways: tuple[Entries, ...] = ()


def says_fields(payload: msgspec.Struct, _context: ChannelContext, _source: str) -> dict[Path, Said]:
    """The `says` of domains whose sections have the fields of a payload."""
    return {(name,): Said(value, ((((name,), value),),)) for name, value in fields_of(payload).items()}


def shows_fields(section: Mapping[str, object]) -> dict[Path, object]:
    """The `shows` of domains whose sections have the fields of a payload."""
    return {(name,): value for name, value in section.items()}


def same_for_all(_context: ChannelContext) -> Hashable:
    """The `varies_by` of domains whose sections are the same in every channel."""
    return None


_canonical = msgspec.json.Encoder(order="sorted")  # orjson is a little faster, but keeps 4 KiB for every result


def encode(body: object) -> bytes:
    """Canonical JSON: keys sorted at every level, no spaces, UTF-8 unescaped."""
    return _canonical.encode(body)


def fields_of(payload: msgspec.Struct) -> dict[str, object]:
    """The fields of a payload, by the name and with the value that they have in JSON. Without defaults."""
    fields: dict[str, object] = msgspec.to_builtins(payload)
    return fields


def encode_all(bodies: Sequence[object]) -> list[bytes]:
    """Encodes each body as `encode` does."""
    return _canonical.encode_lines(bodies).splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain(Generic[Payload]):
    """One domain: everything the rest of Pagefold needs to know about it.

    `payload` is a msgspec struct that forbids unknown fields and omits defaults. Its JSON with sorted keys is the
    canonical content by which two events of one version are compared.

    `validate(payload)` runs once, before an event is appended. It returns the payload in canonical form, or raises
    `InvalidPayload`.

    `channel_mismatch(payload, context)` returns why a payload cannot be used in a channel, or None. An event for that
    very channel is then rejected; an event for every channel (`*`) is ignored there. Without it, every payload fits
    every channel.

    `violates(payload, rules)` returns which configured rule of its source a payload breaks, or None. It is checked only
    before an append: what is in the log counts. Without it, there are no such rules.

    `upcast(payload)` returns a stored payload as `fold` expects it, since a log can be older than a rule. Without it,
    payloads are used as stored.

    `references(payload)` returns the ids under which other systems know the SKU, by kind. Without it, the domain has
    none. The consumer keeps them beside the sections; no page shows them.

    `parent_field` names the field of the payload that names the product's parent. Without it, nothing is inherited.

    `inherit(payload, above, own)` returns a variant's payload laid over its parent's, without the parent's attributes
    in `own`. It is associative: where the parent has one too, either may be laid first.

    `fold(contributions, context, trace)` returns the section from one or more contributions, or None if it is disabled.
    It depends on nothing but its arguments. `trace` is None unless somebody asks why; then each decision is reported
    to it. What is not reported counts as made of all contributions.

    `varies_by(context)` returns what `fold` reads of the channel. Channels with equal values share the folded bytes.

    `says(payload, context, source)` returns what a payload says in a channel, by its place in the payload; `shows` the
    entries of a section, or of a part of one, as served. Together they tell whether a payload says anything that a
    section does not show.

    `has_view` says that `fold` uses the `view` of the channel.

    `gives_identity` marks the domain without which a page is not live.

    `fold_version` is increased with every code change after which the same log gives other sections. Existing pages are
    then folded again.
    """

    name: str
    payload: type[Payload]
    fold: Callable[[Sequence[Contribution[Payload]], ChannelContext, FoldTrace | None], SectionBody | None]
    validate: Callable[[Payload], Payload] = lambda payload: payload
    channel_mismatch: Callable[[Payload, ChannelContext], InvalidPayload | None] | None = None
    violates: Callable[[Payload, Rules], InvalidPayload | None] | None = None
    upcast: Callable[[Payload], Payload] | None = None
    references: Callable[[Payload], Mapping[str, Sequence[str]]] | None = None
    parent_field: str | None = None
    inherit: Callable[[Payload, Payload, Collection[str]], Payload] = lambda payload, _above, _own: payload
    varies_by: Callable[[ChannelContext], Hashable] = same_for_all
    says: Callable[[Payload, ChannelContext, str], Mapping[Path, Said]] = says_fields
    shows: Callable[[Mapping[str, object]], Mapping[Path, object]] = shows_fields
    has_view: bool = False
    gives_identity: bool = False
    fold_version: int = 1


AnyDomain: TypeAlias = Domain[Any]
"""A domain whose payload type does not matter. `Any`, because a domain both takes and returns its payload (invariant).
"""


DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
