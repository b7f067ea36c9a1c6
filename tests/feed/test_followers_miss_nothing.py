"""Whatever happens, and whenever followers read: at the end they have exactly the pages of the store."""

from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import NamedTuple

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from pagefold.engine.errors import Rejected
from pagefold.engine.feed.page_change import FeedSelection
from pagefold.engine.stores.dead_letter_records import DeadLetterHeader
from pagefold.projections import sections_of, shared_sections
from tests.support.page_follower import PageFollower, tags_of
from tests.support.rebuild_fixtures import without_channel
from tests.support.small_shop import CHANNELS, SOURCES, SPEAKS, Raw, append, configured, event, with_channel

SKUS = ("MODEL", "A", "B", "C/%")
RELATED = {"name": "links", "checks": [{"fields": ["parent"], "in_catalog": True}]}
PAYLOADS: Mapping[str, Callable[[int], object]] = {
    "catalog": lambda n: {"attributes": {"code": f"c{n}"}, "parent": "MODEL"},
    "pricing": lambda n: {"currency": "EUR", "amount": f"{n}.00"},
    "inventory": lambda n: {"available": n % 3},
    "media": lambda n: {"assets": [{"url": f"{n}.webp"}]},
}
SELECTIONS = (
    FeedSelection(),
    FeedSelection(channels=frozenset(["web-de", "outlet-de"])),
    FeedSelection(prefix="C/"),
    FeedSelection(channels=frozenset(["web-us"]), prefix="M"),
)
BAD = "BAD/*/pricing/erp"


def family(url: str) -> Config:
    """The small shop, whose `pim` inherits; one channel asks whether parents exist. It applies only what it is told."""
    sources = {name: {"domains": domains} for name, domains in SOURCES.items()}
    sources["pim"]["inherit"] = {}  # type: ignore[assignment]  # a table like any other
    config = msgspec.structs.replace(configured(url, sources=sources), apply="never")
    return with_channel(config, "market-at", requirements=[RELATED])


CONFIGURATIONS: tuple[Callable[[Config], Config], ...] = (
    lambda config: config,
    lambda config: without_channel(config, "outlet-de"),
    lambda config: with_channel(config, "web-de", requires=["catalog"]),
    lambda config: with_channel(without_channel(config, "web-us"), "web-de", locale="en-US"),
)

numbers = count(1)


class World(NamedTuple):
    """A shop, another process that reads the same store, and followers of both."""

    shop: Shop
    other: Shop
    followers: list[PageFollower]
    bad: DeadLetterHeader

    async def say(self, domain: str, sku: str, channel: str, *, withdraws: bool) -> None:
        """Appends an event, if its channel counts now. Consumers have not folded it yet."""
        number = next(numbers)
        payload = None if withdraws else dict(PAYLOADS[domain](number))  # type: ignore[call-overload]  # all are tables
        if sku == "MODEL" and payload:
            payload.pop("parent", None)
        if channel == "web-us" and domain == "pricing" and payload:
            payload["currency"] = "USD"
        await self.shop.append([event(domain, payload, version=number, sku=sku, channel=channel)])

    async def fold(self, domains: list[str]) -> None:
        """Folds some domains."""
        await self.shop.catch_up(domains)

    async def corrupt(self, sku: str, readers: list[int]) -> None:
        """Changes a section, or removes it, behind the log's back. Some followers see it before it is repaired."""
        for domain in ("catalog", "pricing"):
            async with self.shop.store.coordination.fold_transaction(domain) as folding:
                found = [each for each in sections_of(await folding.sections([sku, "BAD"])) if each.body is not None]
                if found:
                    await folding.write(shared_sections(each._replace(body=b"{}") for each in found))
                await folding.remove(["B"] if sku == "A" else [])
        for number in readers:
            await self.step(number, crashes=False)
        await self.shop.replay()

    async def retry(self) -> None:
        """Folds the stream of a dead letter again."""
        await self.shop.dead_letters.retry(self.bad, by="ada")

    async def apply(self, number: int) -> None:
        """Applies another configuration."""
        plan = await self.shop.plan(CONFIGURATIONS[number](self.shop.config))
        await self.shop.apply(plan, by="ada", reason="a test")

    async def release(self, *, publishes: bool) -> None:
        """Publishes a release, or rolls it back."""
        try:
            if publishes:
                await self.shop.releases.publish("summer", by="ada", reason="a test")
            else:
                await self.shop.releases.roll_back("summer", by="ada", reason="a test")
        except Rejected:
            pass  # it is published already, or not

    async def refresh(self) -> None:
        """The other process takes what was applied."""
        await self.other.refresh()

    async def step(self, number: int, *, crashes: bool) -> None:
        """A follower reads a step."""
        await self.followers[number].step(crashes=crashes)


