"""What a domain is: the contract that each file of this package keeps.

A domain is pure. It says what a source may state about a SKU (`payload`), which statements a page may use (`admit`,
`fits`), and how the statements of all sources become one section of one page (`fold`). It knows no store, no clock and
no event loop.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

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
    """What a domain may know of a channel.

    `locales` is the chain to try for a text, most wanted first (`de-AT`, `de`, then the fallbacks); `currency` is the
    ISO 4217 code of every price of the channel.
    """

    locales: tuple[str, ...]
    currency: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of the payloads of one source: whether a price of zero is one."""

    zero_price: bool = True


class Contribution(msgspec.Struct, Generic[Payload], frozen=True, gc=False):
    """One source's word for one section. Contributions come in the order in which the channel ranks its sources."""

    source: str
    payload: Payload


class SectionBody(msgspec.Struct, frozen=True, gc=False):
    """A section as it will be served: canonical JSON (keys sorted, no spaces), and whether the domain is ready."""

    json: bytes
    ready: bool = True


def same_for_all(_view: ChannelContext) -> Hashable:
    """The answer of the domains whose sections are the same in every channel."""
    return None


_canonical = msgspec.json.Encoder(order="sorted")  # orjson is a little faster, but keeps 4 KiB for every result


def encode(body: object) -> bytes:
    """Canonical JSON: keys sorted at every level, no spaces, UTF-8 unescaped."""
    return _canonical.encode(body)


def encode_all(bodies: Sequence[object]) -> list[bytes]:
    """Each of them as `encode` gives it."""
    return _canonical.encode_lines(bodies).splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain(Generic[Payload]):
    """One domain. Everything the rest of Pagefold needs to know of it.

    `payload` is a msgspec struct that forbids unknown fields and omits defaults; its JSON with sorted keys is the
    canonical content by which two statements of one version are compared.

    `admit(payload)` is asked once, at the door: it gives the payload in its canonical form, or raises `InvalidPayload`.

    `fits(payload, view)` gives what keeps a payload from being meant for a channel, or None when it can be. A
    statement made for that very channel is refused with this reason; one made for every channel (`*`) merely does
    not count there. Without it, every statement suits every channel.

    `violates(payload, rules)` gives what the configuration forbids the source of a payload to state, or None. It is
    asked at the door alone: what is in the log counts. Without it, there is nothing that could be forbidden.

    `upcast(payload)` gives a payload of the log as `fold` takes it: a log can be older than a rule. Without it, every
    payload is taken as it is.

    `fold(contributions, view)` gives the section, from one or more contributions, or None when the section is disabled.
    It must not depend on anything but its arguments.

    `depends_on(view)` is what of the channel `fold` looks at: channels that agree on it share the folded bytes.

    `gives_identity` marks the domain without which a page is not shown at all.

    `fold_version` is raised with every change of the code after which the same log gives other sections: then pages
    that were folded before are folded again.
    """

    name: str
    payload: type[Payload]
    fold: Callable[[Sequence[Contribution[Payload]], ChannelContext], SectionBody | None]
    admit: Callable[[Payload], Payload] = lambda payload: payload
    fits: Callable[[Payload, ChannelContext], InvalidPayload | None] | None = None
    violates: Callable[[Payload, Rules], InvalidPayload | None] | None = None
    upcast: Callable[[Payload], Payload] | None = None
    depends_on: Callable[[ChannelContext], Hashable] = same_for_all
    gives_identity: bool = False
    fold_version: int = 1


AnyDomain: TypeAlias = Domain[Any]
"""A domain whose payload type does not matter. `Any`, because a domain both takes and gives its payload (invariant)."""


DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
