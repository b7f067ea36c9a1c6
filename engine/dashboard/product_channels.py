"""A product's pages in all channels, side by side: which fields differ."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.dashboard.formats import value_text
from pagefold.engine.reading.page_reader import PageReader
from pagefold.projections.field_changes import flatten

MAX_CHANNELS = 40
"""Channels beside each other."""

MAX_FIELDS = 400
"""Fields that are compared; the JSON of each page has all."""

MAX_CHARACTERS = 160
"""Characters of a value beside others."""

NOT_COMPARED = {"sku", "channel", "updatedAt", "sourceVersions"}
"""Parts of a page that differ anyway."""


class ChannelTab(NamedTuple):
    """A channel, whether it has a page, and the domains of its fold strip."""

    channel: str
    status: str
    domains: list[tuple[str, str]]


class ComparedField(NamedTuple):
    """A field, and its value in each channel as text; None where the page does not have it."""

    path: str
    values: list[str | None]
    differs: bool


class ComparedChannels(NamedTuple):
    """The pages of a product beside each other."""

    tabs: list[ChannelTab]
    fields: list[ComparedField]
    differing: int
    compared: int


async def read_channels(reader: PageReader, config: Config, sku: str, *, everything: bool) -> ComparedChannels:
    """The stored pages of a SKU in the channels of a configuration: fields that differ, or `everything`."""
    pages: dict[str, dict[str, Any] | None] = {}
    for channel in list(config.channels)[:MAX_CHANNELS]:
        text = await reader.get_json(sku, channel, disabled=True)
        pages[channel] = None if text is None else orjson.loads(text)
    requires = {channel.name: channel.requires for channel in config.resolved_channels}
    tabs = [_tab(channel, page, requires[channel]) for channel, page in pages.items()]
    leaves = [{} if page is None else _leaves(page) for page in pages.values()]
    paths = sorted({path for each in leaves for path in each})[:MAX_FIELDS]
    fields = [_field(path, leaves) for path in paths]
    differing = [field for field in fields if field.differs]
    return ComparedChannels(tabs, fields if everything else differing, len(differing), len(fields))


def _tab(channel: str, page: Mapping[str, Any] | None, requires: Collection[str]) -> ChannelTab:
    ready = {} if page is None else page["readiness"]
    states = [
        (domain.name, "ready" if ready.get(domain.name) else "not ready" if domain.name in requires else "not required")
        for domain in DOMAINS
    ]
    return ChannelTab(channel, "absent" if page is None else str(page["status"]), states)


def _leaves(page: Mapping[str, Any]) -> dict[str, Any]:
    return flatten({name: value for name, value in page.items() if name not in NOT_COMPARED})


def _field(path: str, leaves: Sequence[Mapping[str, Any]]) -> ComparedField:
    values = [value_text(each[path], MAX_CHARACTERS) if path in each else None for each in leaves]
    exact = {orjson.dumps(each[path]) if path in each else b"" for each in leaves}
    return ComparedField(path, values, differs=len(exact) > 1)
