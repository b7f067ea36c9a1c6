"""An independent model of every page, in plain dictionaries.

The model shares no code with what it checks: no import from `domains`, `projections` or `engine`. It stores accepted
events and folds a page from scratch at each call, if possible with one line per rule of the design, so that a reader
can compare it with the page's definition.
"""

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import orjson

from pagefold.engine.demo.reference_completeness import measured
from pagefold.engine.demo.reference_texts import foreign_texts, text_for, translated

Document: TypeAlias = dict[str, Any]
"""A decoded JSON object. `Any`, because its shape depends on its writer."""

ModelOutcome: TypeAlias = Literal["appended", "duplicate", "conflict"]

Drift: TypeAlias = Literal["missing", "newer", "changed", "orphan", "recreated", "older"]
"""How a stream in the log differs from its source: it is missing, has an older version, has other content at the same
version, or is no longer in the source."""

DOMAINS = ("catalog", "pricing", "inventory", "media")

DEFAULTS: Document = {
    "attributes": {},
    "localized": {},
    "categories": [],
    "enabled": True,
    "references": {},
    "tiers": [],
    "customerGroups": {},
    "scheduled": [],
    "safetyStock": 0,
    "backorderable": False,
    "assets": [],
    "position": 0,
    "alt": {},
}
"""The defaults of omitted fields of payloads, scheduled prices and assets. All other fields default to null."""

TIMESTAMP_FIELDS = ("from", "until", "restockAt")

AMOUNTS = ("amount", "compareAt")

MINOR_DIGITS = {"JPY": 0, "KRW": 0, "KWD": 3}
"""Minor digits of currencies that do not have two. The demo's own currencies all have two."""


class Stream(NamedTuple):
    """A stream of versions: one source's events for one domain of one SKU, for a channel or for all (`*`)."""

    sku: str
    channel: str
    domain: str
    source: str


class AcceptedEvent(NamedTuple):
    """An accepted event. `payload` is canonical, or None for a withdrawal."""

    version: int
    occurred_at: datetime
    payload: Document | None


class Input(NamedTuple):
    """One source's payload, as one input to a section."""

    source: str
    payload: Document


class PageSection(NamedTuple):
    """One domain's part of one page. `body` is None if the section is disabled."""

    versions: dict[str, int]
    occurred_at: datetime
    body: Document | None
    ready: bool


