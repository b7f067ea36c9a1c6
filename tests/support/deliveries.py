"""The parts of a request, for tests, in order."""

from pagefold.engine.dead_letters.webhook_retrier import Reader
from pagefold.engine.intake.formats.request_parts import ParsedPart


def found_in(reader: Reader, body: bytes) -> list[ParsedPart]:
    """The parts of a body."""
    delivery = reader.parse(body)
    return [each for part in delivery.read(0, delivery.parts) for each in part]
