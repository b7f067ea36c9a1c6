"""The configuration that counts: what a start applies by itself, what it holds, and who takes it when."""

from pathlib import Path
from typing import Literal

import anyio
import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from pagefold.engine.configuration.channel_config import ChannelConfig
from pagefold.engine.configuration.page_settings import ChannelSettings, PageSettings
from pagefold.engine.errors import PlanOutdated
from pagefold.engine.folding.mixed_pages import fingerprints_in
from pagefold.engine.http.fast_path import prepare_page
from tests.support.command_line import run_pagefold, settle
from tests.support.http_clients import client_of, service_of
from tests.support.processes import eventually
from tests.support.rebuild_fixtures import renamed, without_channel
from tests.support.small_shop import (
    ESSENTIALS,
    append,
    apply_file,
    catalog,
    configured,
    pages_of,
    price,
    say,
    stock,
    with_channel,
)

SKUS = [f"SKU-{number:02}" for number in range(24)]

Apply = Literal["always", "safe", "never"]

NOT_PAGES = {"cache_seconds", "stale_while_revalidate_seconds"}
"""Keys of a channel that its pages do not depend on."""


def applying(config: Config, how: Apply) -> Config:
    """The same configuration with another `apply`."""
    return msgspec.structs.replace(config, apply=how)


async def fill(shop: Shop) -> None:
    """Products with a price, folded."""
    await say(shop, *(catalog(sku, sku=sku) for sku in SKUS), *(price("5.00", sku=sku) for sku in SKUS))


def test_every_key_of_a_channel_is_applied_or_no_matter_of_pages() -> None:
    """A new key must be put into what is applied, or be named here."""
    assert set(ChannelConfig.__struct_fields__) == set(ChannelSettings.__struct_fields__) | NOT_PAGES


def test_settings_survive_the_log(config: Config) -> None:
    """What is applied gives the same channels, in the same order of sources, and nothing else changes."""
    settings = msgspec.json.decode(msgspec.json.encode(config.page_settings), type=PageSettings)
    other = renamed(without_channel(config, "web-us"), "erp", "sap")
    again = other.under(settings)
    assert {each.name: each for each in again.resolved_channels} == {
        each.name: each for each in config.resolved_channels
    }
    assert list(again.sources) == list(config.sources)
    assert again.page_settings.digest == config.page_settings.digest != other.page_settings.digest
    assert (again.store, again.work) == (config.store, config.work)


async def test_a_first_start_applies_what_it_finds(config: Config) -> None:
    """Whatever `apply` says; a second one applies nothing more."""
    for _ in range(2):
        async with pagefold.open(applying(config, "never")) as shop:
            await shop.catch_up()
            found = (await shop.status()).configuration
    assert found is not None
    assert (found.number, found.by, found.reason, found.held) == (0, "pagefold", "the first start", False)


@pytest.mark.parametrize("how", ["always", "safe", "never"])
async def test_a_renamed_source_is_held(config: Config, how: Apply) -> None:
    """Every price would go: only `always` lets it. Else pages stay, other events count, and everything says so."""
    async with pagefold.open(config) as shop:
        await fill(shop)
    changed = applying(renamed(config, "erp", "sap"), how)
    async with pagefold.open(changed) as shop:
        await append(shop, catalog("newer", sku=SKUS[0], version=2))
        await shop.catch_up()
        held = how != "always"
        pages = await pages_of(shop)
        assert (b'"amount":"5.00"' in (pages[SKUS[0], "web-de"] or b"")) == held
        assert b"newer" in (pages[SKUS[0], "web-de"] or b"")
        status = await shop.status()
        assert status.configuration is not None
        assert (status.configuration.held, status.configuration.number) == (held, 0 if held else 1)
        async with client_of(service_of(shop)) as client:
            answer = await client.get("/readyz")
            [check] = [each for each in answer.json()["checks"] if each["name"] == "configuration"]
            assert (answer.status_code, check["ok"], check["for"]) == (200, not held, [])
            metrics = (await client.get("/metrics")).text
            assert f'pagefold_check_ok{{check="configuration"}} {0.0 if held else 1.0}' in metrics
        assert (await shop.verify()).changed == 0
        await apply_file(shop)
        await shop.catch_up()
        assert b'"amount":"5.00"' not in ((await pages_of(shop))[SKUS[0], "web-de"] or b"")


async def test_what_takes_nothing_away_is_applied_at_a_start(config: Config) -> None:
    """Another locale whose texts are all there; not with `never`."""
    async with pagefold.open(config) as shop:
        await fill(shop)
    for how, number in (("never", 0), ("safe", 1)):
        async with pagefold.open(applying(with_channel(config, "web-de", locale="en-US"), how)) as shop:  # type: ignore[arg-type]  # one of them
            await shop.catch_up()
            assert shop.applied.number == number
            assert shop.applied.is_held == (how == "never")