class Model:
    """The accepted events, and the pages that result from them and the configuration.

    `config` is the configuration as parsed by `tomllib`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._sources: Mapping[str, Document] = config["sources"]
        self._channels: Mapping[str, Document] = config["channels"]
        self._contents: dict[tuple[Stream, int], bytes] = {}
        self._heads: dict[Stream, AcceptedEvent] = {}

    def submit(self, event: Mapping[str, Any]) -> ModelOutcome:
        """Submits a well-formed event and returns its outcome: the first content at a version is kept."""
        stream = stream_of(event)
        version: int = event["sourceVersion"]
        payload = None if event["payload"] is None else canonical(event["payload"])
        content = encoded(payload)
        if (stream, version) in self._contents:
            return "duplicate" if self._contents[stream, version] == content else "conflict"
        self._contents[stream, version] = content
        if stream not in self._heads or version > self._heads[stream].version:
            self._heads[stream] = AcceptedEvent(version, parse_timestamp(event["occurredAt"]), payload)
        return "appended"

    def copy(self, config: Mapping[str, Any] | None = None) -> "Model":
        """A copy of the model, under another configuration if one is given."""
        other = Model(config or {"sources": self._sources, "channels": self._channels})
        other._contents = self._contents.copy()
        other._heads = self._heads.copy()
        return other

    def head(self, stream: Stream) -> AcceptedEvent | None:
        """The head of a stream, None if it has no events."""
        return self._heads.get(stream)

    def snapshot(self, source: str, gone: Collection[str] = ()) -> Iterator[Document]:
        """The heads of all streams of a source, without the removed SKUs."""
        for stream, accepted in self._heads.items():
            if stream.source == source and stream.sku not in gone:
                yield {
                    "type": stream.domain,
                    "sku": stream.sku,
                    "channel": stream.channel,
                    "source": source,
                    "sourceVersion": accepted.version,
                    "occurredAt": in_microseconds(accepted.occurred_at),
                    "payload": accepted.payload,
                }

    def drift(self, received: "Model", gone: Collection[str] = ()) -> dict[Stream, Drift]:
        """How another model, which received a part of the same events, differs from this one's snapshots."""
        drift: dict[Stream, Drift] = {}
        for stream, accepted in self._heads.items():
            arrived = received.head(stream)
            if stream.sku in gone:
                if arrived is not None and arrived.payload is not None:
                    drift[stream] = "orphan"
            elif arrived is None:
                drift[stream] = "missing"
            elif arrived.version < accepted.version:
                drift[stream] = "newer"
            elif encoded(arrived.payload) != encoded(accepted.payload):
                drift[stream] = "changed"
        return drift

    def withdraw(self, stream: Stream, at: datetime) -> None:
        """Withdraws the head of a stream: its version stays, and its payload becomes None."""
        self._heads[stream] = AcceptedEvent(self._heads[stream].version, at, None)

    def events(self, domain: str | None = None) -> int:
        """The number of accepted events, of one domain or of all."""
        return sum(domain in (None, stream.domain) for stream, _ in self._contents)

    def pages(self) -> Iterator[tuple[str, str]]:
        """The (SKU, channel) of every page, including disabled ones."""
        for sku in sorted({stream.sku for stream in self._heads}):
            for channel in self._channels:
                if any(self._accepted(sku, channel, domain) for domain in DOMAINS):
                    yield sku, channel

    def page(self, sku: str, channel: str, *, disabled: bool = False) -> bytes | None:
        """The page's document. None if there is no page, or if it is disabled and `disabled` is false."""
        if channel not in self._channels:
            return None
        rows = self._page_sections(normal(sku), channel)
        catalog = rows.get("catalog")
        live = catalog is None or catalog.body is not None
        if not rows or not (live or disabled):
            return None
        readiness = {domain: domain in rows and rows[domain].ready for domain in DOMAINS}
        document: Document = {
            "sku": normal(sku),
            "channel": channel,
            "status": "live" if live else "disabled",
            "ready": all(readiness[domain] for domain in ["catalog", *self._channels[channel].get("requires", [])]),
            "readiness": readiness,
            "sourceVersions": {
                f"{domain}/{source}": version
                for domain, row in rows.items()
                for source, version in sorted(row.versions.items())
            },
            "updatedAt": in_microseconds(max(row.occurred_at for row in rows.values())),
        }
        for domain in DOMAINS:
            body = rows[domain].body if domain in rows else None
            document[domain] = orjson.Fragment(encoded(body))
        return orjson.dumps(document)

    def _page_sections(self, sku: str, channel: str) -> dict[str, PageSection]:
        """The page's sections, in the order of the domains. A section exists once it has any event."""
        rows = {}
        for domain in DOMAINS:
            accepted_events = self._accepted(sku, channel, domain)
            if accepted_events:
                rows[domain] = self._page_section(sku, channel, domain, accepted_events)
        return rows

    def _accepted(self, sku: str, channel: str, domain: str) -> dict[str, list[AcceptedEvent]]:
        """By source, in the channel's order: its head for the channel, then its head for every channel."""
        by_source = {}
        for source in self._sources_of(channel, domain):
            streams = (Stream(sku, channel, domain, source), Stream(sku, "*", domain, source))
            heads = [self._heads[stream] for stream in streams if stream in self._heads]
            if heads:
                by_source[source] = heads
        return by_source

    def _sources_of(self, channel: str, domain: str) -> list[str]:
        """The sources of a domain by rank: the channel's own list, else all, in the file's order."""
        chosen: Mapping[str, list[str]] = self._channels[channel].get("sources", {})
        if domain in chosen:
            return chosen[domain]
        return [name for name, source in self._sources.items() if domain in source["domains"]]

    def _page_section(self, sku: str, name: str, domain: str, by_source: dict[str, list[AcceptedEvent]]) -> PageSection:
        """Uses each source's first applicable event. A source without one still contributes its version."""
        channel = self._channels[name]
        versions, inputs, seen = {}, [], [accepted for heads in by_source.values() for accepted in heads]
        for source, heads in by_source.items():
            counting = [accepted for accepted in heads if applies(accepted, domain, channel)]
            versions[source] = (counting or heads)[0].version
            inputs += [Input(source, accepted.payload) for accepted in counting[:1] if accepted.payload is not None]
        if domain == "catalog":
            seen += self._inherit(sku, name, inputs)
        newest = max(accepted.occurred_at for accepted in seen)
        body = section(domain, inputs, channel) if inputs else None
        ready = body is not None and (domain != "media" or body["assets"] != [])
        if domain == "catalog" and body is not None and channel.get("requirements"):
            foreign = foreign_texts([each.payload for each in inputs], channel)
            lacking = measured(body, foreign, channel["requirements"], partial(self._exists, name))
            body["completeness"], ready = lacking.completeness, not lacking.blocked
            body = None if lacking.blocked and channel.get("incomplete") == "hide" else body
        return PageSection(versions, newest, body, ready and body is not None)

    def _inherit(self, sku: str, channel: str, inputs: list[Input]) -> list[AcceptedEvent]:
        """Lays inputs over what counts of the parents that they name. Returns all events that were looked at.

        A source that inherits is laid over them; in its place the last release, if the source states nothing.
        """
        looked_at: list[AcceptedEvent] = []
        sources = self._sources_of(channel, "catalog")
        releases = [name for name in sources if name.startswith("release/")]
        for source in sources:
            stating = [*releases, source]
            places = [place for place, given in enumerate(inputs) if given.source in stating]
            if self._sources[source].get("inherit") is None or not places:
                continue
            shared = self._heads.get(Stream(sku, "*", "catalog", source))
            if shared is not None and shared.payload is not None:
                looked_at += self._parents(sku, "*", stating, self._stated(sku, "*", stating)[0])[1]
            parents, events = self._parents(sku, channel, stating, [inputs[place].payload for place in places])
            last = inputs[places[-1]]
            own = self._sources[source]["inherit"].get("own", ())
            inputs[places[-1]] = Input(last.source, self._laid_over(last.payload, parents, own))
            looked_at += events
        return looked_at

    def _stated(self, sku: str, channel: str, stating: Sequence[str]) -> tuple[list[Document], list[AcceptedEvent]]:
        """What counts of a product in a channel of releases and a source, and all events that were looked at."""
        payloads, looked_at = [], []
        for source in stating:
            streams = [Stream(sku, where, "catalog", source) for where in dict.fromkeys((channel, "*"))]
            heads = [self._heads[stream] for stream in streams if stream in self._heads]
            payloads += [accepted.payload for accepted in heads if accepted.payload is not None][:1]
            looked_at += heads
        return payloads, looked_at

    def _exists(self, channel: str, sku: str) -> bool:
        """Whether a source of a channel states a SKU; by a name in another case, one that ignores case."""
        ignoring = {name for name, each in self._sources.items() if (each.get("inherit") or {}).get("ignore_case")}
        sources = {each: each in ignoring for each in self._sources_of(channel, "catalog")}
        named = [(name, each) for each in sources for name in self._named(sku, [each], ignore_case=sources[each])]
        return any(self._stated(name, channel, [each])[0] for name, each in named)

    def _parents(
        self, sku: str, channel: str, stating: Sequence[str], stated: Sequence[Document]
    ) -> tuple[list[Document], list[AcceptedEvent]]:
        """The payloads of a product's parents, nearest first, and all events that were looked at to find them.

        None if there are too many, or if a product is its own parent.
        """
        rules = self._sources[stating[-1]]["inherit"]
        parents: list[Document] = []
        looked_at: list[AcceptedEvent] = []
        passed = [sku]
        while parent := next((each["parent"] for each in stated if each.get("parent") is not None), None):
            if len(passed) > rules.get("levels", 3):
                return [], looked_at
            for candidate in self._named(parent, stating, ignore_case=rules.get("ignore_case", False)):
                stated, events = self._stated(candidate, channel, stating)
                looked_at += events
                if stated:
                    break
            else:
                return parents, looked_at
            if candidate in passed:
                return [], looked_at
            passed.append(candidate)
            parents.append(self._laid_over(stated[0], stated[1:]))
        return parents, looked_at

    def _named(self, parent: str, stating: Sequence[str], *, ignore_case: bool) -> list[str]:
        """The SKUs that a parent's name may mean: first the one written so, then others by name if case is ignored."""
        exact = normal(parent)
        if not ignore_case:
            return [exact]
        known = {stream.sku for stream in self._heads if stream.domain == "catalog" and stream.source in stating}
        same = {sku for sku in known if normal(sku.casefold()) == normal(exact.casefold())}
        return [exact, *sorted(same - {exact})]

    def _laid_over(self, payload: Document, parents: Sequence[Document], own: Collection[str] = ()) -> Document:
        """A payload with what it lacks from others: attributes but for `own`, texts by locale, categories, family."""
        for parent in parents:
            attributes = {code: value for code, value in parent.get("attributes", {}).items() if code not in own}
            texts = {code: text for code, text in parent.get("localized", {}).items() if code not in own}
            said_here, texts_here = payload.get("attributes", {}), payload.get("localized", {})
            localized = {code: text | texts_here.get(code, {}) for code, text in texts.items() if code not in said_here}
            above = {field: parent[field] for field in ("categories", "family") if field in parent}
            payload = above | payload | {"attributes": attributes | said_here, "localized": texts_here | localized}
        return payload


