"""Publishing and rolling back fold only the products of the release again, and give what a whole replay gives."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.folding import mixed_pages
from pagefold.engine.folding.mixed_pages import fingerprints_in
from pagefold.engine.replay import release_replayer
from pagefold.engine.replay.release_replayer import ReleaseReplayer
from pagefold.projections import DomainFold
from tests.releases.test_releases import WHO, Pages, model_with
from tests.support.small_shop import as_document, catalog, event, media, pages_of, price, say, section, with_channel

SKUS = [f"P-{each:03}" for each in range(120)]
NAMES = ["spring", "summer", "winter"]


def products(skus: Sequence[str] = SKUS) -> list[DomainEvent]:
    """Products with names and prices."""
    return [each for sku in skus for each in (catalog(sku, sku=sku), price("9.00", sku=sku))]


def said_by(release: str, sku: str, number: int = 1) -> list[DomainEvent]:
    """What a release says of a product."""
    named = {"localized": {"name": {"de": f"{release} {number}"}}}
    return [
        event("catalog", named, version=number, sku=sku, source=f"release/{release}"),
        event(
            "pricing",
            {"currency": "EUR", "amount": f"{number}.50"},
            version=number,
            sku=sku,
            channel="web-de",
            source=f"release/{release}",
        ),
    ]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The SKUs that are folded meanwhile, each as often as it is."""
    folded: list[str] = []
    fold = DomainFold.fold

    def count(self: DomainFold, sku: str, *rest: object) -> object:
        folded.append(sku)
        return fold(self, sku, *rest)  # type: ignore[arg-type]  # as it was called

    with monkeypatch.context() as patched:
        patched.setattr(DomainFold, "fold", count)
        yield folded


@pytest.fixture
async def prepared(shop: Shop) -> Shop:
    """A shop with a release about two products, and about a new one."""
    await say(shop, *products())
    await shop.releases.create("summer", **WHO)
    await say(shop, *said_by("summer", SKUS[7]), *said_by("summer", SKUS[99]), *said_by("summer", "NEW"))
    return shop


