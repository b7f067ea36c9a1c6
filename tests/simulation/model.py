"""The expected pages, from the rows of the log only. Written from the design; shares no code with the product."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

Document: TypeAlias = dict[str, Any]
Versions: TypeAlias = dict[str, int]
Shown: TypeAlias = tuple[Versions, Document | None]
"""A section as a reader sees it: its versions, and its content."""

DOMAINS = ("catalog", "pricing", "inventory", "media")
AMOUNTS = ("amount", "compareAt")
VERSION_BITS = 2**53
"""A stored version has the epoch in the bits above it."""

EPOCHS = "pagefold-epochs"
"""The stream of epoch events."""

DEFAULTS: dict[str, Document] = {
    "catalog": {"attributes": {}, "localized": {}, "categories": [], "enabled": True, "references": {}},
    "pricing": {"tiers": [], "customerGroups": {}, "scheduled": []},
    "inventory": {"safetyStock": 0, "backorderable": False},
    "media": {"assets": []},
    "asset": {"position": 0, "alt": {}},
}


class Row(NamedTuple):
    """An event of the log."""

    position: int
    stream: str
    version: int
    revision: int
    topic: str
    state: Document

    @property
    def place(self) -> tuple[str, int]:
        """Its stream, and the source's version, in any epoch."""
        return self.stream, self.version % VERSION_BITS

    @property
    def epoch(self) -> int:
        """Its epoch."""
        return self.version // VERSION_BITS

    @property
    def rank(self) -> tuple[int, int]:
        """The order of the events of a stream."""
        return self.version, self.revision


class Stage(NamedTuple):
    """The state of a section from a position of the log on."""

    position: int
    shown: Shown


class Section(NamedTuple):
    """One domain's part of a page."""

    versions: Versions
    updated_at: str
    body: Document | None
    ready: bool


class Fold:
    """The pages of a shop, from its configuration: sources with their domains, and channels.

    Products of sources that are `inheriting` have what their parents have.
    """

    def __init__(
        self, sources: Mapping[str, str], channels: Mapping[str, Document], inheriting: Collection[str] = ()
    ) -> None:
        self._sources = sources
        self._channels = channels
        self.inheriting = inheriting

    def pages(self, log: Iterable[Row]) -> dict[tuple[str, str], bytes]:
        """Every page, disabled ones too, by SKU and channel."""
        heads = heads_of(log)
        skus = sorted({stream.split("/")[0] for stream in heads})
        pages = {}
        for sku in skus:
            for channel in self._channels:
                sections = {domain: self.section(heads, sku, channel, domain) for domain in DOMAINS}
                present = {domain: section for domain, section in sections.items() if section is not None}
                if present:
                    pages[unquote(sku), channel] = self._page(unquote(sku), channel, present)
        return pages

    def section(self, heads: Mapping[str, Row], sku: str, channel: str, domain: str) -> Section | None:
        """One section, of the SKU encoded as in the log; None if no source that counts has events."""
        settings = self._channels[channel]
        versions: Versions = {}
        moments: list[str] = []
        counting: list[tuple[str, Document]] = []
        for source in self.ranking(channel, domain):
            names = [f"{sku}/{scope}/{domain}/{source}" for scope in (channel, "*")]
            found = [heads[name] for name in names if name in heads]
            if not found:
                continue
            moments += [row.state["occurredAt"] for row in found]
            valid = [row for row in found if counts(row, domain, settings)]
            versions[f"{domain}/{source}"] = (valid or found)[0].version % VERSION_BITS
            for row in valid[:1]:
                payload: Document = row.state["payload"]
                if domain == "catalog" and source in self.inheriting:
                    shared = [each for each in found if is_for_all(each) and each.state["payload"] is not None]
                    for each in shared:
                        moments += [above.state["occurredAt"] for above in looked_at(heads, each, "*")]
                    moments += [above.state["occurredAt"] for above in looked_at(heads, row, channel)]
                    payload = laid_over(payload, parents_of(heads, row, channel))
                counting.append((source, payload))
        if not moments:
            return None
        body, ready = body_of(domain, counting, settings) if counting else (None, False)
        return Section(dict(sorted(versions.items())), max(moments), body, ready and body is not None)

    def ranking(self, channel: str, domain: str) -> Sequence[str]:
        """The sources of a domain, in the channel's order."""
        chosen: Sequence[str] | None = self._channels[channel].get("sources", {}).get(domain)
        return [name for name, of in self._sources.items() if of == domain] if chosen is None else chosen

    def _page(self, sku: str, channel: str, sections: Mapping[str, Section]) -> bytes:
        readiness = {domain: domain in sections and sections[domain].ready for domain in DOMAINS}
        required = {"catalog", *self._channels[channel].get("requires", [])}
        catalog = sections.get("catalog")
        page: Document = {
            "sku": sku,
            "channel": channel,
            "status": "live" if catalog is None or catalog.body is not None else "disabled",
            "ready": all(readiness[domain] for domain in required),
            "readiness": readiness,
            "sourceVersions": {name: version for each in sections.values() for name, version in each.versions.items()},
            "updatedAt": max(each.updated_at for each in sections.values()),
        }
        for domain in DOMAINS:
            section = sections.get(domain)
            page[domain] = None if section is None or section.body is None else in_order(section.body)
        return encoded(page)


