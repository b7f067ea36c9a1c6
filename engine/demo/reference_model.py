"""What every page must be, kept in plain dictionaries.

The model shares no code with what it judges: no import from `domains`, `projections` or `engine`. It remembers what was
accepted and folds a page from scratch each time it is asked, one line a rule of the design where that can be, so that a
person can check it against the page's definition.
"""

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import orjson

Document: TypeAlias = dict[str, Any]
"""A JSON object as Python has it. `Any`, because its shape is the business of whoever wrote it."""

Fate: TypeAlias = Literal["appended", "duplicate", "conflict"]

Drift: TypeAlias = Literal["missing", "newer", "changed", "orphan", "recreated", "older"]
"""How a listener is behind a source: it has no event of a stream; it has an older version of it, or another content at
the same version; or it still believes what the source does not have any more."""

DOMAINS = ("catalog", "pricing", "inventory", "media")

DEFAULTS: Document = {
    "attributes": {},
    "localized": {},
    "categories": [],
    "enabled": True,
    "tiers": [],
    "customerGroups": {},
    "scheduled": [],
    "safetyStock": 0,
    "backorderable": False,
    "assets": [],
    "position": 0,
    "alt": {},
}
"""What a field of a payload, a scheduled price or an asset says when it is left out. All others say nothing (null)."""

MOMENTS = ("from", "until", "restockAt")

AMOUNTS = ("amount", "compareAt")

MINOR_DIGITS = {"JPY": 0, "KRW": 0, "KWD": 3}
"""The digits behind the point that a currency has, where those are not two. Of the shop's own, all have two."""


class Stream(NamedTuple):
    """Where versions are ordered: what one source says of one domain of one SKU, for a channel or for all (`*`)."""

    sku: str
    channel: str
    domain: str
    source: str


class Statement(NamedTuple):
    """One accepted event: `payload` is canonical, or None when it takes the source's word back."""

    version: int
    occurred_at: datetime
    payload: Document | None


class Input(NamedTuple):
    """One source's payload, as one input to a section."""

    source: str
    payload: Document


class Row(NamedTuple):
    """One domain's part of one page. `body` is None when the section is disabled."""

    versions: dict[str, int]
    occurred_at: datetime
    body: Document | None
    ready: bool


