"""What a delivery says, for tests: everything in it, in order."""

from pagefold.engine.dead_letters.webhook_retrier import Reader
from pagefold.engine.intake.formats.request_parts import ParsedPart


def found_in(reader: Reader, body: bytes) -> list[ParsedPart]:
    """What all parts of a body say."""
    delivery = reader.parse(body)
    return [each for part in delivery.read(0, delivery.parts) for each in part]
