"""Responses with a JSON document."""

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from pagefold.engine.http.headers import JSON, NO_STORE, SECURITY, Header


def reply(value: object, status: int = 200, headers: Sequence[Header] = ()) -> Response:
    """A response with a value as JSON. Bytes are sent as they are."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    answer = Response(body, status)
    answer.raw_headers = [JSON, (b"content-length", b"%d" % len(body)), NO_STORE, *SECURITY, *headers]
    return answer
