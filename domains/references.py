"""References: the ids under which other systems know a product, by kind, such as `gtin` or `shopify:inventory_item`."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pagefold.domains.domain import InvalidPayload

MAX_IDS = 1_000
"""Ids in one payload, of all kinds together."""

MAX_ID_CHARACTERS = 256

Ids: TypeAlias = str | int | list[str | int]
"""An id, or several. Integers become text."""

_kind = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", re.ASCII)


def canonical_references(references: Mapping[str, Ids]) -> dict[str, Ids]:
    """The same references, in one form: an id as text, or a sorted list of two or more. A kind without ids is left out.

    Raises `InvalidPayload` for a kind or an id that cannot be stored.
    """
    canonical: dict[str, Ids] = {}
    total = 0
    for kind, given in references.items():
        if (problem := kind_error(kind)) is not None:
            raise InvalidPayload(f"references.{kind:.70}", problem)
        ids = sorted({_canonical_id(kind, each) for each in (given if isinstance(given, list) else [given])})
        total += len(ids)
        if total > MAX_IDS:
            raise InvalidPayload("references", f"has more than {MAX_IDS} ids")
        if ids:
            canonical[kind] = ids[0] if len(ids) == 1 else [*ids]
    return canonical


def ids_by_kind(references: Mapping[str, Ids]) -> Mapping[str, Sequence[str]]:
    """The ids of each kind of canonical references."""
    return {kind: [str(each) for each in (ids if isinstance(ids, list) else [ids])] for kind, ids in references.items()}


def kind_error(kind: str) -> str | None:
    """Why a text is not the name of a kind; None if it is."""
    if _kind.fullmatch(kind) is not None:
        return None
    return "is not a kind: use up to 64 letters, digits, '.', '_', ':', '/' and '-', such as 'shopify:inventory_item'"


def id_error(identifier: str) -> str | None:
    """Why a text is not an id; None if it is."""
    if not identifier:
        return "an id must not be empty"
    if len(identifier) > MAX_ID_CHARACTERS:
        return f"an id has {len(identifier)} characters; at most {MAX_ID_CHARACTERS} are allowed"
    return None if identifier.isprintable() else f"the id {identifier!r:.100} has a character that cannot be printed"


def _canonical_id(kind: str, given: str | int) -> str:
    identifier = str(given).strip()  # columns of fixed width are padded
    if (problem := id_error(identifier)) is not None:
        raise InvalidPayload(f"references.{kind}", problem)
    return identifier
