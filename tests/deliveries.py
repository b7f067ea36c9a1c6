"""What a delivery says, for tests: everything in it, in order."""

from engine.deliveries import Reader
from engine.formats.deliveries import Found


def found_in(reader: Reader, body: bytes) -> list[Found]:
    """What all parts of a body say."""
    delivery = reader.open(body)
    return [each for part in delivery.read(0, delivery.parts) for each in part]