class Action(NamedTuple):
    """A method of the world, by name, and its arguments."""

    name: str
    arguments: dict[str, object]


def doing(method: Callable[..., Awaitable[None]], **given: st.SearchStrategy[object]) -> st.SearchStrategy[Action]:
    """Calls of a method."""
    return st.builds(Action, st.just(method.__name__), st.fixed_dictionaries(given))


skus, domains = st.sampled_from(SKUS), st.sampled_from(list(SPEAKS))
channels = st.sampled_from(["*", "*", "web-de", "web-us"])
readers = st.integers(0, 2 * len(SELECTIONS) - 1)
steps = doing(World.step, number=readers, crashes=st.booleans())
actions = st.lists(
    st.one_of(
        doing(World.say, domain=domains, sku=skus, channel=channels, withdraws=st.sampled_from([False, False, True])),
        steps,
        steps,
        doing(World.fold, domains=st.lists(domains, min_size=1, unique=True)),
        doing(World.corrupt, sku=skus, readers=st.lists(readers, max_size=4)),
        doing(World.retry),
        doing(World.apply, number=st.integers(0, len(CONFIGURATIONS) - 1)),
        doing(World.release, publishes=st.booleans()),
        doing(World.refresh),
    ),
    min_size=5,
    max_size=25,
)


async def prepared(shop: Shop) -> DeadLetterHeader:
    """A shop with a release that is not published, and an event that cannot be folded."""
    if not await shop.releases.all():
        await shop.releases.create("summer", by="ada", reason="a test")
        said = {"attributes": {"code": "summer"}}
        await append(shop, event("catalog", said, sku="MODEL", source="release/summer"))
        await append(shop, event("pricing", {"currency": "EUR", "amount": "1.00"}, sku="BAD"))
        await shop.store.log.insert([Raw(BAD, 2, "pricing", b"{}")])
    await shop.catch_up()
    return (await shop.dead_letters.newest(kind="projection"))[0]


@given(given_actions=actions)
@settings(max_examples=15, phases=[Phase.generate])
async def test_followers_have_exactly_the_pages(store_url: str, given_actions: list[Action]) -> None:
    """Through parents, names, repairs, configurations, releases, retries; at any moment; after crashes of followers."""
    config = family(store_url)
    async with pagefold.open(config) as shop, pagefold.open(config) as other:
        shops, limits = (shop, other), (1_000, 3, 1, 7)
        followers = [
            PageFollower(each, selection, limit)
            for each in shops
            for selection, limit in zip(SELECTIONS, limits, strict=True)
        ]
        world = World(shop, other, followers, await prepared(shop))
        for act in given_actions:
            await getattr(world, act.name)(**act.arguments)
        await shop.catch_up()
        await other.refresh()
        for index, follower in enumerate(followers):
            selection = SELECTIONS[index % len(SELECTIONS)]
            assert await follower.catch_up() == await tags_of(shop, selection), selection
            assert follower.resets == 0


def test_every_domain_and_channel_is_tried() -> None:
    """The actions know all of them."""
    assert {domain.name for domain in DOMAINS} == set(PAYLOADS)
    assert {"web-de", "web-us", "outlet-de", "market-at"} == set(CHANNELS)