def stream_of(event: Mapping[str, Any]) -> Stream:
    """The stream of an event."""
    return Stream(normal(event["sku"]), event["channel"], event["type"], event["source"])


def applies(accepted: AcceptedEvent, domain: str, channel: Document) -> bool:
    """Whether an event applies: withdrawals and prices in another currency than the channel's do not."""
    if accepted.payload is None:
        return False
    return domain != "pricing" or bool(accepted.payload["currency"] == channel["currency"])


def section(domain: str, inputs: Sequence[Input], channel: Document) -> Document | None:
    """The section folded from one or more sources, or None if it is disabled."""
    if domain == "catalog":
        return catalog_section(inputs, channel)
    if domain == "pricing":
        return inputs[0].payload
    if domain == "inventory":
        return inventory_section(inputs)
    return media_section(inputs, channel)


def catalog_section(inputs: Sequence[Input], channel: Document) -> Document | None:
    """Takes each attribute from the first source that has it. Any source can disable the product."""
    if any(each.payload.get("enabled") is False for each in inputs):
        return None
    attributes: Document = {}
    for _, payload in reversed(inputs):
        attributes |= payload.get("attributes", {})
        texts = {code: text_for(channel, text) for code, text in payload.get("localized", {}).items()}
        attributes |= {code: text for code, text in texts.items() if text is not None}
    return {
        "attributes": attributes,
        "categories": first(inputs, "categories", []),
        "family": first(inputs, "family", None),
        "parent": first(inputs, "parent", None),
    }


