"""Where the records are in an export that is one document: the list that has most of them."""

from collections.abc import Iterator, Sequence

from pagefold.engine.intake.contracts.field_roles import field_for
from pagefold.engine.intake.contracts.record_profile import profile_of

MAX_DEPTH = 4


def located_records(rows: Sequence[object]) -> tuple[str | None, Sequence[object]]:
    """The path of the records in the only row, and the records; None if the rows are the records."""
    if len(rows) != 1 or field_for("sku", profile_of(rows)) is not None:
        return None, rows
    found = max(_lists(rows[0], (), 0), key=lambda each: len(each[1]), default=None)
    return (None, rows) if found is None else (".".join(found[0]), found[1])


def _lists(value: object, names: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], list[object]]]:
    """The lists of objects in an object."""
    for name, each in value.items() if isinstance(value, dict) and depth < MAX_DEPTH else ():
        path = (*names, str(name).replace(".", "\\."))
        if isinstance(each, list) and each and all(isinstance(element, dict) for element in each):
            yield path, each
        else:
            yield from _lists(each, path, depth + 1)
