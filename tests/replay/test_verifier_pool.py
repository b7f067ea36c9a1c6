"""Replays with several processes, on both stores: they report what one reports; a lost one is replaced."""

import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from pagefold.engine.replay import section_verifier, verifier_pool
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift
from pagefold.engine.replay.section_verifier import (
    EMPTY_RANGE,
    OnVerified,
    SectionVerifier,
    StreamRange,
    VerifiedRange,
    Verify,
    prefix_range,
    split_ranges,
)
from pagefold.engine.replay.verifier_pool import VerifierPool, VerifyRequest
from pagefold.engine.stores.log_records import ScannedHeads
from pagefold.engine.stores.store import Log
from tests.support.processes import children, eventually
from tests.support.rebuild_fixtures import SPOIL, Intruder, with_snapshots
from tests.support.small_shop import apply_file, catalog, configured, pages_of, price, say, stock, with_channel

SKUS = [f"SKU-{number:03}" for number in range(120)]
PROCESSES = 2


@pytest.fixture
async def full(store_url: str) -> AsyncIterator[Shop]:
    """A shop with enough products for several ranges, whose processes have no time limit."""
    async with pagefold.open(configured(store_url, work={"lease_seconds": 60.0})) as shop:
        await say(shop, *(catalog(f"{sku}!", sku=sku) for sku in SKUS))
        await say(shop, *(price("5.00", sku=sku) for sku in SKUS), *(stock(3, sku=sku) for sku in SKUS))
        yield shop


@asynccontextmanager
async def a_pool(config: Config) -> AsyncIterator[VerifierPool]:
    """Verifier processes, of which none is left at the end."""
    async with VerifierPool.open(config, PROCESSES, [domain.name for domain in DOMAINS], []) as found:
        yield found
    assert children() == []


async def seen_by(found: VerifierPool, domain: str, span: StreamRange) -> tuple[list[VerifiedRange], list[StreamRange]]:
    """Every reply of a process, and the ranges that were verified here."""
    replies: list[VerifiedRange] = []
    here: list[StreamRange] = []

    async def instead(rest: StreamRange, _on_verified: OnVerified) -> None:
        here.append(rest)

    await found.verify(domain, span, replies.append, fallback=instead)
    return replies, here


async def test_several_find_what_one_finds(full: Shop) -> None:
    """Each damage is found, repaired and reported alike, with one process or several."""
    intruder = Intruder(full.config.store.url)
    whole = intruder.sections()
    assert await full.replay(processes=PROCESSES) == ReplayResult(len(whole))
    chosen = random.Random(5).sample(sorted(whole), len(SPOIL))
    damaged = {key: change(whole[key]) for key, change in zip(chosen, SPOIL.values(), strict=True)}
    intruder.put(damaged.values())
    replies: dict[int, list[SectionDrift]] = {1: [], PROCESSES: []}
    for processes, drift in replies.items():
        found = await full.verify(on_drift=drift.append, processes=processes)
        assert found == ReplayResult(len(whole), len(damaged))
        assert {(each.sku, each.channel, each.domain) for each in drift} == set(damaged)
    assert sorted(replies[1], key=repr) == sorted(replies[PROCESSES], key=repr)
    advanced: list[int] = []
    assert await full.replay(processes=PROCESSES, on_progress=advanced.append) == found
    assert sum(advanced) == len(whole)
    assert intruder.sections() == whole
    assert children() == []


async def test_a_change_of_the_configuration_reaches_every_page(full: Shop) -> None:
    """If everything has drifted, every process reports that."""
    changed = with_channel(full.config, "web-de", locale="fr-FR", fallbacks=[])
    async with pagefold.open(changed) as shop:
        await apply_file(shop)
        drifted = await shop.replay(["catalog"], processes=PROCESSES)
        assert drifted.changed == len(SKUS)
        pages = await pages_of(shop)
        assert await shop.replay(processes=PROCESSES) == ReplayResult(len(Intruder(changed.store.url).sections()))
        assert await pages_of(shop) == pages


