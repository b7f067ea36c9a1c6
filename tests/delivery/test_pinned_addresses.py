"""A target is reached at the address that was checked, and at no private one that is not listed."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.delivery.kinds.http import HttpTarget
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.pinned_addresses import AddressRefusedError, PinnedAddresses, is_allowed
from pagefold.engine.delivery.target_kind import Item, PageKey, Taken, Unavailable
from tests.support.fake_endpoint import Reply, serving

LOCAL = ["127.0.0.0/8"]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("0.0.0.0", False),  # noqa: S104  # nothing listens
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("2001:db8::1", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("64:ff9b:1::10.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("5f00::1", False),
    ],
)
def test_which_addresses_are_public(address: str, *, allowed: bool) -> None:
    """Also of those that contain another address."""
    assert is_allowed(ip_address(address), []) is allowed


def test_listed_networks() -> None:
    """An address in one is allowed, also written as one of IPv6; others of the same kind are not."""
    networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert is_allowed(ip_address("10.1.2.3"), networks)
    assert is_allowed(ip_address("::ffff:10.1.2.3"), networks)
    assert is_allowed(ip_address("fd00::1"), networks)
    assert not is_allowed(ip_address("192.168.0.1"), networks)


class Names:
    """A name server whose answers change: the usual trick is a public address first, and a private one then."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_name_that_moves_to_a_private_address() -> None:
    """What was checked is used; a second look finds the private address, and refuses it by name."""
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    addresses = PinnedAddresses("shop.example", 443, [], names)
    assert await addresses.current() == ["93.184.215.14"]
    assert await addresses.current() == ["93.184.215.14"]
    assert names.asked == 1
    addresses.forget()
    with pytest.raises(
        AddressRefusedError, match=r"shop\.example leads to 127\.0\.0\.1: private addresses are refused"
    ):
        await addresses.current()


async def test_a_name_with_several_addresses() -> None:
    """Private ones among them are left out."""
    addresses = PinnedAddresses("shop.example", 443, [], Names(["10.0.0.1", "93.184.215.14", "::1"]))
    assert await addresses.current() == ["93.184.215.14"]


async def test_a_name_that_leads_nowhere() -> None:
    """The message says so."""
    with pytest.raises(AddressRefusedError, match="cannot be resolved"):
        await PinnedAddresses("no-such-host.invalid", 443, []).current()


def item(sku: str = "A", document: bytes | None = b"{}") -> Item:
    """A page for a target."""
    return Item(PageKey(sku, "web-de"), document, "" if document is None else "t", 7, "k1")


def opened(http: HttpTargetConfig, addresses: PinnedAddresses | None = None) -> HttpTarget:
    """A target, whose name leads to these addresses."""
    return HttpTarget("x", TargetConfig(http=http), http, Outside(addresses=addresses))


async def test_nothing_is_sent_to_a_private_address() -> None:
    """Neither by the address's own host, nor by a name, nor by a redirect from an allowed one."""
    async with serving(lambda _: Reply()) as inside:
        target = HttpTargetConfig(url=inside.url)
        async with opened(target) as kind:
            [answer] = (await kind.deliver([item()])).items
        assert isinstance(answer, Unavailable)
        assert "private addresses are refused" in answer.text
        port = inside.url.rpartition(":")[2]
        target = HttpTargetConfig(url=f"http://shop.example:{port}")
        names = PinnedAddresses("shop.example", int(port), [], Names(["127.0.0.1"]))
        async with opened(target, names) as kind:
            [answer] = (await kind.deliver([item()])).items
        assert isinstance(answer, Unavailable)
        async with serving(lambda _: Reply(status=307, headers={"location": inside.url})) as redirecting:
            target = HttpTargetConfig(url=redirecting.url, networks=LOCAL)
            async with opened(target) as kind:
                [answer] = (await kind.deliver([item()])).items
        assert isinstance(answer, Unavailable)
        assert "redirects are not followed" in answer.text
        assert inside.asked == []


async def test_the_name_stays_in_the_request() -> None:
    """The connection goes to the address; the server sees the name that is configured."""
    async with serving(lambda _: Reply()) as server:
        port = server.url.rpartition(":")[2]
        target = HttpTargetConfig(url=f"http://shop.example:{port}/hooks?shop=1", networks=LOCAL)
        names = PinnedAddresses("shop.example", int(port), LOCAL, Names(["127.0.0.1"]))
        async with opened(target, names) as kind:
            [answer] = (await kind.deliver([item()])).items
        assert answer == Taken("200 OK")
        [asked] = server.asked
        assert asked.headers["host"] == f"shop.example:{port}"
        assert (asked.path, asked.query) == ("/hooks", {"shop": "1"})
