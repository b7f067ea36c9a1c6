"""Paths that a contract reads and that no record has: a renamed column would empty every page.

Some record must have each path, or one of several alternatives. None has to where the mapping has a `default`, or says
that a blank value is left out (`blank`: `skip`, `null`), nor below an object that some record has, as JSON leaves out
what is empty, unless a field of the event or `only` reads it.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from pagefold.engine.configuration.spelling import nearest_name
from pagefold.engine.intake.contracts.statement_mapping import StatementMapping
from pagefold.projections.transforms.builtin.locales import PLACEHOLDER

NO_ELEMENT = ""
"""Among absent paths: no record had an element of the list that a table reads."""

MAX_SHOWN = 20
MAX_SHOWN_CHARACTERS = 60


class MissingPath(NamedTuple):
    """A path that no record had: the domain that reads it, and whether some record had to have it."""

    domain: str
    path: str
    needed: bool


def paths_to_find(mapping: StatementMapping) -> set[str]:
    """What is absent before any record is read: paths, and where they begin."""
    return {*mapping.reads, *mapping.outermost.values(), *([] if mapping.each is None else [NO_ELEMENT])}


def missing_paths(mappings: Iterable[StatementMapping], absent: Iterable[set[str]]) -> list[MissingPath]:
    """The paths that no record had, by domain and path, each once. `absent` are what is left of `paths_to_find`."""
    return sorted(
        {
            MissingPath(mapping.domain, path, _is_needed(mapping, path, left))
            for mapping, left in zip(mappings, absent, strict=True)
            if NO_ELEMENT not in left
            for path in left & mapping.reads
        }
    )


def unmatched_patterns(mappings: Iterable[StatementMapping], names: Collection[str]) -> list[tuple[str, str]]:
    """The domains and the patterns of columns, such as `name-{locale}`, that no column has the name of."""
    return sorted(
        {
            (mapping.domain, pattern)
            for mapping in mappings
            for each in mapping.mappings
            for pattern in each.patterns
            if not any(_fits(pattern, name) for name in names)
        }
    )


def _fits(pattern: str, name: str) -> bool:
    before, placeholder, after = pattern.partition(PLACEHOLDER)
    if not placeholder:
        return pattern == name
    return len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after)


def _is_needed(mapping: StatementMapping, path: str, absent: set[str]) -> bool:
    if not any(group <= absent for group in mapping.needed if path in group):
        return False
    return path in mapping.strict or mapping.outermost[path] in absent


def missing_problem(missing: Sequence[tuple[str, str]], names: Collection[str]) -> str:
    """What is wrong, for a person. `missing` are domains and paths, `names` those that records have."""
    paths = list(dict.fromkeys(path for _, path in missing))
    domains = sorted({domain for domain, _ in missing})
    near = dict.fromkeys(name for path in paths if (name := nearest_name(path, names)) is not None)
    hint = f"did you mean {_joined(near)}? " if near else ""
    shown = [name[:MAX_SHOWN_CHARACTERS] for name in list(names)[:MAX_SHOWN]]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    has = f"records have {', '.join(shown) or 'no names'}{more}"
    return f"no record has {_joined(paths)}, which the contract reads for {' and '.join(domains)}; {hint}{has}"


def _joined(paths: Iterable[str]) -> str:
    return " and ".join(f"`{path}`" for path in paths)