def is_for_all(row: Row) -> bool:
    """Whether an event is for every channel."""
    return row.stream.split("/")[1] == "*"


def above(heads: Mapping[str, Row], row: Row, channel: str) -> list[Row]:
    """The heads of the parent that a product's event names: for the channel, then for all."""
    name = row.state["payload"].get("parent")
    if not name:
        return []
    sku = name.replace("%", "%25").replace("/", "%2F")
    *_, domain, source = row.stream.split("/")
    streams = [f"{sku}/{scope}/{domain}/{source}" for scope in dict.fromkeys((channel, "*"))]
    return [heads[stream] for stream in streams if stream in heads]


def looked_at(heads: Mapping[str, Row], row: Row, channel: str) -> list[Row]:
    """The heads of all parents of a product, also those that count nowhere."""
    rows = above(heads, row, channel)
    counting = [each for each in rows if each.state["payload"] is not None][:1]
    return rows + [each for parent in counting for each in looked_at(heads, parent, channel)]


def parents_of(heads: Mapping[str, Row], row: Row, channel: str) -> list[Document]:
    """What counts of the parents of a product, nearest first."""
    counting = [each for each in above(heads, row, channel) if each.state["payload"] is not None][:1]
    return [each for parent in counting for each in (parent.state["payload"], *parents_of(heads, parent, channel))]


def laid_over(payload: Document, parents: Sequence[Document]) -> Document:
    """A payload with what it lacks from its parents, nearest first."""
    for parent in parents:
        own, texts = payload.get("attributes", {}), dict(payload.get("localized", {}))
        for code, text in parent.get("localized", {}).items():
            if code not in own:
                texts[code] = text | texts.get(code, {})
        given = {field: parent[field] for field in ("categories", "family") if field in parent}
        payload = given | payload | {"attributes": parent.get("attributes", {}) | own, "localized": texts}
    return payload


def heads_of(log: Iterable[Row]) -> dict[str, Row]:
    """The newest event of every stream."""
    heads: dict[str, Row] = {}
    for row in log:
        if row.topic in DOMAINS and (row.stream not in heads or row.rank > heads[row.stream].rank):
            heads[row.stream] = row
    return heads


def history_of(fold: Fold, log: Sequence[Row]) -> dict[tuple[str, str, str], list[Stage]]:
    """By (SKU, channel, domain), every state of the section, in the order of the log."""
    history: dict[tuple[str, str, str], list[Stage]] = defaultdict(list)
    heads: dict[str, Row] = {}
    for row in log:
        if row.topic not in DOMAINS or (row.stream in heads and heads[row.stream].rank > row.rank):
            continue
        heads[row.stream] = row
        sku = row.stream.split("/")[0]
        variants = {stream.split("/")[0] for stream in heads} if fold.inheriting and row.topic == "catalog" else {sku}
        for each, channel in product(sorted(variants), fold._channels):
            section = fold.section(heads, each, channel, row.topic)
            if section is None:
                continue
            shown = (section.versions, section.body)
            states = history[unquote(each), channel, row.topic]
            if not states or states[-1].shown != shown:
                states.append(Stage(row.position, shown))
    return history


def counts(row: Row, domain: str, channel: Document) -> bool:
    """A withdrawn event does not count, nor a price in another currency than the channel's."""
    payload = row.state["payload"]
    return payload is not None and (domain != "pricing" or payload["currency"] == channel["currency"])


def body_of(domain: str, counting: Sequence[tuple[str, Document]], channel: Document) -> tuple[Document | None, bool]:
    """The content of a section, and whether it is ready."""
    if domain == "catalog":
        return catalog_of([payload for _, payload in counting], locales_of(channel)), True
    if domain == "pricing":
        return counting[0][1], True
    if domain == "inventory":
        return stock_of(counting), True
    assets = assets_of([payload for _, payload in counting], locales_of(channel))
    return {"assets": assets}, bool(assets)


def catalog_of(payloads: Sequence[Document], locales: Sequence[str]) -> Document | None:
    """Each attribute from the first source that has it; one source that disables is enough."""
    if any(payload.get("enabled") is False for payload in payloads):
        return None
    attributes: Document = {}
    for payload in payloads:
        own = dict(payload.get("attributes", {}))
        for code, texts in payload.get("localized", {}).items():
            text = text_in(texts, locales)
            if text is not None:
                own[code] = text
        attributes = own | attributes
    body: Document = {"attributes": attributes}
    for field, nothing in (("categories", []), ("family", None), ("parent", None)):
        body[field] = next((payload[field] for payload in payloads if payload.get(field)), nothing)
    return body


