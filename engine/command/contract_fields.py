"""`pagefold contracts fields`: what the records of sources have, since when, and what of it is news."""

from collections.abc import Collection
from typing import Annotated

import msgspec
from cyclopts import Parameter

import pagefold
from pagefold.engine.command.console import count, percent, print_message, printable, shortened, show_table, write_bytes
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, unknown_source
from pagefold.engine.intake.contracts.record_fields import kinds_in
from pagefold.engine.intake.field_alerts import end_alerts
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.field_ledger import Alert, FieldEntry, FieldFilter

MAX_WIDTH = 40
DAY = len("2026-01-01")


class ShownField(msgspec.Struct, frozen=True, rename="camel"):
    """A field as `--json` shows it. `share` is the part of the records since it was first seen, from 0 to 1.

    A value that no table has is shown without a share, and without types.
    """

    source: str
    contract: str
    family: str
    field: str
    mapped: bool
    share: float | None
    records: int
    types: list[str]
    first_seen: str
    last_seen: str
    example: str
    alert: Alert | None
    alerted_at: str | None


def fields(
    source: str | None = None,
    /,
    *,
    alerts: Annotated[bool, Parameter(show_default=False)] = False,
    acknowledge: Annotated[bool, Parameter(show_default=False)] = False,
    field: str | None = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List what the records of sources have: each field, its kinds of values, its share of the records, since when.

    The ledger is kept for every record that a contract reads. A field is an alert if it is `new` and not mapped, if it
    has `vanished`, or if its values have another `type` than before; so is a `value` that no table has. `status` and
    /metrics show alerts, too.

    Parameters
    ----------
    source
        The source; without it, all of them.
    alerts
        Only the fields with an alert. Exit code 1 if there are any.
    acknowledge
        End the alerts of these fields: they are as they shall be. Types are then accepted.
    field
        Only the fields of this name.
    as_json
        Print one JSON object per field and line.
    """
    if source is not None and source not in (config := options.load()).sources:
        raise UsageError("SOURCE", unknown_source(source, config))
    selection = FieldFilter(source, field=field, alerts=alerts)
    return run(lambda: _acknowledge(options, selection) if acknowledge else _list(options, selection, as_json=as_json))


async def _list(options: Options, selection: FieldFilter, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        found = [each async for each in shop.store.fields.all_entries(selection)]
    if as_json:
        for each in found:
            write_bytes(msgspec.json.encode(_shown(each)))
    else:
        _show(found)
    return Exit.REFUSED if selection.alerts and found else Exit.DONE


async def _acknowledge(options: Options, selection: FieldFilter) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        number = await end_alerts(shop.store.fields, shop.audit, selection)
    print_message(f"{count(number, 'alert')} acknowledged")
    return Exit.DONE


def _shown(each: FieldEntry) -> ShownField:
    share = round(each.records / max(each.all_records, 1), 4) if each.types else None
    seen = each.first_seen, each.last_seen
    kinds = kinds_in(each.types)
    return ShownField(
        *each.key, each.mapped, share, each.records, kinds, *seen, each.example, each.alert, each.alerted_at
    )


def _show(found: Collection[FieldEntry]) -> None:
    if not found:
        print_message("no such field; the ledger has what contracts have read")
        return
    show_table(
        (
            "source",
            "contract",
            "family",
            "field",
            "mapped",
            "share",
            "types",
            "first seen",
            "last seen",
            "alert",
            "example",
        ),
        [_row(each) for each in found],
        numbers={"share"},
        wrapped={"field", "example"},
    )


def _row(each: FieldEntry) -> list[str]:
    names = [shortened(printable(text), MAX_WIDTH) for text in each.key]
    share = percent(each.records * 100 / max(each.all_records, 1)) if each.types else ""
    seen = each.first_seen[:DAY], each.last_seen[:DAY]
    example = shortened(printable(each.example), MAX_WIDTH)
    return [
        *names,
        "yes" if each.mapped else "no",
        share,
        ", ".join(kinds_in(each.types)),
        *seen,
        each.alert or "",
        example,
    ]
