"""GTINs: the numbers below barcodes, by the rules of GS1."""

GTIN_LENGTHS = frozenset({8, 12, 13, 14})


def check_digit(digits: str) -> int:
    """The check digit that belongs after these digits."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return -total % 10


def gtin_problem(text: str) -> str | None:
    """What is wrong with a text as a GTIN; None if nothing is."""
    if not (text.isascii() and text.isdecimal()):
        return "has other characters than digits"
    if len(text) not in GTIN_LENGTHS:
        return f"has {len(text)} digits; a GTIN has 8, 12, 13 or 14"
    if not text.strip("0"):
        return "is all zeros"
    expected = check_digit(text[:-1])
    return None if int(text[-1]) == expected else f"has the check digit {text[-1]}; {expected} would be right"
