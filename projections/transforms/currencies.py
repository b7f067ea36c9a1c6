"""Currencies and their minor units, by ISO 4217. The only module that imports `iso4217`."""

from iso4217 import Currency

MINOR_DIGITS: dict[str, int | None] = {currency.code: currency.exponent for currency in Currency}
"""The digits of the minor unit of every current currency; None for metals and the like, which have none."""
