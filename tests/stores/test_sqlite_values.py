"""Bulk reads and writes use one value, or several if one is too small."""

from pathlib import Path

import pytest

from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.sqlite import SQLiteStore, connections, log
from pagefold.projections.section_fold import sections_of
from tests.support.small_shop import Raw, a_section, configured, folded

STATE = b'{"payload":"' + b"x" * 1_000 + b'"}'
STREAMS = [f"SKU-{number:03}/*/inventory/wms" for number in range(100)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A shop on SQLite."""
    return configured(f"sqlite:///{tmp_path / 'shop'}")


async def test_large_results_are_read_in_several_values(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads, a scan and sections of a hundred SKUs are complete, though a value holds about ten of them."""
    monkeypatch.setattr(connections, "MAX_VALUE_BYTES", 20_000)
    monkeypatch.setattr(log, "MAX_STATES_BYTES", 10_000)
    store = await SQLiteStore.open(config)
    try:
        events = [Raw(stream, state=STATE) for stream in STREAMS]
        assert await store.log.insert(events) == [*range(1, 101)]
        assert await store.log.insert(events) == [None] * 100
        assert sorted(head.originator_id for head in await store.log.heads(STREAMS)) == STREAMS
        walked: list[str] = []
        after: str | None = ""
        while after is not None:
            scanned = await store.log.scan(["/inventory/wms"], after=after, below="", limit=100, max_bytes=1_000_000)
            walked += [head.originator_id for head in scanned.heads]
            after = scanned.end
        assert walked == STREAMS
        skus = [stream.partition("/")[0] for stream in STREAMS]
        sections = [a_section(sku, body=STATE) for sku in skus]
        await folded(store, *sections)
        async with store.coordination.fold_transaction("catalog") as folding:
            assert sections_of(await folding.sections(skus)) == sections
    finally:
        await store.close()
