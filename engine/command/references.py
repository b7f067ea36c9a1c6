"""`pagefold references`: the ids under which other systems know SKUs."""

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from cyclopts import Parameter

import pagefold
from pagefold.engine.command.console import count, print_message, printable, results, show_table, write_bytes
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError
from pagefold.engine.events import Reference
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.reference_records import FIRST_REFERENCE, KnownId
from pagefold.projections.streams import parse_stream_id

CHUNK = 500


class ReferenceListing(msgspec.Struct, frozen=True, rename="camel"):
    """One id: its first and last SKU by name, how many streams state it, and whether nothing is taken under it."""

    kind: str
    id: str
    first_sku: str
    last_sku: str
    statements: int
    ambiguous: bool


class StatementListing(msgspec.Struct, frozen=True, rename="camel"):
    """Which stream states an id."""

    kind: str
    id: str
    sku: str
    channel: str
    source: str


def references(
    kind: str | None = None,
    identifier: Annotated[str | None, Parameter(name="ID")] = None,
    /,
    *,
    ambiguous: Annotated[bool, Parameter(show_default=False)] = False,
    limit: int = 100,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the ids under which other systems know SKUs, as catalog events state them in `references`.

    Without arguments, it counts the kinds. With a kind, it lists ids; with an id, each stream that states it. An id is
    ambiguous if several SKUs have it, unless [references] in the configuration says that its kind is of groups: what
    comes under it waits. Exit code 1 if there are any.

    Parameters
    ----------
    kind
        Only ids of this kind, such as `shopify:inventory_item`.
    identifier
        Only this id.
    ambiguous
        List only ambiguous ids, of a kind or of all.
    limit
        List at most this many ids.
    as_json
        Print one JSON object a line. Of a kind: kind, ids, ambiguous. Of an id: kind, id, firstSku, lastSku,
        statements, ambiguous. With an id: kind, id, sku, channel, source.
    """
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    if identifier is not None and kind is not None:
        return run(lambda: _show(Reference(kind, identifier), options, as_json=as_json))
    if kind is None and not ambiguous:
        return run(lambda: _count(options, as_json=as_json))
    return run(lambda: _list(kind, limit, options, ambiguous=ambiguous, as_json=as_json))


async def _count(options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = await shop.reference_kinds.kinds()
    if as_json:
        for each in found:
            write_bytes(msgspec.json.encode(each))
    elif found:
        rows = ((printable(each.kind), f"{each.ids:,}", f"{each.ambiguous:,}") for each in found)
        show_table(("kind", "ids", "ambiguous"), rows, numbers=("ids", "ambiguous"))
    else:
        print_message("no references: no catalog event states any")
    return Exit.REFUSED if any(each.ambiguous for each in found) else Exit.DONE


async def _list(kind: str | None, limit: int, options: Options, *, ambiguous: bool, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = [each async for each in _ids(shop, kind, limit + 1, ambiguous=ambiguous)]
    shown = found[:limit]
    if as_json:
        for each in shown:
            write_bytes(msgspec.json.encode(each))
    elif shown:
        rows = ((printable(each.kind), printable(each.id), _skus(each), f"{each.statements:,}") for each in shown)
        show_table(("kind", "id", "SKU", "statements"), rows, numbers=("statements",), wrapped=("SKU",))
    else:
        print_message("no such references")
    if len(found) > limit:
        print_message("… and more; --limit shows them")
    return Exit.REFUSED if any(each.ambiguous for each in shown) else Exit.DONE


def _skus(listing: ReferenceListing) -> str:
    if listing.first_sku == listing.last_sku:
        return printable(listing.first_sku)
    what = "ambiguous: " if listing.ambiguous else ""
    return printable(f"{what}{listing.first_sku} … {listing.last_sku}")


async def _ids(shop: Shop, kind: str | None, limit: int, *, ambiguous: bool) -> AsyncIterator[ReferenceListing]:
    """The next ids, at most `limit`."""
    groups, after = shop.config.references.groups, FIRST_REFERENCE
    while chunk := await shop.store.references.list_ids(kind, after=after, limit=CHUNK, shared=ambiguous):
        after = Reference(chunk[-1].kind, chunk[-1].id)
        wanted = [each for each in chunk if not ambiguous or each.kind not in groups][:limit]
        for each in wanted:
            yield _listing(each, is_group=each.kind in groups)
        limit -= len(wanted)
        if limit <= 0:
            return


def _listing(known: KnownId, *, is_group: bool) -> ReferenceListing:
    return ReferenceListing(*known, ambiguous=known.is_shared and not is_group)


async def _show(reference: Reference, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        stated = sorted(await shop.store.references.stated([reference]))
        waits = bool(await shop.store.dead_letters.awaited([reference]))
        is_group = reference.kind in shop.config.references.groups
    listed = [
        StatementListing(*reference, stream.sku, stream.channel, stream.source)
        for stream in (parse_stream_id(row.stream) for row in stated)
    ]
    if as_json:
        for each in listed:
            write_bytes(msgspec.json.encode(each))
    elif listed:
        rows = ((printable(each.sku), printable(each.channel), printable(each.source)) for each in listed)
        show_table(("SKU", "channel", "source"), rows, wrapped=("SKU",))
    else:
        results().print(f"no SKU has {printable(reference.kind)} {printable(reference.id)}")
    skus = len({each.sku for each in listed})
    if waits:
        print_message("dead letters wait for it: see `pagefold dead-letters list --kind waiting`")
    if skus > 1 and not is_group:
        print_message(f"ambiguous: {count(skus, 'SKU')} have it, and nothing is taken under it")
    return Exit.REFUSED if skus > 1 and not is_group else Exit.DONE
