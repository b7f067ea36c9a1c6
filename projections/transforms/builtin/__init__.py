"""The transforms that every contract has, a file a kind of value. Nothing here reads a record by itself."""

from pagefold.projections.transforms.builtin.choices import CHOICES
from pagefold.projections.transforms.builtin.codes import CODES
from pagefold.projections.transforms.builtin.computed import COMPUTED_TRANSFORMS
from pagefold.projections.transforms.builtin.dates import DATES
from pagefold.projections.transforms.builtin.lists import LISTS
from pagefold.projections.transforms.builtin.locales import LOCALES
from pagefold.projections.transforms.builtin.lookups import LOOKUPS
from pagefold.projections.transforms.builtin.metrics import METRICS
from pagefold.projections.transforms.builtin.money import MONEY_TRANSFORMS
from pagefold.projections.transforms.builtin.numbers import NUMBERS
from pagefold.projections.transforms.builtin.objects import OBJECTS
from pagefold.projections.transforms.builtin.records import RECORDS
from pagefold.projections.transforms.builtin.texts import TEXTS
from pagefold.projections.transforms.transform import AnyTransform

GROUPS: dict[str, tuple[AnyTransform, ...]] = {
    "Where a value comes from": CHOICES,
    "Texts": (*TEXTS, *COMPUTED_TRANSFORMS),
    "Numbers": NUMBERS,
    "Money": MONEY_TRANSFORMS,
    "Units": METRICS,
    "Dates and moments": DATES,
    "Codes and patterns": CODES,
    "Tables": LOOKUPS,
    "Locales and scopes": LOCALES,
    "Lists": (*LISTS, *RECORDS),
    "Objects": OBJECTS,
}
"""All of them, as the documentation groups them."""

BUILTIN: tuple[AnyTransform, ...] = tuple(transform for group in GROUPS.values() for transform in group)
