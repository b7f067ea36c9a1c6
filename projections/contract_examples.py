"""The examples that a channel contract carries: what a channel must show of a product. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pagefold.domains.channel_view import ShownProduct
from pagefold.domains.locales import with_general_forms
from pagefold.projections.channel_contracts import ChannelContract, CompiledContract
from pagefold.projections.transforms import Registry


class FailedExample(NamedTuple):
    """An example whose result is another one: its number, from 1, what was expected, and what came."""

    number: int
    expected: Any
    found: Any


def failed_examples(contract: ChannelContract, locales: Sequence[str], registry: Registry) -> Iterator[FailedExample]:
    """The examples that a contract fails; one without a locale is for a channel with these locales.

    Raises `InvalidMapping` for a contract that cannot be compiled.
    """
    for number, example in enumerate(contract.examples, start=1):
        own = with_general_forms(example.locale) if example.locale else locales
        product = example.in_
        given = ShownProduct(product.attributes, [*product.categories], product.family, product.parent)
        shown, _, unmapped = CompiledContract(contract, own, registry).applied(given, set())
        found = {**msgspec.to_builtins(shown), "unmapped": sorted(unmapped)}
        expected = msgspec.to_builtins(example.out)
        if any(found[name] != value for name, value in expected.items()):
            yield FailedExample(number, expected, {name: found[name] for name in expected})
