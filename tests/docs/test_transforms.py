"""What docs/transforms.md says in its prose is true: its mappings compile, and its transform of a shop is pure."""

import tomllib

from pagefold.engine.plugins.purity import impurity
from pagefold.engine.plugins.transform_plugins import GROUP
from pagefold.projections.transforms import InvalidValue, Transform, text_table
from tests.docs.generated import TRANSFORMS
from tests.support.documents import blocks
from tests.support.transform_fixtures import compiler_for, made, refusal

PAGE = TRANSFORMS.read_text("utf-8")
RECORD = {"title": "Tee", "stock": {"free": "12.0"}, "price": 1990, "cur": "EUR", "colors": "49, 50"}
COLORS = text_table("color", {"49": "Black", "50": "Blue"})


def test_the_mappings_compile() -> None:
    """Each gives what the text around it says."""
    mappings = tomllib.loads(next(block for _, block in blocks(PAGE, "toml")))
    results = {name: made(spec, RECORD, tables={"color": COLORS}) for name, spec in mappings.items()}
    assert results == {"name": "Tee", "available": 12, "amount": "19.90", "colors": "Black / Blue"}


def test_the_error_is_the_one_that_is_shown() -> None:
    """The page shows an error as it is."""
    error = refusal({"from": "price", "money": "EUR"}, {"price": "12,50"})
    assert isinstance(error, InvalidValue)
    assert str(error).replace("payload.x", "payload.amount") in PAGE


def test_the_transform_of_a_shop_is_pure() -> None:
    """The program defines a transform that passes the check, and its entry point names it."""
    [(_, program)] = blocks(PAGE, "python")
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102  # it is our own
    transform = names["INITIALS"]
    assert isinstance(transform, Transform)
    assert impurity(transform) is None
    assert compiler_for().registry.extended([transform]).find("initials", "") is transform
    project = tomllib.loads([block for _, block in blocks(PAGE, "toml")][-1])["project"]
    assert project["entry-points"][GROUP] == {"initials": "shop_transforms:INITIALS"}
