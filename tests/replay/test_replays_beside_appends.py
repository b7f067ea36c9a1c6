"""Replays while events are appended: what they leave to a consumer is right until it comes, on both stores."""

import pytest

from pagefold import Shop
from pagefold.domains import DOMAINS
from pagefold.engine.replay.replayer import Replayer
from pagefold.engine.replay.section_verifier import SectionVerifier
from tests.support.rebuild_fixtures import Intruder
from tests.support.small_shop import a_section, append, catalog, say


async def test_sections_of_a_former_log_do_not_outlive_a_replay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SKU has sections and no events; its first event arrives between the scan and the search for such SKUs."""
    await say(shop, catalog("a", sku="A"))
    Intruder(shop.config.store.url).put([a_section("B", channel, "catalog") for channel in ("web-de", "web-us")])
    counted = shop.store.pages.count

    async def count_later(domain: str) -> int:
        await append(shop, catalog("b", sku="B", channel="web-de"))
        return await counted(domain)

    monkeypatch.setattr(shop.store.pages, "count", count_later)
    await Replayer(shop.store, SectionVerifier(shop.store, DOMAINS[0], shop.config)).run()
    shown = {channel: await shop.store.pages.sections("B", channel) for channel in ("web-de", "web-us")}
    assert list(shown["web-us"]) == []
    assert [section[3] for section in shown["web-de"]] == [b'{"catalog/pim":1}']