def inventory_section(inputs: Sequence[Input]) -> Document:
    """The sum of the stock beyond each location's safety stock; None if a location does not count its stock."""
    locations = []
    for source, payload in inputs:
        restock = {"restockAt": payload["restockAt"]} if "restockAt" in payload else {}
        locations.append({"source": source, "available": spare(payload)} | restock)
    counted = [location["available"] for location in locations]
    total = None if None in counted else sum(counted)
    backorderable = any("backorderable" in payload for _, payload in inputs)
    body: Document = {
        "available": total,
        "locations": locations,
        "status": "in_stock" if total is None or total > 0 else "backorder" if backorderable else "out_of_stock",
    }
    restocks = [payload["restockAt"] for _, payload in inputs if "restockAt" in payload]
    if restocks:
        body["restockAt"] = min(restocks, key=parse_timestamp)
    return body


def spare(payload: Document) -> int | None:
    """A location's stock beyond its safety stock; None if it is not counted."""
    available: int | None = payload["available"]
    return None if available is None else max(available - payload.get("safetyStock", 0), 0)


def media_section(inputs: Sequence[Input], channel: Document) -> Document:
    """The assets of all sources by position, then in source order, each with its text for the channel's locale."""
    assets = []
    for _, payload in inputs:
        for asset in payload.get("assets", []):
            texts = {"alt": text_for(channel, asset.get("alt", {}))}
            assets.append(explicit_fields({"position": asset.get("position", 0)} | asset | texts, defaults={}))
    return {"assets": sorted(assets, key=lambda asset: asset["position"])}