async def test_five_pages_are_never_too_many(config: Config) -> None:
    """In a shop of five products, a start applies everything."""
    async with pagefold.open(config) as shop:
        await say(shop, *(price("5.00", sku=sku, channel="web-de") for sku in SKUS[:5]))
    async with pagefold.open(applying(renamed(config, "erp", "sap"), "safe")) as shop:
        await shop.catch_up()
        assert shop.applied.number == 1


async def test_what_is_required_decides_readiness_and_is_held_too(config: Config) -> None:
    """Sections stay the same bytes, and every page would be unready."""
    async with pagefold.open(config) as shop:
        await fill(shop)
        await say(shop, *(stock(3, sku=sku) for sku in SKUS))
    changed = applying(with_channel(config, "web-de", requires=[*ESSENTIALS, "media"]), "safe")
    async with pagefold.open(changed) as shop:
        await shop.catch_up()
        assert b'"ready":true' in (await shop.pages.get_json(SKUS[0], "web-de") or b"")
        assert shop.applied.is_held


async def test_workers_and_readers_take_what_is_applied(config: Config) -> None:
    """Without a restart, and whatever their own files say: pages are folded again, and read under it."""
    async with pagefold.open(config) as shop:
        await fill(shop)
    changed = without_channel(with_channel(config, "web-de", locale="en-US"), "outlet-de")
    never = applying(config, "never")
    async with (
        pagefold.open(never, work=True) as worker,
        pagefold.open(never) as reader,
        pagefold.open(changed) as operator,
        client_of(service_of(reader, reads_open=True)) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(reader.applied.follow)
        assert (await client.get(f"/v1/pages/outlet-de/{SKUS[0]}")).status_code == 200
        read = reader.pages.sync_reader(prepare_page)
        await apply_file(operator)

        async def is_taken() -> bool:
            page = await reader.pages.get_json(SKUS[0], "web-de")
            answer = await client.get(f"/v1/pages/outlet-de/{SKUS[0]}")
            return b"(en)" in (page or b"") and answer.status_code == 404

        await eventually(is_taken, "the applied configuration")
        assert read is None or read(SKUS[0], "outlet-de") is None
        await eventually(lambda: folds_under(worker, changed), "every page, folded again")
        assert (await operator.verify()).changed == 0
        group.cancel_scope.cancel()


async def folds_under(shop: Shop, config: Config) -> bool:
    """Whether all pages are folded under a configuration."""
    found = {each.domain: each.fingerprint for each in await shop.store.coordination.checkpoints()}
    return all(found.get(domain.name) == config.fingerprint(domain) for domain in DOMAINS)


async def test_streams_that_count_nowhere_are_named(config: Config) -> None:
    """Those of a source or a channel that the configuration does not know, by name; an application's are none."""
    async with pagefold.open(config) as shop:
        await fill(shop)
        await append(shop, price("1.00", currency="USD", channel="web-us", sku=SKUS[0]))
        assert (await shop.status()).unknown == []
    async with pagefold.open(without_channel(renamed(config, "erp", "sap"), "web-us")) as shop:
        await apply_file(shop)
        first, second = (await shop.status()).unknown
        assert (first.source, first.channel, first.streams, first.sampled) == ("erp", None, 24, 49)
        assert (second.source, second.channel, second.streams) == ("erp", "web-us", 1)


async def test_readiness_changes_where_no_section_does(config: Config) -> None:
    """A page that a reader remembers is made again when a channel requires other domains."""
    async with pagefold.open(config) as shop:
        await fill(shop)
        await say(shop, *(stock(3, sku=sku) for sku in SKUS))
        read = shop.pages.sync_reader(prepare_page)
        before = await shop.pages.get_many_json(SKUS, "web-de")
        assert all(b'"ready":true' in page for page in before.values())
        async with pagefold.open(with_channel(config, "web-de", requires=["media"])) as other:
            await apply_file(other)
        await shop.applied.refresh()
        after = await shop.pages.get_many_json(SKUS, "web-de")
        assert all(b'"ready":false' in page for page in after.values())
        found = None if read is None else read(SKUS[0], "web-de")
        assert found is None or found.body == after[SKUS[0]]


async def test_a_channel_that_is_only_applied_is_served(config: Config) -> None:
    """With the usual cache times; one that is only in the file has no pages yet."""
    async with pagefold.open(config) as shop:
        await fill(shop)
    channels = {"web-fr": config.channels["web-de"]}
    other = applying(msgspec.structs.replace(config, channels=channels), "never")
    async with pagefold.open(other) as shop, client_of(service_of(shop, reads_open=True)) as client:
        found = await client.get(f"/v1/pages/web-de/{SKUS[0]}")
        assert (found.status_code, "max-age=60" in found.headers["cache-control"]) == (200, True)
        assert (await client.get(f"/v1/pages/web-fr/{SKUS[0]}")).status_code == 404


async def test_a_replay_under_an_older_configuration_is_undone(config: Config) -> None:
    """A process that has not seen the newest one writes pages of another: they are marked, and folded again."""
    async with pagefold.open(config) as shop, pagefold.open(with_channel(config, "web-de", locale="en-US")) as newer:
        await fill(shop)
        await apply_file(newer)
        await newer.catch_up()
        pages = await pages_of(newer)

        async def stay() -> None:
            """Sees nothing new."""

        shop.applied.refresh = stay  # type: ignore[method-assign]  # as if it had looked a moment before
        assert (await shop.replay()).changed > 0
        checkpoints = {each.domain: each.fingerprint for each in await shop.store.coordination.checkpoints()}
        assert len(fingerprints_in(str(checkpoints["catalog"]))) == 2
        await newer.catch_up()
        assert await pages_of(newer) == pages
        assert await folds_under(newer, newer.config)


# --- commands ---------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, whose store has the products."""
    folder = settle(tmp_path, store_url, monkeypatch)

    async def fill_it() -> None:
        async with pagefold.open(Config.load(folder / "pagefold.toml")) as shop:
            await fill(shop)

    anyio.run(fill_it)
    return folder


def rename(place: Path, old: str, new: str) -> Path:
    """A second configuration, with other words."""
    file = place / "new.toml"
    text = (place / "pagefold.toml").read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_the_command_plans_and_applies(place: Path) -> None:
    """A renamed source is counted, refused without --yes, and applied with it; everything names the number."""
    file = str(rename(place, "[sources.erp]", "[sources.sap]"))
    assert run_pagefold("plan").out.rstrip().endswith("nothing changes")
    ran = run_pagefold("plan", "--config", file)
    assert ran.code == 1
    for words in ("source lost", "emptied", "pricing.amount  ", f"{len(SKUS)} of {len(SKUS)} live pages of web-de"):
        assert words in ran.out + ran.err, words
    ran = run_pagefold("plan", "--config", file, "--json", "--processes", "2")
    assert (ran.code, ran.document["number"], ran.document["plan"]["skus"]) == (1, 0, len(SKUS))
    options = ("--config", file, "--reason", "a test", "--as", "ada")
    assert run_pagefold("apply", *options).code == 1
    ran = run_pagefold("apply", *options, "--yes", "--json")
    assert (ran.code, ran.document["number"], ran.document["by"]) == (0, 1, "ada")
    assert run_pagefold("work", "--once", "--config", file).code == 0
    ran = run_pagefold("status")
    assert (ran.code, "pages are folded under configuration 1" in ran.err) == (1, True)
    assert "24 of 48 sampled streams are of source 'erp', which the configuration does not know" in ran.err


def test_a_saved_plan_is_applied_or_refused(place: Path) -> None:
    """Once; it is refused after that, and if by now more pages would lose something."""
    file = str(rename(place, "[sources.erp]", "[sources.sap]"))
    saved = str(place / "plan.json")
    ran = run_pagefold("plan", "--config", file, "--save", str(place / "none" / "plan.json"))
    assert (ran.code, ran.out, "--save: there is no folder" in ran.err) == (2, "", True)
    run_pagefold("plan", "--config", file, "--save", saved)

    async def more() -> None:
        async with pagefold.open(Config.load(place / "pagefold.toml")) as shop:
            await say(shop, price("5.00", sku="ONE-MORE"))

    anyio.run(more)
    options = ("apply", "--plan", saved, "--reason", "a test", "--as", "ada")
    ran = run_pagefold(*options)
    assert (ran.code, "lose something by now" in ran.err) == (1, True)
    run_pagefold("plan", "--config", file, "--save", saved)
    assert run_pagefold(*options).code == 0
    ran = run_pagefold(*options)
    assert (ran.code, "it began from configuration 0, and 1 counts now" in ran.err) == (1, True)
    (place / "plan.json").write_text("{}")
    assert run_pagefold(*options).code == 2


def test_a_channel_that_is_not_applied_is_named(place: Path) -> None:
    """`get` and `pages` say so, instead of calling it unknown."""
    file = rename(place, "[channels.web-de]", "[channels.web-de]")
    file.write_text(file.read_text() + '\n[channels.web-fr]\nlocale = "fr"\ncurrency = "EUR"\n')
    for command in (("get", SKUS[0], "web-fr"), ("pages", "list", "web-fr")):
        ran = run_pagefold(*command, "--config", str(file))
        assert (ran.code, "'web-fr' is not applied yet" in ran.err) == (2, True)


async def test_configurations_are_applied_one_after_the_other(config: Config) -> None:
    """Of many that apply at once, one is the next, and the others are told."""
    async with pagefold.open(configured(config.store.url)) as shop:
        await fill(shop)
        plan = await shop.plan(without_channel(config, "outlet-de"))
        done: list[int] = []

        async def apply_now() -> None:
            try:
                done.append((await shop.apply(plan, by="ada", reason="a test")).number)
            except PlanOutdated:
                done.append(-1)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(apply_now)
    assert sorted(done) == [-1, -1, -1, -1, 1]
