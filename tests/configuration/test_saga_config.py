"""`[sagas.X]`: targets that get a page together."""

import pytest

from pagefold import Config
from pagefold.engine.configuration.saga_config import groups_of
from pagefold.engine.errors import ConfigurationError
from tests.support.small_shop import document

HTTP: dict[str, object] = {"url": "https://shop.example/hooks", "path": "/{channel}/{sku}"}
TARGETS: dict[str, object] = {
    "market": {"http": HTTP},
    "cache": {"redis": {"url": "redis://cache.example:6379/0"}},
    "batched": {"http": {"url": "https://shop.example", "batches": True}},
    "german": {"http": HTTP, "channels": ["web-de"]},
    "whole": {"http": HTTP, "ready": True},
}


def test_a_saga_has_targets_in_an_order() -> None:
    """The last one decides, unless another is named."""
    config = Config.parse(document(targets=TARGETS, sagas={"listing": {"targets": ["market", "cache"]}}))
    assert config.sagas["listing"].decides == "cache"
    assert groups_of(config.sagas) == {"market": "listing", "cache": "listing"}


@pytest.mark.parametrize(
    ("saga", "key", "problem"),
    [
        ({"targets": ["market"]}, ".targets", "two targets or more"),
        ({"targets": ["market", "cash"]}, ".targets", "did you mean 'cache'"),
        ({"targets": ["market", "cache", "market"]}, ".targets", "'market' is twice"),
        ({"targets": ["market", "german"]}, ".targets", "other `channels`, `ready` or `filters`"),
        ({"targets": ["market", "whole"]}, ".targets", "other `channels`, `ready` or `filters`"),
        ({"targets": ["market", "cache"], "pivot": "whole"}, ".pivot", "is not one of its targets"),
        ({"targets": ["market", "cache"], "compensations": {"whole": {}}}, ".compensations.whole", "not one of"),
        (
            {"targets": ["market", "cache"], "compensations": {"cache": {}}},
            ".compensations.cache",
            "of the kind `http`",
        ),
        ({"targets": ["market", "batched"], "compensations": {"batched": {}}}, ".compensations.batched", "without"),
        (
            {"targets": ["market", "cache"], "compensations": {"market": {"path": "/{id}"}}},
            ".compensations.market.path",
            "no other braces",
        ),
        (
            {"targets": ["market", "cache"], "compensations": {"market": {"body": "{sku}"}}},
            ".compensations.market.body",
            "is not JSON",
        ),
    ],
)
def test_what_is_wrong_is_an_error(saga: dict[str, object], key: str, problem: str) -> None:
    """It names the key, and what is allowed."""
    with pytest.raises(ConfigurationError, match=problem) as error:
        Config.parse(document(targets=TARGETS, sagas={"listing": saga}))
    assert error.value.key == f"sagas.listing{key}"


def test_a_target_is_in_one_saga() -> None:
    """Else two would decide about it."""
    sagas = {"one": {"targets": ["market", "cache"]}, "two": {"targets": ["batched", "cache"]}}
    with pytest.raises(ConfigurationError, match="already in the saga one"):
        Config.parse(document(targets=TARGETS, sagas=sagas))
