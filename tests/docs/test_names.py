"""Commands, routes, metrics and attributes of a shop that the documentation names exist."""

import re
from pathlib import Path

import pagefold
from pagefold.engine.command.app import app
from pagefold.engine.http.route_table import ROUTES
from tests.docs.test_links import each_page
from tests.support.documents import PAGES, README, ROOT

GROUPS = {"dead-letters", "epochs", "pages", "rebuilds", "schema", "tokens"}

CONFIG = """
[sources.pim]
domains = ["catalog"]
[channels.web]
locale = "de"
currency = "EUR"
"""


@each_page
def test_every_command_that_is_named_exists(page: Path) -> None:
    """`pagefold COMMAND` is a command, and `pagefold GROUP COMMAND` one of that group."""
    for name, inner in re.findall(
        r"(?:^\$ |`)pagefold ([a-z][a-z-]*)(?: ([a-z-]+))?", page.read_text("utf-8"), re.MULTILINE
    ):
        assert name in set(app), f"{page.name} names `pagefold {name}`"
        if name in GROUPS and inner:
            assert inner in set(app[name]), f"{page.name} names `pagefold {name} {inner}`"


@each_page
def test_every_route_that_is_named_exists(page: Path) -> None:
    """A path in backquotes, with or without a method, is one of a route."""
    paths = [re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.path)) for route in ROUTES]
    for path in re.findall(
        r"`(?:GET |POST )?(/(?:v1/|readyz|healthz|metrics|openapi)[^`?]*)`", page.read_text("utf-8")
    ):
        assert any(re.fullmatch(each, path) for each in paths), f"{page.name} names {path}"


@each_page
def test_every_metric_that_is_named_exists(page: Path) -> None:
    """A name in backquotes that begins with `pagefold_` is a metric."""
    known = "".join(file.read_text("utf-8") for file in (ROOT / "engine" / "http").glob("*metrics.py"))
    for name in re.findall(r"`(pagefold_\w+)`", page.read_text("utf-8")):
        assert f'"{name.removesuffix("_total").removesuffix("_info")}' in known, f"{page.name} names {name}"


async def test_a_shop_has_what_is_named(tmp_path: Path) -> None:
    """A shop has every attribute that a page names."""
    async with pagefold.open(pagefold.Config.parse(CONFIG, store=f"sqlite:///{tmp_path}/shop")) as shop:
        for page in (README, *PAGES):
            for name in re.findall(r"(?<![/\w.])shop\.(\w+)", page.read_text("utf-8")):
                assert hasattr(shop, name), f"{page.name} names shop.{name}"