async def test_all_domains_are_verified_together(full: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range is verified for all domains together, in a process or here; domains share scans while they keep pace."""
    asked: list[tuple[StreamRange, set[str]]] = []
    looked = verifier_pool._VerifierProcess.verify

    async def look(
        self: verifier_pool._VerifierProcess, span: StreamRange, callbacks: Mapping[str, OnVerified]
    ) -> None:
        asked.append((span, set(callbacks)))
        await looked(self, span, callbacks)

    monkeypatch.setattr(verifier_pool._VerifierProcess, "verify", look)
    sections = ReplayResult(len(Intruder(full.config.store.url).sections()))
    assert await full.replay(processes=PROCESSES) == sections
    assert len({span for span, _ in asked}) == len(asked) == PROCESSES * verifier_pool.RANGES_PER_PROCESS
    assert all(domains == {domain.name for domain in DOMAINS} for _, domains in asked)

    reads: list[str] = []
    log = type(full.store.log)
    scan = log.scan

    async def read(
        self: Log, tails: Collection[str], *, after: str, below: str, limit: int, max_bytes: int
    ) -> ScannedHeads:
        reads.append(after)
        return await scan(self, tails, after=after, below=below, limit=limit, max_bytes=max_bytes)

    monkeypatch.setattr(log, "scan", read)
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 50)
    assert await full.replay() == sections
    assert 1 < len(set(reads)) <= len(reads) < len(DOMAINS) * len(set(reads))


async def test_ranges_cover_every_sku(full: Shop) -> None:
    """Every SKU is in exactly one range, and there are as many ranges as possible."""
    for domain in DOMAINS:
        verifier = SectionVerifier(full.store, domain, full.config)
        for number in (1, 2, 7, 1_000):
            parts = await split_ranges(full.store, [domain], number)
            skus: list[str] = []
            for span in parts:
                rest = span
                while not rest.ended:
                    step = await verifier.next_step(rest)
                    skus += step.skus
                    rest = step.rest
            assert skus == ([] if domain.name == "media" else SKUS)
            assert 1 <= len(parts) <= min(number, len(SKUS) + 1)
            assert len(parts) == number or number > len(SKUS) or domain.name == "media"


async def test_they_verify_up_to_the_first_drift(full: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, in a process or here. The rest begins with the SKUs of the step with drift."""
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 50)
    verifier = SectionVerifier(full.store, DOMAINS[0], full.config)
    whole: list[VerifiedRange] = []
    await verifier.verify(prefix_range(""), whole.append)
    assert whole[-1].rest.ended
    intruder = Intruder(full.config.store.url)
    key = (SKUS[60], "web-de", "catalog")
    intruder.put([intruder.sections()[key]._replace(body=b"1")])
    replies: list[VerifiedRange] = []
    await verifier.verify(prefix_range(""), replies.append)
    assert replies == whole[: len(replies)]
    assert not replies[-1].rest.ended
    assert (await verifier.next_step(replies[-1].rest)).skus.count(SKUS[60]) == 1


async def test_they_verify_without_a_lock(full: Shop) -> None:
    """They verify while the domain is being folded, however long that takes."""
    sections = len(Intruder(full.config.store.url).sections())
    async with full.store.coordination.fold_transaction("catalog"), a_pool(full.config) as found:
        replies, here = await seen_by(found, "catalog", prefix_range(""))
        assert replies[-1].rest.ended
        assert here == []
        with anyio.fail_after(20):
            assert (await full.verify()).sections == sections


async def test_one_that_is_lost_is_replaced(full: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The range of a killed process is verified here, and the next one by another process."""
    span = prefix_range("")
    async with a_pool(full.config) as found:
        replies, here = await seen_by(found, "catalog", span)
        assert (replies[-1].rest.ended, here) == (True, [])
        [child] = children()
        os.kill(child, signal.SIGKILL)
        await eventually(lambda: child not in children(), "it has gone")
        assert await seen_by(found, "catalog", span) == ([], [span])
        assert "a process that verifies pages was lost" in caplog.text
        assert await seen_by(found, "catalog", span) == (replies, [])
        [other] = children()
        assert other != child


@pytest.mark.parametrize("python", ["/bin/false", "/nowhere/python"])
async def test_without_any_process_it_is_slower_and_right(
    full: Shop, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """If no process starts, everything is verified here."""
    monkeypatch.setattr(sys, "executable", python)
    intruder = Intruder(full.config.store.url)
    whole = intruder.sections()
    key = (SKUS[60], "web-de", "catalog")
    intruder.put([whole[key]._replace(body=b"1")])
    assert await full.replay(processes=PROCESSES) == ReplayResult(len(whole), 1)
    assert intruder.sections() == whole


async def test_a_cancelled_verification_leaves_no_process(full: Shop) -> None:
    """A verification that is cancelled leaves no process."""
    async with a_pool(full.config) as found, anyio.create_task_group() as group:
        group.start_soon(seen_by, found, "catalog", prefix_range(""))
        await eventually(lambda: len(children()) == 1, "one begins")
        group.cancel_scope.cancel()


async def test_a_large_log_has_them_by_itself(full: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One per processor; a small log has none, unless they are requested."""
    sizes: list[int] = []
    looked = VerifierPool.verify

    async def verify(
        self: VerifierPool, domain: str, streams: StreamRange, on_verified: OnVerified, *, fallback: Verify
    ) -> None:
        sizes.append(self.size)
        await looked(self, domain, streams, on_verified, fallback=fallback)

    monkeypatch.setattr(VerifierPool, "verify", verify)
    monkeypatch.setattr("pagefold.engine.replay.verifier_pool.processors", lambda: 3)
    await full.replay(processes=None)
    assert sizes == []
    monkeypatch.setattr("pagefold.engine.replay.verifier_pool.MIN_EVENTS", 100)
    await full.replay(processes=None)
    assert set(sizes) == {3}
    assert verifier_pool.processors() >= 1


def test_requests_and_replies_round_trip(tmp_path: Path) -> None:
    """Configurations with every setting, and ranges."""
    small = configured(f"sqlite:///{tmp_path}")
    for config in (small, with_snapshots(small.store.url, tmp_path, "erp", max_orphans="5%")):
        assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config
    for span in (prefix_range(""), prefix_range("Ä/%"), EMPTY_RANGE, StreamRange("𝄞/", "")):
        asked = VerifyRequest(["catalog", "media"], span)
        assert msgspec.json.decode(msgspec.json.encode(asked), type=VerifyRequest) == asked
