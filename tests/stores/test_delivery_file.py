"""The file of deliveries on SQLite: it is made with the first mark, and complete when others see it."""

from pathlib import Path

import pytest

from pagefold.engine.stores import open_store
from pagefold.engine.stores.sql_files import Migration
from pagefold.engine.stores.sqlite import schema
from pagefold.engine.stores.sqlite.connections import DELIVERIES
from tests.stores.test_deliveries import KEYS, wanted
from tests.support.small_shop import configured


async def test_others_see_the_file_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks while the file is made finds none, not one without tables. What a killed process left is replaced."""
    migrate, seen = schema._migrate, []
    file = tmp_path / "shop" / DELIVERIES

    def looked(name: str, made: Path, known: list[Migration]) -> int:
        version = migrate(name, made, known)
        seen.append(file.exists())
        return version

    store = await open_store(configured(f"sqlite:///{tmp_path}/shop"))
    (tmp_path / "shop" / f"{DELIVERIES}.new").write_text("half of it", "utf-8")
    monkeypatch.setattr(schema, "_migrate", looked)
    await store.deliveries.mark("shop", "", "1", wanted())
    assert seen == [False]
    assert len(await store.deliveries.rows("shop")) == len(KEYS)
    assert not list(file.parent.glob("*.new*"))
    await store.close()
