"""`whole_of` in a table of a contract: a record has all of a group in its list, so what it lacks is withdrawn."""

from collections.abc import Mapping

from pagefold.domains import DOMAINS
from pagefold.domains.references import kind_error
from pagefold.engine.events import Reference
from pagefold.projections.transforms import Compiler, InvalidMapping, InvalidValue, ValueType
from pagefold.projections.transforms.paths import ROOT

_KEYS = frozenset({"kind", "id", "domains", "below"})

NO_ITEM: Mapping[str, object] = {}
"""In place of an item, where only the record around it is read."""


class WholeMapping:
    """Which group a record has all of: `mapping` reads its id."""

    def __init__(self, compiler: Compiler, written: object, key: str) -> None:
        """Compiles what a contract says. Raises `InvalidMapping`."""
        if not isinstance(written, dict) or not {"kind", "id"} <= written.keys() <= _KEYS:
            raise InvalidMapping(
                key, 'expected a kind and the path of an id, such as { kind = "shopify:product", id = "$.id" }'
            )
        self.kind, path = written["kind"], written["id"]
        problem = kind_error(self.kind) if isinstance(self.kind, str) else "is not text"
        if problem is not None:
            raise InvalidMapping(f"{key}.kind", f"{self.kind!r:.60} {problem}")
        if not (isinstance(path, str) and is_outside(path)):
            raise InvalidMapping(f"{key}.id", f"expected a path of the record around the list, such as {ROOT}.id")
        self.mapping = compiler.mapping(path, f"{key}.id", ValueType.TEXT)
        self.domains = _domains(written.get("domains", []), f"{key}.domains")
        self._below = written.get("below")
        if self._below is not None and not (type(self._below) is int and self._below > 0):
            raise InvalidMapping(f"{key}.below", f"expected a number of items, got {self._below!r:.40}")

    def is_whole(self, items: int) -> bool:
        """Whether a list of so many items has all of a group: one that is cut has as many as it may."""
        return self._below is None or items < self._below

    def group(self, record: object) -> Reference:
        """The group of a record. Raises `InvalidValue` if it has no id."""
        identifier = self.mapping.read((NO_ITEM, record))
        if not isinstance(identifier, str) or not identifier.strip():
            error = InvalidValue("blank", None, "is blank, and a value is required")
            raise error.located(self.mapping.key, ", ".join(sorted(self.mapping.paths)))
        return Reference(self.kind, identifier.strip())


def _domains(written: object, key: str) -> list[str]:
    known = [domain.name for domain in DOMAINS]
    if not isinstance(written, list) or any(name not in known for name in written):
        raise InvalidMapping(key, f"expected a list of domains ({', '.join(known)}), got {written!r:.60}")
    return written


def is_outside(path: str) -> bool:
    """Whether a path is not one of an item: it is of the record around it, or of the delivery."""
    return path.startswith((f"{ROOT}.", "@"))
