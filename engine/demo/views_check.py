"""Compares views of pages with the model: as they were, what is different since, under another configuration."""

import tomllib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from anyio.lowlevel import checkpoint

from pagefold.engine.configuration.config import Config
from pagefold.engine.demo.reference_model import DOMAINS, Model
from pagefold.engine.plans.planner import PlannedRange
from pagefold.engine.reading.past_pages import View
from pagefold.engine.shop import Shop
from pagefold.engine.stores.event_state import EventState
from pagefold.projections.epochs import version_of
from pagefold.projections.streams import parse_stream_id

CHUNK_EVENTS, CHUNK_SKUS = 5_000, 200

Key = tuple[str, str]
"""SKU and channel."""


class ViewsVerdict(msgspec.Struct, frozen=True):
    """How many pages each view has or names, and the problems, as sentences.

    `as_of` are the pages in the middle of the log, `diff` those that are different since, `plan` those that another
    configuration would change.
    """

    as_of: int
    diff: int
    plan: int
    problems: list[str]


async def check_views(shop: Shop, model: Model, config: str) -> ViewsVerdict:
    """Checks the views of a shop that is up to date. `config` is its configuration, as TOML."""
    tables = tomllib.loads(config)
    middle = await shop.past.view(await shop.store.log.end() // 2)
    former = await _model_of(shop, tables, middle.moment.position)
    then, now = await _pages(former), await _pages(model)
    other = _changed(tables)
    later = await _pages(model.copy(other))
    problems = await _compare_past(shop, then, middle)
    differing = await _differing(shop, middle)
    planned = await _planned(shop, Config.parse(other, store=shop.config.store.url))
    problems += _compare("the difference", differing, then, now) + _compare("the plan", planned, now, later)
    return ViewsVerdict(len(then), len(differing), len(planned), problems)


async def _model_of(shop: Shop, tables: Mapping[str, Any], position: int) -> Model:
    """The model of the events up to a position."""
    model, after = Model(tables), 0
    while after < position:
        events = await shop.store.records.notifications(after + 1, position, DOMAINS, CHUNK_EVENTS)
        for event in events:
            stream, state = parse_stream_id(event.originator_id), msgspec.json.decode(event.state, type=EventState)
            model.submit(
                stream._asdict()
                | {
                    "type": stream.domain,
                    "sourceVersion": version_of(event.originator_version),
                    "occurredAt": state.occurred_at,
                    "payload": msgspec.json.decode(state.payload),
                }
            )
        after = events[-1].notification_id if events else position
    return model


async def _pages(model: Model) -> dict[Key, bytes | None]:
    """Every page of a model, disabled ones too."""
    found: dict[Key, bytes | None] = {}
    for key in model.pages():
        found[key] = model.page(*key, disabled=True)
        if len(found) % CHUNK_SKUS == 0:
            await checkpoint()
    return found


async def _compare_past(shop: Shop, expected: Mapping[Key, bytes | None], view: View) -> list[str]:
    """Compares all pages as they were."""
    wrong: list[Key] = []
    skus = sorted({sku for sku, _ in expected})
    for channel in shop.config.channels:
        for start in range(0, len(skus), CHUNK_SKUS):
            some = skus[start : start + CHUNK_SKUS]
            pages = await shop.past.get_many_json(some, channel, view, disabled=True)
            wrong += [(sku, channel) for sku in some if pages.get(sku) != expected.get((sku, channel))]
    if not wrong:
        return []
    return [f"{len(wrong):,} pages as they were differ from the model, such as {' in '.join(wrong[0])}"]


async def _differing(shop: Shop, before: View) -> set[Key]:
    """The pages that the difference since a view names."""
    named: set[Key] = set()

    def keep(part: PlannedRange) -> None:
        named.update((change.sku, change.channel) for change in part.changes)

    after = await shop.past.view(None)
    await shop.diff(before, after, on_planned=keep, every_change=True)
    return named


async def _planned(shop: Shop, config: Config) -> set[Key]:
    """The pages that a plan names."""
    named: set[Key] = set()

    def keep(part: PlannedRange) -> None:
        named.update((change.sku, change.channel) for change in part.changes)

    await shop.plan(config, on_planned=keep, every_change=True)
    return named


def _changed(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Another configuration: variants inherit nothing, one channel has other languages, one other stock."""
    pim = {key: value for key, value in tables["sources"]["pim"].items() if key != "inherit"}
    channels = dict(tables["channels"])
    channels["web-fr"] = channels["web-fr"] | {"fallbacks": ["de"]}
    channels["web-us"] = channels["web-us"] | {"sources": {"inventory": ["wms-berlin"]}}
    return {**tables, "sources": tables["sources"] | {"pim": pim}, "channels": channels}


def _compare(
    what: str, named: Collection[Key], before: Mapping[Key, bytes | None], after: Mapping[Key, bytes | None]
) -> list[str]:
    """Whether exactly those pages are named that differ."""
    expected = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    if named == expected:
        return []
    return [f"{what} names {len(named):,} pages, and {len(expected):,} differ in the model"]
