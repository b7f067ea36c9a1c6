"""The parts of a request, for tests, in order."""

from pagefold.engine.dead_letters.webhook_retrier import Reader
from pagefold.engine.intake.formats.request_parts import ParsedPart
from pagefold.engine.intake.statement import Whole

RECEIVED = "2026-03-01T12:00:00.000000Z"


def found_in(reader: Reader, body: bytes, **facts: object) -> list[ParsedPart]:
    """The parts of a body that came in at `RECEIVED`, without the groups that they have all of."""
    delivery = reader.parse(body, {"@received": RECEIVED, **facts})
    return [each for part in delivery.read(0, delivery.parts) for each in part if not isinstance(each, Whole)]