class Model:
    """The accepted events, and the pages that follow from them and from the configuration.

    `config` is what `tomllib` reads from the configuration's file.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._sources: Mapping[str, Document] = config["sources"]
        self._channels: Mapping[str, Document] = config["channels"]
        self._contents: dict[tuple[Stream, int], bytes] = {}
        self._heads: dict[Stream, Statement] = {}

    def submit(self, event: Mapping[str, Any]) -> Fate:
        """Takes one well-formed event and says what must become of it: the first content at a version stands."""
        stream = stream_of(event)
        version: int = event["sourceVersion"]
        payload = None if event["payload"] is None else canonical(event["payload"])
        content = encoded(payload)
        if (stream, version) in self._contents:
            return "duplicate" if self._contents[stream, version] == content else "conflict"
        self._contents[stream, version] = content
        if stream not in self._heads or version > self._heads[stream].version:
            self._heads[stream] = Statement(version, moment(event["occurredAt"]), payload)
        return "appended"

    def copy(self) -> "Model":
        """Another model that was told the same so far."""
        other = Model({"sources": self._sources, "channels": self._channels})
        other._contents = self._contents.copy()
        other._heads = self._heads.copy()
        return other

    def head(self, stream: Stream) -> Statement | None:
        """The newest statement of a stream, None when nothing was said in it."""
        return self._heads.get(stream)

    def snapshot(self, source: str, gone: Collection[str] = ()) -> Iterator[Document]:
        """All that a source says now: the newest statement of each of its streams, but for the SKUs that are gone."""
        for stream, statement in self._heads.items():
            if stream.source == source and stream.sku not in gone:
                yield {
                    "type": stream.domain,
                    "sku": stream.sku,
                    "channel": stream.channel,
                    "source": source,
                    "sourceVersion": statement.version,
                    "occurredAt": in_microseconds(statement.occurred_at),
                    "payload": statement.payload,
                }

    def drift(self, told: "Model", gone: Collection[str] = ()) -> dict[Stream, Drift]:
        """Where another model, which was told a part of the same, is behind the snapshots of this one, and how."""
        drift: dict[Stream, Drift] = {}
        for stream, statement in self._heads.items():
            arrived = told.head(stream)
            if stream.sku in gone:
                if arrived is not None and arrived.payload is not None:
                    drift[stream] = "orphan"
            elif arrived is None:
                drift[stream] = "missing"
            elif arrived.version < statement.version:
                drift[stream] = "newer"
            elif encoded(arrived.payload) != encoded(statement.payload):
                drift[stream] = "changed"
        return drift

    def withdraw(self, stream: Stream, at: datetime) -> None:
        """The stream's newest word is taken back at a moment: its version stays, and says null."""
        self._heads[stream] = Statement(self._heads[stream].version, at, None)

    def events(self, domain: str | None = None) -> int:
        """How many events are in the log, of one domain or of all."""
        return sum(domain in (None, stream.domain) for stream, _ in self._contents)

    def pages(self) -> Iterator[tuple[str, str]]:
        """The (SKU, channel) of every page, disabled ones too."""
        for sku in sorted({stream.sku for stream in self._heads}):
            for channel in self._channels:
                if any(self._statements(sku, channel, domain) for domain in DOMAINS):
                    yield sku, channel

    def page(self, sku: str, channel: str, *, disabled: bool = False) -> bytes | None:
        """The document. None where there is none, nor for a disabled page unless `disabled` asks for it."""
        if channel not in self._channels:
            return None
        rows = self._rows(normal(sku), channel)
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

    def _rows(self, sku: str, channel: str) -> dict[str, Row]:
        """The page's sections, in the order of the domains. One exists once any statement applies to it."""
        rows = {}
        for domain in DOMAINS:
            statements = self._statements(sku, channel, domain)
            if statements:
                rows[domain] = self._row(statements, domain, self._channels[channel])
        return rows

    def _statements(self, sku: str, channel: str, domain: str) -> dict[str, list[Statement]]:
        """By source, in the channel's order: its newest word for the channel, then its newest for every channel."""
        by_source = {}
        for source in self._listens_to(channel, domain):
            streams = (Stream(sku, channel, domain, source), Stream(sku, "*", domain, source))
            said = [self._heads[stream] for stream in streams if stream in self._heads]
            if said:
                by_source[source] = said
        return by_source

    def _listens_to(self, channel: str, domain: str) -> list[str]:
        """The sources of a domain, the most trusted first: the channel's own list, else all, in the file's order."""
        chosen: Mapping[str, list[str]] = self._channels[channel].get("sources", {})
        if domain in chosen:
            return chosen[domain]
        return [name for name, source in self._sources.items() if domain in source["domains"]]

    def _row(self, by_source: dict[str, list[Statement]], domain: str, channel: Document) -> Row:
        """A source's word is its first statement that counts. Where none does, the section still tells its version."""
        versions, inputs = {}, []
        for source, said in by_source.items():
            counting = [statement for statement in said if counts(statement, domain, channel)]
            versions[source] = (counting or said)[0].version
            inputs += [Input(source, statement.payload) for statement in counting[:1] if statement.payload is not None]
        newest = max(statement.occurred_at for said in by_source.values() for statement in said)
        body = section(domain, inputs, channel) if inputs else None
        ready = body is not None and (domain != "media" or body["assets"] != [])
        return Row(versions, newest, body, ready)


def stream_of(event: Mapping[str, Any]) -> Stream:
    """Where an event's version counts."""
    return Stream(normal(event["sku"]), event["channel"], event["type"], event["source"])


def counts(statement: Statement, domain: str, channel: Document) -> bool:
    """A withdrawn statement does not count, nor a price in a currency that is not the channel's."""
    if statement.payload is None:
        return False
    return domain != "pricing" or bool(statement.payload["currency"] == channel["currency"])


def section(domain: str, inputs: Sequence[Input], channel: Document) -> Document | None:
    """What one or more sources say together, or None when the section is disabled."""
    if domain == "catalog":
        return catalog_section(inputs, channel)
    if domain == "pricing":
        return inputs[0].payload
    if domain == "inventory":
        return inventory_section(inputs)
    return media_section(inputs, channel)


def catalog_section(inputs: Sequence[Input], channel: Document) -> Document | None:
    """By attribute the first source that has it. One source that disables the product disables it."""
    if any(word.payload.get("enabled") is False for word in inputs):
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
    """The sum of what each place can spare beyond its safety stock; none where one of them does not count."""
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
        body["restockAt"] = min(restocks, key=moment)
    return body


def spare(payload: Document) -> int | None:
    """What a place can spare; None where it does not count."""
    available: int | None = payload["available"]
    return None if available is None else max(available - payload.get("safetyStock", 0), 0)


