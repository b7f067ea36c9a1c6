"""What can go wrong: a contract that says something impossible, or a value that a transform refuses."""

from datetime import date
from decimal import Decimal

MAX_EXCERPT_CHARACTERS = 40


def excerpt(value: object) -> str:
    """A short, printable form of a value: text quoted and cut, containers by their kind and size."""
    match value:
        case str():
            shown = value[:MAX_EXCERPT_CHARACTERS]
            return f"{shown!r}…" if len(value) > MAX_EXCERPT_CHARACTERS else f"{shown!r}"
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case int() | float() | Decimal():
            return _number(value)
        case list() | dict():
            kind = "a list" if isinstance(value, list) else "an object"
            return f"{kind} of {len(value)}"
        case _:
            return value.isoformat() if isinstance(value, date) else f"a value of type {type(value).__name__}"


def _number(value: float | Decimal) -> str:
    if isinstance(value, int) and value.bit_length() > MAX_EXCERPT_CHARACTERS * 3:
        return "an integer of very many digits"
    text = str(value)
    return text if len(text) <= MAX_EXCERPT_CHARACTERS else f"{text[:MAX_EXCERPT_CHARACTERS]}…"


class InvalidMapping(ValueError):
    """A contract says something that cannot be compiled. `key` is its place, such as `payload.amount.money.unit`."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


class InvalidValue(ValueError):
    """A transform refuses a value.

    `code` is one of the refusals that the transform declares, such as `not_a_number`; `key` is the place in the
    contract, `path` the value's place in the record; both are known once the error leaves the mapping.
    """

    def __init__(self, code: str, value: object, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.excerpt = excerpt(value)
        self.reason = reason
        self.transform = ""
        self.key = ""
        self.path = ""

    def __str__(self) -> str:
        place = " of ".join(filter(None, (self.key, self.path and f"`{self.path}`")))
        rule = f" ({self.transform})" if self.transform else ""
        return f"{f'{place}: ' if place else ''}{self.excerpt} {self.reason}{rule}"

    def named(self, transform: str) -> "InvalidValue":
        """The error, with the transform that raised it unless an inner one did."""
        self.transform = self.transform or transform
        return self

    def located(self, key: str, path: str) -> "InvalidValue":
        """The error, with its place in the contract and in the record unless they are known."""
        self.key = self.key or key
        self.path = self.path or path
        return self