def stock_of(counting: Sequence[tuple[str, Document]]) -> Document:
    """The sum of all locations' available stock."""
    locations = []
    for source, payload in counting:
        uncounted = payload["available"] is None
        spare = None if uncounted else max(payload["available"] - payload.get("safetyStock", 0), 0)
        restock = {"restockAt": payload["restockAt"]} if payload.get("restockAt") else {}
        locations.append({"source": source, "available": spare} | restock)
    known: list[Any] = [location["available"] for location in locations]
    total = None if None in known else sum(known)
    backorder = any(payload.get("backorderable") for _, payload in counting)
    body = {
        "available": total,
        "status": "in_stock" if total is None or total else "backorder" if backorder else "out_of_stock",
        "locations": locations,
    }
    restocks = [payload["restockAt"] for _, payload in counting if payload.get("restockAt")]
    return body | ({"restockAt": min(restocks)} if restocks else {})


def assets_of(payloads: Sequence[Document], locales: Sequence[str]) -> list[Document]:
    """All pictures, in their order, with their texts in the channel's language."""
    assets = []
    for payload in payloads:
        for asset in payload.get("assets", []):
            shown = {"position": 0} | {name: value for name, value in asset.items() if name != "alt"}
            text = text_in(asset.get("alt", {}), locales)
            assets.append(shown if text is None else shown | {"alt": text})
    return sorted(assets, key=lambda asset: asset["position"])


def locales_of(channel: Document) -> list[str]:
    """The locale and each of its fallbacks, each followed by its more general forms."""
    chain: list[str] = []
    for locale in [channel["locale"], *channel.get("fallbacks", [])]:
        parts = locale.split("-")
        chain += ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return chain


def text_in(texts: Mapping[str, str], locales: Sequence[str]) -> str | None:
    """The text of the first locale that has one."""
    return next((texts[locale] for locale in locales if locale in texts), None)


# --- contents -------------------------------------------------------------------------------------


def canonical(domain: str, payload: Document | None) -> Document | None:
    """The canonical form of content: without defaults, timestamps in UTC."""
    if payload is None:
        return None
    fields = {**payload}
    if "localized" in fields:
        texts = {code: in_locales(text) for code, text in fields["localized"].items()}
        fields["localized"] = {code: text for code, text in texts.items() if text}
    if "references" in fields:
        ids = {kind: in_id_order(given) for kind, given in fields["references"].items()}
        fields["references"] = {kind: each[0] if len(each) == 1 else each for kind, each in ids.items() if each}
    if "assets" in fields:
        assets = [asset | {"alt": in_locales(asset.get("alt", {}))} for asset in fields["assets"]]
        fields["assets"] = [without_defaults(asset, DEFAULTS["asset"]) for asset in assets]
    for name in ("tiers", "scheduled"):
        if name in fields:
            fields[name] = [in_utc(in_cents(without_defaults(each, {}))) for each in fields[name]]
    uncounted = {"available": None} if domain == "inventory" and payload["available"] is None else {}
    return in_utc(in_cents(without_defaults(fields, DEFAULTS[domain]))) | uncounted


def without_defaults(fields: Document, defaults: Document) -> Document:
    """Without nulls and defaults."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and (name not in defaults or value != defaults[name])
    }


def in_id_order(given: Any) -> list[str]:  # noqa: ANN401  # an id, or several
    """Ids as text, each once."""
    return sorted({str(each) for each in (given if isinstance(given, list) else [given])})


def in_locales(texts: Mapping[str, str | list[str] | None]) -> Document:
    """Without blank texts, by canonical BCP 47 tags: `de_at` is `de-AT`."""
    kept = {
        locale: [each for each in text if each.strip()] if isinstance(text, list) else text
        for locale, text in texts.items()
    }
    return {
        in_bcp_47(locale): text for locale, text in kept.items() if text and (isinstance(text, list) or text.strip())
    }


def in_bcp_47(locale: str) -> str:
    """A language, and a region if there is one."""
    language, _, region = locale.replace("_", "-").partition("-")
    return f"{language.lower()}-{region.upper()}" if region else language.lower()


def in_cents(fields: Document) -> Document:
    """With every amount in canonical form: no insignificant zeros, and at least two decimals."""
    return {name: in_cents_text(value) if name in AMOUNTS else value for name, value in fields.items()}


def in_cents_text(amount: str) -> str:
    """An amount, as it is stored."""
    whole, _, decimals = amount.partition(".")
    return f"{whole.lstrip('0') or '0'}.{decimals.rstrip('0').ljust(2, '0')}"


def in_utc(fields: Document) -> Document:
    """With every moment in UTC."""
    return {
        name: in_utc_text(value) if name in ("from", "until", "restockAt") else value for name, value in fields.items()
    }


def in_utc_text(moment: str) -> str:
    """A timestamp in UTC."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat().replace("+00:00", "Z")


def in_microseconds(moment: datetime) -> str:
    """A timestamp as in the log, always with six digits."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def encoded(document: object) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def in_order(value: Any) -> Any:  # noqa: ANN401  # whatever JSON has
    """With the keys of every object sorted."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value
