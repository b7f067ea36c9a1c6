"""Addresses of screens, and commands that do the same as a button.

They begin with the path at which the server is mounted in another application, which a request says.
"""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote, urlencode

ROOT = "/ui"
_next = re.compile(r"/ui(?:[/?][\x21-\x5b\x5d-\x7e]*)?", re.ASCII)
MAX_NEXT_LENGTH = 2_000

_mount: ContextVar[str] = ContextVar("mount", default="")


@contextmanager
def mounted_at(path: str) -> Iterator[None]:
    """Addresses that are made inside begin with this path, which is encoded; empty if the server is not mounted."""
    token = _mount.set(path)
    try:
        yield
    finally:
        _mount.reset(token)


def address_of(path: str) -> str:
    """The address of a path of the dashboard, such as `/ui/runs`, which is encoded."""
    return _mount.get() + path


def href(*segments: object, **query: object) -> str:
    """The address of a screen: of path segments, each of which may have any text, and of query parameters.

    A parameter that is None is left out. A colon stays as it is: it separates the name of a decision.
    """
    path = "/".join([address_of(ROOT), *(quote(str(each), safe=":") for each in segments)])
    given = {name.rstrip("_"): value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def safe_next(text: str) -> str:
    """An address of this dashboard to continue at; the overview if the text is anything else."""
    path = text.removeprefix(address_of(""))
    is_safe = len(text) <= MAX_NEXT_LENGTH and _next.fullmatch(path) is not None
    return address_of(path if is_safe else ROOT)


def runbook_address(section: str) -> str:
    """The address of a section of the runbooks."""
    return f"{href('runbooks')}#{quote(section)}"


def command(*words: object) -> list[str]:
    """A command of `pagefold`, as words for a shell: each quoted if it needs to be."""
    return ["pagefold", *(shlex.quote(str(word)) for word in words if word is not None)]
