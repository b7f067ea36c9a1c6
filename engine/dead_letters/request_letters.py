"""The dead letters of requests that could not be turned into events, or that wait."""

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType

import msgspec

from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.intake.formats.request_parts import Awaited
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import REQUEST_PREFIX, NewDeadLetter, Via
from pagefold.projections.streams import encode_part


def dead_letter_of_request(  # noqa: PLR0913  # a request has that many parts
    source: str,
    body: bytes,
    error: str,
    *,
    via: Via = "webhook",
    identifier: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    place: tuple[str, int] | None = None,
    awaited: Awaited | None = None,
    recorded_at: str | None = None,
) -> NewDeadLetter:
    """The dead letter for a request, or a part of one, that could not be turned into events.

    Its text is kept unchanged.

    Route, the sender's `identifier` and body identify it: the same request sent again is the same dead letter. `place`
    is the stream and version that it is about, if known; `awaited` is what it waits for, if it waits; `recorded_at` is
    when it came in, now unless it is given.
    """
    stream, version = place or (REQUEST_PREFIX + encode_part(source), 0)
    head = f"{via}\0{identifier}\0".encode(errors="surrogatepass")
    dead_letter = NewDeadLetter(
        kind="ingest",
        domain="",
        originator_id=stream,
        originator_version=version,
        revision=0,
        digest=blake2b(head + body, digest_size=16).digest(),
        error=error.replace("\0", "\\0").encode(errors="backslashreplace").decode(),
        state=body,
        recorded_at=recorded_at or now(),
        headers=msgspec.json.encode(dict(headers)),
        via=via,
    )
    return dead_letter if awaited is None else _waiting(dead_letter, awaited)


def _waiting(dead_letter: NewDeadLetter, awaited: Awaited) -> NewDeadLetter:
    """The same as one that waits. It is another one, also if this body had a fault before."""
    version = awaited.version if 0 <= awaited.version <= MAX_INTEGER else 0
    return dead_letter._replace(
        kind="waiting",
        domain=awaited.domain,
        originator_version=version,
        digest=blake2b(dead_letter.digest, digest_size=16).digest(),
        reference=awaited.reference,
    )
