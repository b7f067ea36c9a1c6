"""`[targets.X]`: the systems that pages are delivered to."""

import pytest

from pagefold import Config
from pagefold.engine.configuration.target_config import KINDS
from pagefold.engine.errors import ConfigurationError
from tests.support.small_shop import document

HTTP: dict[str, object] = {"url": "https://shop.example/hooks"}
SEARCH: dict[str, object] = HTTP | {"index": "products"}
TABLES: dict[str, dict[str, object]] = {
    "http": HTTP,
    "files": {"folder": "export"},
    "nats": {"servers": ["nats://nats.example:4222"]},
    "kafka": {"servers": ["kafka.example:9092"], "topic": "pages"},
    "redis": {"url": "redis://cache.example:6379/0"},
    "meilisearch": SEARCH,
    "opensearch": SEARCH,
    "typesense": SEARCH,
    "algolia": SEARCH | {"application": "A1"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_table_says_how_it_is_reached(kind: str) -> None:
    """Its name is the kind of the target."""
    config = Config.parse(document(targets={"search": {"channels": ["web-de"], kind: TABLES[kind]}}))
    assert config.targets["search"].kind == kind


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ({}, "", "needs one table of http, files"),
        ({"http": HTTP, "files": {"folder": "x"}}, "", "it has http and files"),
        ({"http": HTTP, "channels": ["web-dee"]}, ".channels", "did you mean 'web-de'"),
        ({"http": HTTP, "fields": ["pricing..amount"]}, ".fields", "not a dotted path"),
        ({"http": HTTP, "contracts": {}}, ".contracts", "unknown key"),
        ({"http": {"url": "ftp://a.example"}}, ".http.url", "is not an address"),
        ({"http": {"url": "https://a.example:99999"}}, ".http.url", "is not an address"),
        ({"http": {"url": "https://ann:pass-word@a.example"}}, ".http.url", "a user or a password"),
        ({"http": HTTP | {"networks": ["10.0.0.0/33"]}}, ".http.networks", "is not a network"),
        ({"http": HTTP | {"secret_variable": "whsec_pass-word"}}, ".http.secret_variable", "environment variable"),
        ({"http": HTTP | {"header_variables": {"X": "pass-word"}}}, ".http.header_variables.X", "environment variable"),
        ({"http": HTTP | {"path": "/{product}"}}, ".http.path", "no other braces"),
        ({"redis": {"url": "redis://:pass-word@a.example"}}, ".redis.url", "a user or a password"),
        ({"nats": {"servers": []}}, ".nats.servers", "has no server"),
        ({"meilisearch": SEARCH | {"id": "{sku"}}, ".meilisearch.id", "no other braces"),
        ({"redis": {"url": "redis://a.example", "key": "page"}}, ".redis.key", "needs {sku}"),
        ({"nats": {"servers": ["a.example"], "subject": "pages"}}, ".nats.subject", "needs {sku}"),
        ({"algolia": SEARCH}, ".algolia.application", "is needed"),
        ({"http": HTTP, "concurrency": 0}, ".concurrency", ">= 1"),
    ],
)
def test_what_is_wrong_is_an_error(table: dict[str, object], key: str, problem: str) -> None:
    """It names the key, and shows no secret."""
    with pytest.raises(ConfigurationError, match=problem) as error:
        Config.parse(document(targets={"search": table}))
    assert error.value.key == f"targets.search{key}"
    assert "pass-word" not in str(error.value)
