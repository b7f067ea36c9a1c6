"""What an event is based on: the position, or the versions by domain and source, that its source had seen."""

from collections.abc import Mapping

from pagefold.domains import DOMAINS
from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.errors import Rejected
from pagefold.engine.events import BasedOn

MAX_STREAMS = 200
"""Versions that an event may be based on: a page has one for each domain and source."""

_DOMAINS = frozenset(domain.name for domain in DOMAINS)


def check_based_on(based_on: BasedOn) -> None:
    """Raises `Rejected` for what is neither a position nor versions, as a page's `sourceVersions` has them."""
    if isinstance(based_on, Mapping):
        if len(based_on) > MAX_STREAMS:
            raise Rejected("basedOn", f"has {len(based_on)} versions; at most {MAX_STREAMS} are allowed")
        for name, version in based_on.items():
            domain, _, source = str(name).partition("/")
            if domain not in _DOMAINS or not source or "\0" in source or len(name) > MAX_STREAMS:
                raise Rejected("basedOn", f"{name!r:.100} is not a domain and a source, such as 'catalog/pim'")
            _check_number(f"basedOn.{name}", version)
    else:
        _check_number("basedOn", based_on)


def _check_number(path: str, number: object) -> None:
    if type(number) is not int or not 0 <= number <= MAX_INTEGER:
        raise Rejected(path, 'expected an integer between 0 and 2^53-1, or versions such as {"catalog/pim": 17}')