def media_section(inputs: Sequence[Input], channel: Document) -> Document:
    """The assets of all sources by position, else as they come, each with its text in the channel's language."""
    assets = []
    for _, payload in inputs:
        for asset in payload.get("assets", []):
            texts = {"alt": text_for(channel, asset.get("alt", {}))}
            assets.append(stated({"position": asset.get("position", 0)} | asset | texts, defaults={}))
    return {"assets": sorted(assets, key=lambda asset: asset["position"])}


def first(inputs: Sequence[Input], field: str, default: object) -> object:
    """What the first source that states the field says."""
    return next((payload[field] for _, payload in inputs if field in payload), default)


def text_for(channel: Document, text: Mapping[str, str]) -> str | None:
    """The text in the channel's locale or its language (`de-AT`, then `de`), else in those of its fallbacks."""
    for locale in map(spelt, [channel["locale"], *channel.get("fallbacks", [])]):
        while locale:
            if text.get(locale, "").strip():
                return text[locale]
            locale = locale.rpartition("-")[0]  # noqa: PLW2901  # "de-AT" becomes "de", and "de" ends the search
    return None


def canonical(payload: Mapping[str, Any]) -> Document:
    """A payload in the one form in which equal contents are equal.

    Nothing that goes without saying; moments in UTC, amounts with the digits of their currency, locales as BCP 47 has
    them, and no text that is blank.
    """
    fields = stated(payload, DEFAULTS)
    for items in ("scheduled", "assets"):
        if items in fields:
            fields[items] = [stated(item, DEFAULTS) for item in fields[items]]
    if "currency" in fields:
        fields |= priced(fields, fields["currency"])
    if "localized" in fields:
        texts = {code: translated(text) for code, text in fields["localized"].items()}
        fields = stated(fields | {"localized": {code: text for code, text in texts.items() if text}}, DEFAULTS)
    if "assets" in fields:
        fields["assets"] = [
            stated(item | {"alt": translated(item.get("alt", {}))}, DEFAULTS) for item in fields["assets"]
        ]
    for item in [fields, *fields.get("scheduled", [])]:
        for name in MOMENTS:
            if name in item:
                item[name] = in_utc(moment(item[name]))
    return fields


def stated(fields: Mapping[str, Any], defaults: Document) -> Document:
    """The fields that say something. That stock is not counted (null) says something."""
    return {
        name: value
        for name, value in fields.items()
        if name == "available" or (value is not None and value != defaults.get(name))
    }


def priced(fields: Document, currency: str) -> Document:
    """The fields with amounts, and those of everything inside them, in the one form that they have."""
    found: Document = {name: amount(fields[name], currency) for name in AMOUNTS if name in fields}
    for items in ("tiers", "scheduled"):
        if items in fields:
            found[items] = [item | priced(item, currency) for item in fields[items]]
    if "customerGroups" in fields:
        found["customerGroups"] = {group: amount(text, currency) for group, text in fields["customerGroups"].items()}
    return found


def amount(text: str, currency: str) -> str:
    """An amount with as many digits as its currency has, and more where they are not zero."""
    exact = Decimal(text).normalize()
    digits = -int(exact.as_tuple().exponent)
    return f"{exact:.{max(digits, MINOR_DIGITS.get(currency, 2))}f}"


def translated(text: Mapping[str, str | None]) -> dict[str, str]:
    """A text by locale, without what is blank."""
    return {spelt(locale): each for locale, each in text.items() if each is not None and each.strip()}


def spelt(locale: str) -> str:
    """A locale as BCP 47 writes it: `de_at` is `de-AT`."""
    language, *others = locale.partition(".")[0].replace("_", "-").split("-")
    forms = {2: str.upper, 4: str.title}
    return "-".join([language.lower(), *(forms.get(len(part), str.lower)(part) for part in others)])


def normal(sku: str) -> str:
    """A SKU in Unicode's NFC, in which two spellings of one SKU are one."""
    return unicodedata.normalize("NFC", sku)


def moment(text: str) -> datetime:
    """An RFC 3339 text, in UTC."""
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def in_utc(at: datetime) -> str:
    """A moment inside a payload: microseconds only where there are any."""
    return at.isoformat().replace("+00:00", "Z")


def in_microseconds(at: datetime) -> str:
    """A moment of a page: always with six digits."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def encoded(document: Document | None) -> bytes:
    """Compact UTF-8 JSON, with the keys of every object sorted."""
    return msgspec.json.encode(document, order="sorted")
