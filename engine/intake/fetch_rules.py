"""Which notifications make which fetches: messages that have only the id of a record.

A message that no rule counts for is read by the contract of its entrance, as always.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.configuration.request_templates import fill
from pagefold.engine.configuration.toml_tables import values_by_key
from pagefold.engine.errors import Rejected
from pagefold.engine.events import Reference
from pagefold.engine.intake.contracts.contract import listed
from pagefold.engine.intake.contracts.delivery_facts import DeliveryFacts
from pagefold.engine.intake.contracts.statement_mapping import Values
from pagefold.engine.intake.formats.request_parts import (
    IgnoredMessage,
    ItemsBody,
    ReadPart,
    RejectedPart,
    RequestParts,
    Wanted,
    part_size_error,
)
from pagefold.engine.runtime.extras import needs_extra
from pagefold.projections.transforms import Compiler, InvalidMapping, NestedScope, Registry
from pagefold.projections.transforms.paths import Reader, path_names

Facts = Mapping[str, object]
ByContract = Callable[[bytes, Facts], Sequence[ReadPart]]
"""What the contract makes of the text of a message."""

_NO_TRANSFORMS = Registry(())


class FetchRule:
    """One of the tables that say what is fetched. `name` is its place in the source, such as `webhook.fetch[0]`."""

    def __init__(self, name: str, fetch: FetchConfig, compiler: Compiler) -> None:
        self.name = name
        self.fetch = fetch
        self._only = Values(compiler, values_by_key(fetch.only), "only")
        self._readers: dict[str, Reader] = {}
        fill(fetch, partial(self._note_path, compiler))
        missing = fetch.missing
        self._gone = None if missing is None else compiler.reader(missing.sku or missing.id or "", "missing")

    def _note_path(self, compiler: Compiler, path: str) -> str:
        self._readers[path] = compiler.reader(path, "url")
        return path

    def counts(self, notification: object) -> bool:
        """Whether a notification makes this fetch."""
        return self._only.all_match(notification)

    def wanted(self, notification: object, text: bytes) -> Wanted | RejectedPart:
        """The fetch that a notification makes. `text` is that of a message that has it alone."""
        try:
            endpoint = fill(self.fetch, partial(self._value, notification))
        except ValueError as error:
            return RejectedPart(Rejected(self.name, str(error)))
        request = msgspec.json.encode([endpoint.url, endpoint.body])
        key = blake2b(request, digest_size=16).hexdigest()
        return Wanted(self.name, key, endpoint.url or "", endpoint, self._gone_in(notification), text)

    def _value(self, notification: object, path: str) -> object:
        value = self._readers[path](notification)
        if value in (None, msgspec.UNSET, ""):
            problem = f"the notification has no value at {path!r}"
            raise ValueError(problem)
        return value

    def _gone_in(self, notification: object) -> Reference | str | None:
        value = None if self._gone is None else self._gone(notification)
        missing = self.fetch.missing
        if missing is None or isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return None
        return str(value) if missing.kind is None else Reference(missing.kind, str(value))


class FetchRules:
    """The rules of an entrance of a source. `headers` are those that they read, in lower case.

    Raises `ConfigurationError` for a path that no message can have.
    """

    def __init__(self, config: Config, source: str, entrance: str) -> None:
        with needs_extra("a fetch", "contracts"):
            self._facts = DeliveryFacts()
            self._scope = NestedScope()
            self._compiler = Compiler(_NO_TRANSFORMS, self._scope, facts=self._facts.reader)
        self._by_items: dict[str | None, list[FetchRule]] = {}
        for name, fetch in config.sources[source].fetches.items():
            if name.partition(".")[0] == entrance:
                try:
                    rule = FetchRule(name, fetch, self._compiler)
                    self._scope.reader(fetch.items or "id", "items")
                except InvalidMapping as error:
                    raise config.error(f"sources.{source}.{name}.{error.key}", error.problem) from None
                self._by_items.setdefault(fetch.items, []).append(rule)
        self.headers = self._facts.headers

    def __bool__(self) -> bool:
        return bool(self._by_items)

    def parts(
        self, body: bytes, text: bytes, message: object, facts: Facts, by_contract: ByContract | None
    ) -> RequestParts | None:
        """The notifications of a message, one by one; None if it has none that counts."""
        self._facts.begin(facts)
        for path, rules in self._by_items.items():
            found = [message] if path is None else listed(self._scope.reader(path, "items")(message))
            if any(rule.counts(each) for each in found for rule in rules):
                if (size_error := part_size_error(len(found), text)) is not None:
                    return RequestParts.unreadable(body, size_error)
                alone = _Alone(text, path)
                read = partial(self._read, rules, found, alone.text_of, facts, by_contract)
                return RequestParts(body, len(found), read, None if path is None else alone.body)
        return None

    def _read(  # what it needs to read one of them
        self,
        rules: Sequence[FetchRule],
        notifications: Sequence[object],
        text_of: Callable[[int], bytes],
        facts: Facts,
        by_contract: ByContract | None,
        part: int,
    ) -> Sequence[ReadPart]:
        self._facts.begin(facts)
        notification, text = notifications[part], text_of(part)
        found = [rule.wanted(notification, text) for rule in rules if rule.counts(notification)]
        if found:
            return found
        return [left_out()] if by_contract is None else by_contract(text, facts)


class _Alone:
    """Makes the text of a message with one of its notifications alone."""

    def __init__(self, text: bytes, path: str | None) -> None:
        self._text = text
        self._path = path
        self._items: ItemsBody | None = None

    def body(self) -> ItemsBody:
        """The notifications."""
        if self._items is None:
            self._items = ItemsBody(self._text, [path_names(self._path or "", "items")])
        return self._items

    def text_of(self, part: int) -> bytes:
        """The text with one of them."""
        return self._text if self._path is None else self.body().with_parts([part])


def left_out() -> IgnoredMessage:
    """What is ignored because no rule counts for it, and there is no contract for the rest."""
    return IgnoredMessage("filter", "no fetch counts for it, and there is no contract")