async def test_only_the_products_of_the_release_are_folded(prepared: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published and rolled back, each of them once a domain; then every page is as a whole replay leaves it."""
    concerned = sorted(["NEW", SKUS[7], SKUS[99]] * 2)  # in catalog and pricing
    before = await pages_of(prepared)
    for change in (prepared.releases.publish, prepared.releases.roll_back):
        with counted(monkeypatch) as folded:
            await change("summer", **WHO)
            await prepared.catch_up()
        assert sorted(folded) == concerned
        await assert_as_after_a_whole_replay(prepared)
    assert await pages_of(prepared) == before
    assert await prepared.store.pages.skus("catalog", "M", 1) == [SKUS[0]], "nothing of the new product is left"


async def assert_as_after_a_whole_replay(shop: Shop) -> None:
    """Nothing differs from the log, and folding every page again changes nothing."""
    pages = await pages_of(shop)
    assert (await shop.verify()).changed == 0
    assert (await shop.replay()).changed == 0
    assert await pages_of(shop) == pages


async def test_a_release_that_is_published_beside_another_change_folds_everything(
    prepared: Shop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that take both at once cannot tell which pages stay."""
    await prepared.releases.publish("summer", **WHO)
    other = with_channel(config, "web-de", locale="en-US")
    async with pagefold.open(other) as shop:
        with counted(monkeypatch) as folded:
            await shop.catch_up()
        assert set(folded) == {*SKUS, "NEW"}
        await assert_as_after_a_whole_replay(shop)
        assert "summer" not in str(await section(shop, "catalog", sku=SKUS[7])), "it names it in German only"
        assert (await section(shop, "pricing", sku=SKUS[7]))["amount"] == "1.50"


async def test_a_worker_that_ends_in_the_middle(
    prepared: Shop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one folds these products again, also if the release was rolled back meanwhile, and another published."""
    await prepared.releases.create("winter", **WHO)
    await say(prepared, *said_by("winter", SKUS[50]))
    await prepared.releases.publish("summer", **WHO)
    await end_in_the_middle(config, monkeypatch)
    checkpoints = {each.domain: each.fingerprint for each in await prepared.store.coordination.checkpoints()}
    assert len(fingerprints_in(str(checkpoints["catalog"]))) == 2
    await prepared.releases.roll_back("summer", **WHO)
    await prepared.releases.publish("winter", **WHO)
    with counted(monkeypatch) as folded:
        async with pagefold.open(config) as shop:
            await shop.catch_up()
    assert set(folded) == {"NEW", SKUS[7], SKUS[50], SKUS[99]}
    await prepared.refresh()
    await assert_as_after_a_whole_replay(prepared)
    assert (await section(prepared, "catalog", sku=SKUS[7]))["attributes"]["name"] == f"{SKUS[7]} (de)"
    assert (await section(prepared, "catalog", sku=SKUS[50]))["attributes"]["name"] == "winter 1"


async def end_in_the_middle(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker folds one product of a release in each domain, and is stopped."""
    fold = ReleaseReplayer._fold  # where it is stopped

    async with pagefold.open(config) as shop:
        with monkeypatch.context() as patched, anyio.CancelScope() as scope:

            async def stop(self: ReleaseReplayer, *rest: object) -> int:
                done = await fold(self, *rest)  # type: ignore[arg-type]  # as it was called
                scope.cancel()
                return done

            patched.setattr(release_replayer, "TRANSACTION_SKUS", 1)
            patched.setattr(ReleaseReplayer, "_fold", stop)
            await shop.work(["catalog"])
        assert scope.cancelled_caught


async def test_pages_of_too_many_configurations_are_all_folded(
    prepared: Shop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint names some of them; with more, it may be any."""
    monkeypatch.setattr(mixed_pages, "MAX_FINGERPRINTS", 2)
    await prepared.releases.create("winter", **WHO)
    await prepared.releases.publish("summer", **WHO)
    await end_in_the_middle(config, monkeypatch)
    await prepared.releases.publish("winter", **WHO)
    with counted(monkeypatch) as folded:
        await prepared.catch_up()
    assert set(folded) >= set(SKUS)
    await assert_as_after_a_whole_replay(prepared)


# --- any order -----------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.sampled_from(["publish", "roll back"]), st.sampled_from(NAMES)),
    st.tuples(st.just("say"), st.sampled_from(NAMES), st.sampled_from(["A", "B", "C", "NEW"]), st.booleans()),
    st.tuples(st.just("fold")),
)


@given(steps=st.lists(STEPS, min_size=4, max_size=14))
@settings(max_examples=8)
async def test_pages_are_those_of_the_model_whatever_happens(
    store_url: str, config: Config, steps: Sequence[Sequence[str]]
) -> None:
    """After any publications, rollbacks and statements, folded now and then: the model's pages, and no drift."""
    async with pagefold.open(config) as shop:
        prefix = f"{await shop.store.log.end():09}-"
        said = products([prefix + sku for sku in ("A", "B", "C")])
        said += [media("a.webp", sku=prefix + "A")]
        await say(shop, *said)
        for name in NAMES:
            if name not in [each.release.name for each in await shop.releases.all()]:
                await shop.releases.create(name, **WHO)
        for number, (what, *about) in enumerate([*steps, ("fold",)], start=1):
            published = list(shop.applied.config.releases)
            if what == "say":
                name, sku, withdraws = about
                for each in said_by(name, prefix + sku, number):
                    said.append(
                        event(
                            each.type,
                            None if withdraws else each.payload,
                            version=number,
                            channel=each.channel,
                            sku=each.sku,
                            source=each.source,
                        )
                    )
                    assert (await shop.append(said[-1:]))[0].outcome == "appended"
            elif what == "publish" and about[0] not in published:
                await shop.releases.publish(about[0], **WHO)
            elif what == "roll back" and about[0] in published:
                await shop.releases.roll_back(about[0], **WHO)
            else:
                await shop.catch_up()
                assert await own_pages(shop, prefix) == modelled(config, shop.applied.config.releases, said)
                assert (await shop.verify()).changed == 0


def modelled(config: Config, releases: Sequence[str], said: Sequence[DomainEvent]) -> Pages:
    """The pages that the model makes of events, of which drafts say nothing."""
    model = model_with(config, *(f"release/{name}" for name in releases))
    for each in said:
        if not each.source.startswith("release/") or each.source.removeprefix("release/") in releases:
            model.submit(as_document(each))
    return {key: model.page(*key, disabled=True) for key in model.pages()}


async def own_pages(shop: Shop, prefix: str) -> Pages:
    """The pages of one example."""
    return {key: page for key, page in (await pages_of(shop)).items() if key[0].startswith(prefix)}
