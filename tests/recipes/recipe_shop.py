"""A shop made by a recipe, for tests: its files, its server, and what its pages must be."""

import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.recipes.recipe_files import CONFIGURATION, recipe_files
from tests.support.http_clients import client_of, service_of
from tests.support.shared_data import FOLDER

FORMATS = FOLDER.parent / "formats"
"""The folder with payloads of the systems and the pages that they make; it is not part of the project."""


class Delivery(NamedTuple):
    """A recorded request: its path, its headers and its body. `notes` are the lines before it, `# name: value`."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    notes: Mapping[str, str]


class RecipeShop:
    """An open shop, and a client of its server."""

    def __init__(self, shop: Shop, client: httpx2.AsyncClient) -> None:
        self.shop = shop
        self.client = client

    async def deliver(self, delivery: Delivery) -> httpx2.Response:
        """Sends a request as it was recorded."""
        return await self.client.post(delivery.path, content=delivery.body, headers=dict(delivery.headers))

    async def rebuild(self, source: str, domains: Collection[str] | None = None) -> RunReport:
        """Compares the snapshot of a source with the log, and repairs what differs, in all domains or some."""
        async with self.shop.rebuilds() as service:
            return await service.rebuild(source, RebuildRequest(domains=domains))

    async def page(self, sku: str, channel: str) -> Any:  # noqa: ANN401  # JSON
        """A page, once everything is folded; None if there is none. Without the time of its last change."""
        await self.shop.catch_up()
        found = await self.shop.pages.get_json(sku, channel)
        if found is None:
            return None
        page = json.loads(found)
        page.pop("updatedAt", None)
        return page

    async def pages(self, wanted: Iterable[Mapping[str, Any]]) -> list[Any]:
        """The pages of the same SKUs and channels."""
        return [await self.page(each["sku"], each["channel"]) for each in wanted]


@asynccontextmanager
async def recipe_shop(
    system: str,
    folder: Path,
    url: str,
    *,
    addresses: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[RecipeShop]:
    """A shop that `pagefold init --with` has made in a folder, with a store at a URL.

    `addresses` are texts of the files, and what a person would write in their place. `variables` are those of the
    environment.
    """
    for name, text in recipe_files(system).items():
        for given, own in (addresses or {}).items():
            text = text.replace(given, own)  # noqa: PLW2901  # as a person edits a file
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    async with opened(folder, url, variables=variables) as made:
        yield made


@asynccontextmanager
async def opened(folder: Path, url: str, *, variables: Mapping[str, str] | None = None) -> AsyncIterator[RecipeShop]:
    """The shop whose files are in a folder."""
    config = Config.load(folder / CONFIGURATION, store=url)
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in (variables or {}).items():
            environment.setenv(variable, value)
        async with (
            pagefold.open(config) as shop,
            client_of(service_of(shop, environment=variables or {})) as client,
        ):
            yield RecipeShop(shop, client)


def delivery_in(text: str) -> Delivery:
    """A recorded request: lines of `# name: value`, the request line, headers, an empty line, the body."""
    head, _, body = text.partition("\n\n")
    lines = head.splitlines()
    notes = dict(line[1:].strip().partition(":")[::2] for line in lines if line.startswith("#"))
    first, *headers = (line for line in lines if not line.startswith("#"))
    return Delivery(
        first.split(" ")[1],
        {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in headers)},
        body.removesuffix("\n").encode(),
        {name: value.strip() for name, value in notes.items()},
    )


def format_file(system: str, name: str) -> Path:
    """A payload of a system; the test is skipped if that folder is missing."""
    file = FORMATS / system / name
    if not file.exists():
        pytest.skip(f"no {file}: PAGEFOLD_DATA names the folder of the data, which has the formats beside it")
    return file


def wanted_pages(system: str) -> list[dict[str, Any]]:
    """The pages that the payloads of a system make."""
    pages: list[dict[str, Any]] = json.loads(format_file(system, "want.json").read_text("utf-8"))["pages"]
    return pages
