"""The style sheet and the scripts of the dashboard: read once, and cached by browsers by the digest of the content."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.http.headers import Header
from pagefold.engine.http.problems import no_route

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8"}
DIGITS = 16
FOREVER: Header = (b"cache-control", b"public, max-age=31536000, immutable")
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
SAME_ORIGIN: Header = (b"cross-origin-resource-policy", b"same-origin")


class StaticFile(NamedTuple):
    """A file, its media type, and the start of its SHA-256."""

    content: bytes
    media_type: bytes
    digest: str


@cache
def static_files() -> dict[str, StaticFile]:
    """All files that browsers may load, by name."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            found[path.name] = StaticFile(content, TYPES[path.suffix], sha256(content).hexdigest()[:DIGITS])
    return found


def static_address(name: str) -> str:
    """The address of a file. It changes with its content."""
    return href("static", static_files()[name].digest, name)


def static_response(name: str) -> Response:
    """A file. Raises `Problem`, 404, for any other name."""
    file = static_files().get(name)
    if file is None:
        raise no_route()
    answer = Response(file.content)
    length = (b"content-length", b"%d" % len(file.content))
    answer.raw_headers = [(b"content-type", file.media_type), length, FOREVER, NOSNIFF, SAME_ORIGIN]
    return answer
