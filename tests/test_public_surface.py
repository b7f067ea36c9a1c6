"""The public surface: what `import pagefold` offers to programs that embed it."""

import builtins
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

import pagefold
from pagefold.domains.catalog import Catalog
from pagefold.domains.inventory import Inventory
from pagefold.domains.media import Asset, Media
from pagefold.domains.pricing import Pricing, Scheduled, Tier
from pagefold.engine import errors
from tests.support.small_shop import with_channel


def every_error(base: type[BaseException]) -> Iterator[type[BaseException]]:
    """A class and all its subclasses."""
    yield base
    for each in base.__subclasses__():
        yield from every_error(each)


def load_everything() -> None:
    """Imports every module of the package."""
    for module in pkgutil.walk_packages(pagefold.__path__, "pagefold."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_every_error_is_exported() -> None:
    """Whatever a call raises can be named in an `except`, and is in the documented tree."""
    load_everything()
    found = {each for each in every_error(pagefold.PagefoldError) if each.__module__.startswith("pagefold.")}
    assert len(found) > 20
    for each in found:
        assert getattr(pagefold, each.__name__) is each
        assert each.__name__ in pagefold.__all__
    assert errors.__doc__ is not None
    drawn = [line.strip("│├└─ ").split()[0] for line in errors.__doc__.splitlines() if "──" in line]
    assert sorted(drawn) == sorted(each.__name__ for each in found - {pagefold.PagefoldError})


def test_the_documented_tree_is_that_of_the_classes() -> None:
    """The documented tree is the tree of classes."""
    assert errors.__doc__ is not None
    above = [pagefold.PagefoldError]
    for line in errors.__doc__.splitlines():
        if "──" not in line:
            continue
        depth, name = line.index("──") // 4 + 1, line.strip("│├└─ ").split()[0]
        error = getattr(pagefold, name)
        del above[depth:]
        assert error.__bases__ == (above[-1],)
        above.append(error)


def test_a_star_import_shadows_no_builtin() -> None:
    """`from pagefold import *` shadows neither Python's `open` nor another builtin."""
    names: dict[str, object] = {}
    exec("from pagefold import *", names)  # noqa: S102  # a star import is not allowed in a function
    assert names["open_shop"] is pagefold.open
    assert set(dir(builtins)).isdisjoint(pagefold.__all__)
    assert set(dir(builtins)).isdisjoint(names.keys() - {"__builtins__"})


# --- types ----------------------------------------------------------------------------------------

Payload: TypeAlias = (
    pagefold.CatalogPayload | pagefold.PricingPayload | pagefold.InventoryPayload | pagefold.MediaPayload
)

FULL: dict[str, Payload] = {
    "catalog": pagefold.CatalogPayload(
        attributes={"name": "Shirt", "sizes": [1, 2.5, None]},
        localized={"title": {"de": "Hemd", "fr": None}},
        categories=["tops"],
        family="shirts",
        parent="P",
        enabled=True,
    ),
    "pricing": pagefold.PricingPayload(
        currency="EUR",
        amount="9.90",
        compareAt="12.00",
        taxIncluded=True,
        taxClass="full",
        tiers=[{"minQuantity": 10, "amount": "8.00"}],
        customerGroups={"vip": "7.00"},
        scheduled=[{"amount": "5.00", "from": datetime(2026, 1, 1, tzinfo=UTC), "until": "2026-02-01T00:00:00+01:00"}],
    ),
    "inventory": {"available": 3, "safetyStock": 1, "backorderable": True, "restockAt": "2026-01-01T00:00:00Z"},
    "media": pagefold.MediaPayload(
        assets=[
            pagefold.AssetPayload(
                url="a.webp", role="front", position=1, alt={"de": "Hemd"}, width=8, height=9, mimeType="image/webp"
            )
        ]
    ),
}
SPARSE: dict[str, Payload] = {
    "catalog": pagefold.CatalogPayload(),
    "pricing": {"currency": "EUR", "amount": "9.90", "scheduled": [{"amount": "5.00", "from": None}]},
    "inventory": {"available": None, "restockAt": None},
    "media": {"assets": [{"url": "a.webp"}]},
}

PROGRAM = """
import asyncio
import json
from datetime import UTC, datetime

import pagefold


async def main() -> None:
    async with pagefold.open("pagefold.toml") as shop:
        stock: pagefold.InventoryPayload = {"available": 3}
        event = pagefold.DomainEvent(
            type="inventory", sku="A", channel="*", source="erp", source_version=1,
            occurred_at=datetime.now(UTC), payload=stock,
        )
        [result] = await shop.append([event])
        outcome: str = result.outcome
        await shop.catch_up()
        page = await shop.pages.get("A", "web")
        assert page is not None
        available: int | None = page["inventory"]["available"]
        amount: str = page["pricing"]["amount"]
        urls: list[str] = [asset["url"] for asset in page["media"]["assets"]]
        name = page["catalog"]["attributes"]["name"]
        section: pagefold.CatalogSection | None = page.sections["catalog"]
        body = await shop.pages.get_json("A", "web")
        document: pagefold.PageDocument = json.loads(body or b"{}")
        print(outcome, available, amount, urls, name, section, document["sourceVersions"])


asyncio.run(main())
"""


def checked(program: str, folder: Path) -> str:
    """mypy's output for a program that is installed with `pagefold` only."""
    (folder / "program.py").write_text(program)
    arguments = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "program.py"]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, check=False).stdout


