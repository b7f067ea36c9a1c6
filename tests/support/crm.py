"""A system that is a target and a source: it holds what it is sent, sends it back, and has edits of its own."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from pagefold import AppendResult, DomainEvent, Shop
from tests.support.hostile_target import GOOD, HostileTarget

Record = dict[str, str]


class Crm(HostileTarget):
    """A CRM with a record a SKU: its name and its price in web-de.

    It sends back what it was sent, sometimes twice, before it answers the delivery (`at_once`), or some time later.
    `results` are the outcomes of everything that it has said.
    """

    def __init__(self, *, dice: random.Random | None = None, at_once: bool = False) -> None:
        super().__init__(lambda: GOOD)
        self.shop: Shop | None = None
        self.records: dict[str, Record] = {}
        self.results: list[str] = []
        self._dice, self._at_once = dice, at_once
        self._version = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_quiet(self) -> bool:
        """Whether it has nothing left to say."""
        return not self._tasks

    async def _answer(self, first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        data = orjson.loads(body)["data"]
        for each in data if isinstance(data, list) else [data]:
            await self._take(each["sku"], each["page"])
        return await super()._answer(first, headers, body, writer)

    async def _take(self, sku: str, page: dict[str, Any] | None) -> None:
        if page is None:
            self.records.pop(sku, None)
        else:
            self.records[sku] = shown_in(page)
        for _ in range(1 if self._dice is None else self._dice.choice([1, 1, 2])):
            if self._at_once:
                await self.say(sku)
            else:
                task = asyncio.create_task(self._say_later(sku))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _say_later(self, sku: str) -> None:
        await asyncio.sleep(0.2 if self._dice is None else self._dice.choice([0, 0, 0.02, 0.2]))
        await self.say(sku)

    async def edit(self, sku: str, **values: str) -> list[AppendResult]:
        """A person changes a record, and the CRM says so."""
        self.records.setdefault(sku, {}).update(values)
        return await self.say(sku)

    async def say(self, sku: str) -> list[AppendResult]:
        """Sends a record as it is now."""
        assert self.shop is not None
        self._version += 1
        record = self.records.get(sku)
        events = [said(sku, "catalog", self._version, None if record is None else {"attributes": _catalog(record)})]
        if record is None or "amount" in record:
            price = None if record is None else {"currency": "EUR", "amount": record["amount"]}
            events.append(said(sku, "pricing", self._version, price, channel="web-de"))
        results = await self.shop.append(events)
        self.results += [each.outcome for each in results]
        return results


def said(sku: str, domain: str, version: int, payload: Mapping[str, object] | None, channel: str = "*") -> DomainEvent:
    """A statement of the CRM."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=version)
    return DomainEvent(
        type=domain, sku=sku, channel=channel, source="crm", source_version=version, occurred_at=moment, payload=payload
    )


def shown_in(page: dict[str, Any]) -> Record:
    """What a CRM takes of a page. It writes prices without zeros at their end."""
    record: Record = {}
    if page["catalog"] and "name" in page["catalog"]["attributes"]:
        record["name"] = page["catalog"]["attributes"]["name"]
    if page["pricing"]:
        record["amount"] = page["pricing"]["amount"].rstrip("0").rstrip(".")
    return record


def _catalog(record: Record) -> dict[str, object]:
    return {name: value for name, value in record.items() if name != "amount"}