def first(inputs: Sequence[Input], field: str, default: object) -> object:
    """The field of the first source that has it."""
    return next((payload[field] for _, payload in inputs if field in payload), default)


def canonical(payload: Mapping[str, Any]) -> Document:
    """A payload in canonical form, in which equal contents are equal.

    It has no defaults and no blank texts; timestamps are in UTC, amounts have their currency's digits, locales are
    written as in BCP 47.
    """
    fields = explicit_fields(payload, DEFAULTS)
    for items in ("scheduled", "assets"):
        if items in fields:
            fields[items] = [explicit_fields(item, DEFAULTS) for item in fields[items]]
    if "currency" in fields:
        fields |= priced(fields, fields["currency"])
    if "localized" in fields:
        texts = {code: translated(text) for code, text in fields["localized"].items()}
        fields = explicit_fields(fields | {"localized": {code: text for code, text in texts.items() if text}}, DEFAULTS)
    if "references" in fields:
        ids = {kind: ids_in_order(given) for kind, given in fields["references"].items()}
        short = {kind: each[0] if len(each) == 1 else each for kind, each in ids.items() if each}
        fields = explicit_fields(fields | {"references": short}, DEFAULTS)
    if "assets" in fields:
        fields["assets"] = [
            explicit_fields(item | {"alt": translated(item.get("alt", {}))}, DEFAULTS) for item in fields["assets"]
        ]
    for item in [fields, *fields.get("scheduled", [])]:
        for name in TIMESTAMP_FIELDS:
            if name in item:
                item[name] = to_utc(parse_timestamp(item[name]))
    return fields


def ids_in_order(given: object) -> list[str]:
    """One id or several as texts, each once, in order."""
    return sorted({str(each) for each in (given if isinstance(given, list) else [given])})


def explicit_fields(fields: Mapping[str, Any], defaults: Document) -> Document:
    """The fields without defaults. `available: null`, stock that is not counted, is kept."""
    return {
        name: value
        for name, value in fields.items()
        if name == "available" or (value is not None and value != defaults.get(name))
    }


def priced(fields: Document, currency: str) -> Document:
    """The fields that contain amounts, at any depth, with canonical amounts."""
    found: Document = {name: amount(fields[name], currency) for name in AMOUNTS if name in fields}
    for items in ("tiers", "scheduled"):
        if items in fields:
            found[items] = [item | priced(item, currency) for item in fields[items]]
    if "customerGroups" in fields:
        found["customerGroups"] = {group: amount(text, currency) for group, text in fields["customerGroups"].items()}
    return found


def amount(text: str, currency: str) -> str:
    """An amount with its currency's digits, and further ones that are not zero."""
    exact = Decimal(text).normalize()
    digits = -int(exact.as_tuple().exponent)
    return f"{exact:.{max(digits, MINOR_DIGITS.get(currency, 2))}f}"


def normal(sku: str) -> str:
    """A SKU in Unicode's NFC, in which two spellings of one SKU are one."""
    return unicodedata.normalize("NFC", sku)


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 text, in UTC."""
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def to_utc(at: datetime) -> str:
    """A moment inside a payload: microseconds only where there are any."""
    return at.isoformat().replace("+00:00", "Z")


def in_microseconds(at: datetime) -> str:
    """A moment of a page: always with six digits."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def encoded(document: Document | None) -> bytes:
    """Compact UTF-8 JSON, with the keys of every object sorted."""
    return msgspec.json.encode(document, order="sorted")
