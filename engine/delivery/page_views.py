"""What a target's filter and contract make of a page, by the functions that channels use."""

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import msgspec

from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.configuration.channel_documents import transform_registry
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.runtime.extras import needs_extra

Page: TypeAlias = dict[str, object]

_FIELDS = ("attributes", "categories", "family", "parent")


def filter_of(target: TargetConfig) -> Callable[[Page], bool] | None:
    """Whether a target is to get a page; None if it gets every one. A page without a catalog meets no rule."""
    if not target.filters:
        return None
    with needs_extra("[targets.X] filters", "contracts"):
        from pagefold.projections.channel_filters import Filters  # noqa: PLC0415  # its packages are an extra

    filters = Filters(msgspec.to_builtins(target.filters))

    def passes(page: Page) -> bool:
        product = _product(page)
        return product is not None and filters.shows(product)

    return passes


def mapping_of(target: TargetConfig) -> Callable[[Page], Page] | None:
    """A page under the names of a target's contract; None if it has none.

    What cannot be mapped is as in a channel: it is left out, and listed with `warn`; with `fail`, the catalog, and so
    the page, is not ready, too.
    """
    if not isinstance(target.contract, dict):
        return None
    with needs_extra("[targets.X] contract", "contracts"):
        from pagefold.projections.channel_contracts import (  # noqa: PLC0415  # its packages are an extra
            CompiledContract,
            parse_contract,
        )

    document = parse_contract(cast("Mapping[str, object]", target.contract["document"]))
    locales = cast("Mapping[str, list[str]]", target.contract["locales"])
    compiled = {name: CompiledContract(document, each, transform_registry()) for name, each in locales.items()}

    def mapped(page: Page) -> Page:
        product, contract = _product(page), compiled.get(str(page["channel"]))
        if product is None or contract is None:
            return page
        product, _, unmapped = contract.applied(product, set())
        catalog = cast("Page", page["catalog"]) | {name: getattr(product, name) for name in _FIELDS}
        catalog["contract"] = contract.identity
        if unmapped:
            catalog["unmapped"] = sorted(set(unmapped))
        page = page | {"catalog": catalog}
        if unmapped and contract.level == "fail":
            page |= {"ready": False, "readiness": cast("Page", page.get("readiness", {})) | {"catalog": False}}
        return page

    return mapped


def _product(page: Page) -> ShownProduct | None:
    catalog = page.get("catalog")
    if not isinstance(catalog, dict):
        return None
    return ShownProduct(
        catalog.get("attributes", {}), catalog.get("categories", []), catalog.get("family"), catalog.get("parent")
    )
