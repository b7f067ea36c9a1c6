"""The addresses that a target's name leads to: resolved here, checked, and then connected to as they are.

Who checks a name and then connects to the name is led elsewhere by a second answer of the same name server. So a name
is resolved once, what is found is checked, and requests go to that very address. An address of a private network is
refused, unless the configuration lists the network: with control of a DNS record, a stranger could otherwise reach what
is protected only by being inside.
"""

import socket
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import anyio

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, in the order in which they should be tried. Raises `OSError`."""

KEPT_SECONDS = 30.0
"""How long resolved addresses are used: names move, and a service that has moved should be followed."""

RESOLVE_SECONDS = 5.0

TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a translator shows them (RFC 6052): the last four bytes are the address."""


GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is assigned for public use."""


class AddressRefusedError(OSError):
    """The name leads nowhere, or to nothing but private addresses that the configuration does not list."""


class PinnedAddresses:
    """The addresses of one name that may be connected to. `networks` are private ones that are allowed."""

    def __init__(self, host: str, port: int, networks: Collection[str], resolve: Resolve | None = None) -> None:
        self._host, self._port = host, port
        self._networks = [ip_network(network) for network in networks]
        self._resolve = resolve or resolve_name
        self._found: Sequence[str] = ()
        self._resolved_at = float("-inf")
        self._turn = anyio.Lock()

    async def current(self) -> Sequence[str]:
        """The addresses, at least one. Raises `AddressRefusedError` if there is none that may be connected to."""
        async with self._turn:
            if time.monotonic() > self._resolved_at + KEPT_SECONDS:
                self._found = self._allowed(await self._look_up())
                self._resolved_at = time.monotonic()
            return self._found

    def forget(self) -> None:
        """Resolves the name anew the next time: it could not be connected to."""
        self._resolved_at = float("-inf")

    async def _look_up(self) -> Sequence[str]:
        try:
            with anyio.fail_after(RESOLVE_SECONDS):
                return await self._resolve(self._host, self._port)
        except TimeoutError:
            problem = f"{self._host}: the name was not resolved within {RESOLVE_SECONDS:g} s"
            raise AddressRefusedError(problem) from None
        except (OSError, UnicodeError) as error:
            problem = f"{self._host}: the name cannot be resolved: {getattr(error, 'strerror', None) or error}"
            raise AddressRefusedError(problem) from None

    def _allowed(self, found: Sequence[str]) -> Sequence[str]:
        allowed = [each for each in dict.fromkeys(found) if is_allowed(ip_address(each), self._networks)]
        if not allowed:
            shown = ", ".join(found) or "no address"
            problem = f"{self._host} leads to {shown}: private addresses are refused unless `networks` lists them"
            raise AddressRefusedError(problem)
        return allowed


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system resolves it."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]).partition("%")[0] for each in found]


def is_allowed(address: Address, networks: Collection[Network]) -> bool:
    """Whether an address may be connected to: it is public, or in one of these networks.

    An address that contains another one (mapped, translated, 6to4, Teredo) is allowed if both are.
    """
    if any(address in network for network in networks):
        return True
    inner = inner_address(address)
    if inner is not None:
        return is_allowed(inner, networks) and (address in TRANSLATED or is_mapped(address) or _is_public(address))
    return _is_public(address)


def is_mapped(address: Address) -> bool:
    """Whether it is an IPv4 address that is written as one of IPv6."""
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def inner_address(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to; None if it leads to none."""
    if isinstance(address, IPv4Address):
        return None
    if address in TRANSLATED:
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo is not None else None)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST and not is_mapped(address):
        return address in TRANSLATED
    return address.is_global and not address.is_multicast