def test_a_program_that_reads_pages_is_typed(tmp_path: Path) -> None:
    """Sections, payloads and documents pass `mypy --strict`; a misspelt key does not."""
    assert checked(PROGRAM, tmp_path) == "Success: no issues found in 1 source file\n"
    wrong = PROGRAM.replace('["available"]', '["availabel"]').replace('{"available": 3}', '{"available": "3"}')
    output = checked(wrong.replace('["amount"]', '["amount"] + 1'), tmp_path)
    assert "Found 3 errors in 1 file" in output, output
    assert 'TypedDict "InventorySection" has no key "availabel"' in output


@pytest.mark.parametrize("payloads", [FULL, SPARSE], ids=["full", "sparse"])
async def test_pages_have_their_types(config: pagefold.Config, payloads: Mapping[str, Payload]) -> None:
    """Every key of a section is in its type, with its type; the channel has a contract and requirements."""
    wrong = {"from": "sizes", "check": {"max_items": 1}}
    contract = {"name": "web", "others": "keep", "attributes": {"sizes": wrong}}
    requirement = {"name": "shop", "requires": [{"attributes": ["care"]}], "checks": []}
    config = with_channel(config, "web-de", contract=contract, requirements=[requirement])
    sources = {"catalog": "pim", "pricing": "erp", "inventory": "wms-a", "media": "dam"}
    said = [
        pagefold.DomainEvent(
            type=domain,
            sku="A",
            channel="*",
            source=sources[domain],
            source_version=1,
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
            payload=payload,
        )
        for domain, payload in payloads.items()
    ]
    async with pagefold.open(config) as shop:
        assert {result.outcome for result in await shop.append(said)} == {"appended"}
        await shop.catch_up()
        page, body = await shop.pages.get("A", "web-de"), await shop.pages.get_json("A", "web-de")
    assert page is not None
    assert body is not None
    document = msgspec.json.decode(body)
    assert msgspec.convert(page.sections, pagefold.PageSections) == page.sections
    assert msgspec.convert(document, pagefold.PageDocument) == document
    assert {domain: document[domain] for domain in payloads} == page.sections
    if payloads is FULL:
        for section, kind in (
            (page["catalog"], pagefold.CatalogSection),
            (page["pricing"], pagefold.PricingSection),
            (page["inventory"], pagefold.InventorySection),
            (page["media"]["assets"][0], pagefold.MediaAsset),
        ):
            assert section.keys() == kind.__annotations__.keys()


@pytest.mark.parametrize(
    ("kind", "struct"),
    [
        (pagefold.CatalogPayload, Catalog),
        (pagefold.PricingPayload, Pricing),
        (pagefold.TierPayload, Tier),
        (pagefold.ScheduledPayload, Scheduled),
        (pagefold.InventoryPayload, Inventory),
        (pagefold.MediaPayload, Media),
        (pagefold.AssetPayload, Asset),
    ],
)
def test_payload_types_are_the_payloads(kind: Any, struct: type[msgspec.Struct]) -> None:  # noqa: ANN401  # a TypedDict is no type that can be named
    """A payload's type has the fields of its struct; the same ones are required."""
    fields = msgspec.structs.fields(struct)
    assert kind.__annotations__.keys() == {field.encode_name for field in fields}
    assert kind.__required_keys__ == {field.encode_name for field in fields if field.required}


async def test_a_missing_section_is_a_key_error(config: pagefold.Config) -> None:
    """A page without a price raises `KeyError`; `in` is false, and `sections` has None."""
    event = pagefold.DomainEvent(
        type="inventory",
        sku="A",
        channel="*",
        source="wms-a",
        source_version=1,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        payload={"available": 1},
    )
    async with pagefold.open(config) as shop:
        await shop.append([event])
        await shop.catch_up()
        page = await shop.pages.get("A", "web-de")
    assert page is not None
    assert ("inventory" in page, "pricing" in page, "prices" in page) == (True, False, False)
    assert page.sections["pricing"] is None
    for name in ("pricing", "prices"):
        with pytest.raises(KeyError, match=name):
            page[name]
