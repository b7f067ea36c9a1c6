"""What the exports of other systems need, by configuration alone: each form, with data of our own, on both stores."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import pagefold
from tests.support.exports import at, page_of, refusals_of, shop_in
from tests.support.rebuild_fixtures import rebuild

CASES: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("export_cases.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", CASES)
async def test_an_export_by_configuration_alone(name: str, store_url: str, tmp_path: Path) -> None:
    """The pages are right after one rebuild, and a second one finds everything equal."""
    case = CASES[name]
    files = {case["file"]: case["text"], "x.toml": case["contract"], **case.get("beside", {})}
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    snapshot = f'snapshot = {{ file = "{tmp_path / case["file"]}", ends = "file", settle = 0 }}'
    config = shop_in(tmp_path, store_url, f'[sources.x]\ndomains = {case["domains"]}\ncontract = "x.toml"\n{snapshot}')
    async with pagefold.open(config) as shop:
        report = await rebuild(shop, "x")
        for sku, channel, path, value in case["pages"]:
            assert at(await page_of(shop, sku, channel), path) == (None if value == [] else value), (sku, channel, path)
        counts = report.counts.as_dict()
        assert counts | case.get("counts", {}) == counts
        found = [text for _, text in refusals_of(report)]
        assert len(found) == len(case.get("refusals", ()))
        assert all(part in text for part, text in zip(case.get("refusals", ()), found, strict=True)), found
        again = (await rebuild(shop, "x")).counts
        assert (again.missing, again.newer, again.changed, again.equal > 0) == (0, 0, 0, True)
