"""What stream processors make of the workload: the pages of a SKU, and the table in which they keep them.

This is what a team would write for this one shop: the newest event of each stream, folded for every channel. Nothing is
validated, and there is no readiness. The pages are compared with Pagefold's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson
import psycopg

from benchmarks.workload import CHANNELS
from pagefold.engine.stores.sqlite.connections import connect

DOMAINS: Final = ("catalog", "pricing", "inventory", "media")
FILE = "peer.db"

Event: TypeAlias = Mapping[str, Any]
"""An event as in a file for `pagefold ingest`."""

Document: TypeAlias = dict[str, Event]
"""The newest event of each stream of a SKU, by `channel/type/source`."""

Page: TypeAlias = tuple[str, str, bytes]
"""SKU, channel and JSON."""


def keep_newest(document: Document, event: Event) -> None:
    """Puts an event into a document, unless the document has a newer one, or the same."""
    stream = f"{event['channel']}/{event['type']}/{event['source']}"
    known = document.get(stream)
    if known is None or known["sourceVersion"] < event["sourceVersion"]:
        document[stream] = event


def pages_of(sku: str, document: Document) -> Iterator[Page]:
    """The pages of a SKU in every channel."""
    for name, channel in CHANNELS.items():
        yield sku, name, orjson.dumps({"sku": sku, "channel": name, **_sections(document, name, channel)})


def _sections(document: Document, name: str, channel: Mapping[str, Any]) -> dict[str, object]:
    def payload(domain: str, source: str) -> Any:  # noqa: ANN401  # it is decoded JSON
        event = document.get(f"{name}/{domain}/{source}") or document.get(f"*/{domain}/{source}")
        return None if event is None else event["payload"]

    language: str = channel["locale"][:2]
    catalog, price, media = payload("catalog", "pim"), payload("pricing", "erp"), payload("media", "dam")
    stock = [(source, found) for source in channel["sources"]["inventory"] if (found := payload("inventory", source))]
    return {
        "catalog": catalog and _catalog(catalog, language),
        "pricing": price if price and price["currency"] == channel["currency"] else None,
        "inventory": _inventory(stock) if stock else None,
        "media": media and {"assets": [_asset(asset, language) for asset in media["assets"]]},
    }


def _text(texts: Mapping[str, str], language: str) -> str | None:
    return texts.get(language) or texts.get("en")


def _catalog(payload: Mapping[str, Any], language: str) -> dict[str, object]:
    localized = {code: _text(texts, language) for code, texts in payload["localized"].items()}
    rest = {name: payload[name] for name in ("categories", "family", "parent")}
    return {"attributes": {**payload["attributes"], **localized}, **rest}


def _inventory(stock: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, object]:
    locations, dates = [], []
    for source, payload in stock:
        location = {"source": source, "available": max(payload["available"] - payload["safetyStock"], 0)}
        if "restockAt" in payload:
            location["restockAt"] = payload["restockAt"]
            dates.append(payload["restockAt"])
        locations.append(location)
    available = sum(location["available"] for location in locations)
    orders = any(payload["backorderable"] for _, payload in stock)
    status = "in_stock" if available else "backorder" if orders else "out_of_stock"
    section: dict[str, object] = {"available": available, "status": status, "locations": locations}
    return {**section, "restockAt": min(dates)} if dates else section


def _asset(asset: Mapping[str, Any], language: str) -> dict[str, object]:
    return {"position": 0, **asset, **({"alt": _text(asset["alt"], language)} if "alt" in asset else {})}


class PageTable(ABC):
    """A table of finished pages."""

    @abstractmethod
    def write(self, pages: Sequence[Page]) -> None:
        """Stores the pages in one transaction. A later one of the same key counts."""

    @abstractmethod
    def read(self) -> dict[tuple[str, str], bytes]:
        """All pages."""

    @abstractmethod
    def close(self) -> None:
        """Closes the connection."""


class SQLitePageTable(PageTable):
    """A file in the folder of a store, as durable as Pagefold's pages."""

    def __init__(self, folder: Path) -> None:
        self._connection = connect(folder / FILE, synchronous="NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS pages (sku TEXT, channel TEXT, page BLOB, PRIMARY KEY (sku, channel))"
        )

    def write(self, pages: Sequence[Page]) -> None:
        """Stores the pages."""
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?)", pages)

    def read(self) -> dict[tuple[str, str], bytes]:
        """All pages."""
        return {(sku, channel): page for sku, channel, page in self._connection.execute("SELECT * FROM pages")}

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class PostgresPageTable(PageTable):
    """A table in the database of a store, written by arrays."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS pages (sku text, channel text, page bytea, PRIMARY KEY (sku, channel))"
        )

    def write(self, pages: Sequence[Page]) -> None:
        """Stores the pages."""
        newest = {page[:2]: page for page in pages}
        columns = [list(column) for column in zip(*newest.values(), strict=True)]
        self._connection.execute(
            "INSERT INTO pages SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[])"
            " ON CONFLICT (sku, channel) DO UPDATE SET page = excluded.page",
            columns,
            prepare=True,
        )

    def read(self) -> dict[tuple[str, str], bytes]:
        """All pages."""
        rows = self._connection.execute("SELECT sku, channel, page FROM pages").fetchall()
        return {(sku, channel): bytes(page) for sku, channel, page in rows}

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def page_table(url: str) -> PageTable:
    """The table beside the store at a URL."""
    if url.startswith("sqlite:///"):
        return SQLitePageTable(Path(url.removeprefix("sqlite:///")))
    return PostgresPageTable(url)
