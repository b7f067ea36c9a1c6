"""Every transform does what its examples say, refuses only as it declares, and can be described."""

from copy import deepcopy

import pytest
from msgspec import UNSET

from pagefold.projections.transforms import AnyTransform, Example, InvalidValue
from pagefold.projections.transforms.builtin import BUILTIN
from pagefold.projections.transforms.value_types import has_type
from tests.support.transform_fixtures import KEY, compiler_for, example_spec

EXAMPLES = [
    pytest.param(transform, example, id=f"{transform.name}-{index}")
    for transform in BUILTIN
    for index, example in enumerate(transform.examples)
]


@pytest.mark.parametrize(("transform", "example"), EXAMPLES)
def test_an_example_holds(transform: AnyTransform, example: Example) -> None:
    """The result, or the refusal, is the declared one, twice; the record stays as it was."""
    spec, record = example_spec(transform, example)
    before = deepcopy(record)
    mapping = compiler_for(example).mapping(spec, KEY)
    for _ in range(2):
        if example.refused is not None:
            with pytest.raises(InvalidValue) as caught:
                mapping.read(record)
            assert (caught.value.code, caught.value.key) == (example.refused, KEY)
        else:
            result = mapping.read(record)
            assert result is UNSET or has_type(result, mapping.output)
            assert result == example.result
            assert type(result) is type(example.result)
            assert (
                result is UNSET
                or has_type(result, transform.output)
                or (transform.per_item and isinstance(result, list))
            )
        assert record == before


@pytest.mark.parametrize("transform", BUILTIN, ids=lambda transform: transform.name)
def test_every_transform_is_described(transform: AnyTransform) -> None:
    """It has a sentence, examples, and refusals whose examples it declares."""
    assert transform.summary.endswith(".")
    assert transform.examples or transform.name == "use"
    assert {each.refused for each in transform.examples} - {None} <= transform.refusals.keys()
