"""`[targets.X]`: a system that pages are delivered to: what it gets, how fast, and how it is reached."""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field

from pagefold.engine.configuration.channel_config import FilterConfig
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table, check_path, check_variable
from pagefold.engine.errors import ConfigurationError

EXAMPLE = "https://shop.example/hooks"


class AddressConfig(Table, frozen=True, kw_only=True):
    """A target with an address, and what proves that requests come from here."""

    url: Annotated[str, Meta(description="Its address, `http` or `https`, without a user or a password in it.")]
    header_variables: Annotated[
        dict[str, str],
        Meta(description="By header of each request, the environment variable with its value."),
    ] = field(default_factory=dict)
    token_variable: Annotated[
        str | None, Meta(description="The environment variable with a token, sent as `Authorization: Bearer`.")
    ] = None
    networks: Annotated[
        list[str],
        Meta(
            description="Private networks that its name may lead to, such as `10.0.0.0/8`. Without it, it must be at a "
            "public address."
        ),
    ] = field(default_factory=list)


class HttpTargetConfig(AddressConfig, frozen=True, kw_only=True):
    """A web service: a request for each page, or for many."""

    secret_variable: Annotated[
        str | None,
        Meta(
            description="The environment variable with the secret by which requests are signed, as Standard Webhooks "
            "defines it: `whsec_` and the secret in base64."
        ),
    ] = None
    method: Annotated[Literal["POST", "PUT"], Meta(description="The method of a page.")] = "POST"
    batches: Annotated[
        bool, Meta(description="Whether a request has many pages, up to `batch`. Such a target has no `path`.")
    ] = False
    path: Annotated[
        str,
        Meta(
            description="What is added to the address for a page, with `{sku}` and `{channel}`, percent-encoded: its "
            "document is sent there as it is. Without it, requests say what has changed, as webhooks do."
        ),
    ] = ""
    withdraw_method: Annotated[
        Literal["DELETE", "POST", "PUT"],
        Meta(description="The method of a withdrawal. `DELETE` has no body; the others say that it is one."),
    ] = "POST"
    headers: Annotated[dict[str, str], Meta(description="Headers of each request, without secrets.")] = field(
        default_factory=dict
    )
    read: Annotated[
        bool,
        Meta(description="Whether a GET of a page's address answers with what is held there, for `targets verify`."),
    ] = False


class FilesTargetConfig(Table, frozen=True, kw_only=True):
    """A folder with files of NDJSON, one change a line."""

    folder: Annotated[str, Meta(description="The folder, relative to the working directory.")]
    lines: Annotated[int, Meta(ge=1, description="The lines after which a file is complete.")] = 100_000
    seconds: Annotated[float, Meta(gt=0, description="The seconds after which a file is complete.")] = 60.0
    compressed: Annotated[bool, Meta(description="Whether files are compressed, by zstd.")] = False
    keep: Annotated[
        int, Meta(ge=0, description="How many complete files stay; the oldest are deleted. 0 keeps every one.")
    ] = 0


class NatsTargetConfig(Table, frozen=True, kw_only=True):
    """A stream of NATS JetStream."""

    servers: Annotated[list[str], Meta(description="Addresses, such as `nats://nats.example:4222`.")]
    subject: Annotated[
        str, Meta(description="The subject of a page, with `{sku}` and `{channel}`, encoded where needed.")
    ] = "pagefold.{channel}.{sku}"
    credentials_variable: Annotated[
        str | None, Meta(description="The environment variable with the path of a credentials file.")
    ] = None
    token_variable: Annotated[str | None, Meta(description="The environment variable with a token.")] = None


class KafkaTargetConfig(Table, frozen=True, kw_only=True):
    """A topic of Kafka: the key of a message is channel and SKU, a withdrawal has no value."""

    servers: Annotated[list[str], Meta(description="Brokers, such as `kafka.example:9092`.")]
    topic: Annotated[str, Meta(description="The topic.")]
    settings: Annotated[
        dict[str, str], Meta(description="Settings of librdkafka, such as `security.protocol`, without secrets.")
    ] = field(default_factory=dict)
    setting_variables: Annotated[
        dict[str, str], Meta(description="By setting of librdkafka, the environment variable with its value.")
    ] = field(default_factory=dict)


class RedisTargetConfig(Table, frozen=True, kw_only=True):
    """Keys of Redis or Valkey."""

    url: Annotated[str, Meta(description="The address, such as `redis://cache.example:6379/0`, without a password.")]
    key: Annotated[str, Meta(description="The key of a page, with `{sku}` and `{channel}`.")] = "page:{channel}:{sku}"
    expire_seconds: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(description="The seconds after which a key expires. Without it, never."),
    ] = None
    publish: Annotated[str | None, Meta(description="The channel on which the key is published after each change.")] = (
        None
    )
    password_variable: Annotated[str | None, Meta(description="The environment variable with the password.")] = None


class SearchTargetConfig(AddressConfig, frozen=True, kw_only=True):
    """An index of a search engine, filled through its bulk API."""

    index: Annotated[
        str, Meta(description="The index, or collection, with `{channel}` where each channel has its own.")
    ]
    id: Annotated[
        str,
        Meta(description="The id of a page, with `{sku}` and `{channel}`; what an id cannot contain is encoded."),
    ] = "{channel}-{sku}"
    key_variable: Annotated[str | None, Meta(description="The environment variable with the key of its API.")] = None


class AlgoliaTargetConfig(SearchTargetConfig, frozen=True, kw_only=True):
    """An index of Algolia."""

    application: Annotated[str, Meta(description="The id of the application.")] = ""


class TargetConfig(Table, frozen=True, kw_only=True):
    """A system that pages are delivered to. One table says how it is reached, such as `http`."""

    channels: Annotated[list[str], Meta(description="The channels whose pages it gets. Without it, all.")] = field(
        default_factory=list
    )
    ready: Annotated[
        bool, Meta(description="Whether it gets only pages that are ready: one that is no longer is withdrawn.")
    ] = False
    filters: Annotated[
        dict[str, FilterConfig],
        Meta(
            description="Which products it gets, by what their pages show, as rules by name; a product has to meet all "
            "of them. The page of any other is withdrawn."
        ),
    ] = field(default_factory=dict)
    contract: Annotated[
        str | dict[str, object] | None,
        Meta(
            description="Which attributes it gets, under its own names: a channel contract as a table, or its file, "
            "relative to the folder of this one. Its channels have none of their own."
        ),
    ] = None
    fields: Annotated[
        list[str],
        Meta(
            description="The paths of what it gets of a page, such as `catalog.attributes.name`; `sku` and `channel` "
            "always. Without it, the whole page. A change of anything else is not delivered."
        ),
    ] = field(default_factory=list)
    source: Annotated[
        str | None,
        Meta(
            description="The source that the same system is. What it sends back as it was delivered is an echo: it is "
            "counted, and not appended."
        ),
    ] = None
    rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Requests a second, over all processes. Without it, any number."),
    ] = None
    concurrency: Annotated[int, Meta(ge=1, le=256, description="Requests at a time, over all processes.")] = 4
    batch: Annotated[
        int, Meta(ge=1, le=10_000, description="Pages in a request, where the kind of target takes several.")
    ] = 100
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=600, description="Seconds after which a request without a complete answer has failed.")
    ] = 10.0
    tries: Annotated[
        int, Meta(ge=1, le=20, description="Tries of a page that the target refuses, before it is a dead letter.")
    ] = 7
    disable_after_hours: Annotated[
        float, Meta(gt=0, description="Hours without one success after which a target is no longer tried.")
    ] = 72.0
    http: Annotated[
        HttpTargetConfig | None, Meta(description="A web service: a request for each page, or for many.")
    ] = None
    files: Annotated[FilesTargetConfig | None, Meta(description="A folder with files of NDJSON.")] = None
    nats: Annotated[NatsTargetConfig | None, Meta(description="A stream of NATS JetStream.")] = None
    kafka: Annotated[KafkaTargetConfig | None, Meta(description="A topic of Kafka.")] = None
    redis: Annotated[RedisTargetConfig | None, Meta(description="Keys of Redis or Valkey.")] = None
    meilisearch: Annotated[SearchTargetConfig | None, Meta(description="An index of Meilisearch.")] = None
    opensearch: Annotated[SearchTargetConfig | None, Meta(description="An index of OpenSearch or Elasticsearch.")] = (
        None
    )
    typesense: Annotated[SearchTargetConfig | None, Meta(description="A collection of Typesense.")] = None
    algolia: Annotated[AlgoliaTargetConfig | None, Meta(description="An index of Algolia.")] = None

    @property
    def kind(self) -> str:
        """The name of the table that says how it is reached; "" if there is none."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), "")


KINDS = ("http", "files", "nats", "kafka", "redis", "meilisearch", "opensearch", "typesense", "algolia")
"""The tables of a target that say how it is reached. Each has one of them."""


def check_targets(
    targets: Mapping[str, TargetConfig], channels: Collection[str], sources: Collection[str]
) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude."""
    for name, target in targets.items():
        key = f"targets.{name}"
        given = [kind for kind in KINDS if getattr(target, kind) is not None]
        if len(given) != 1:
            problem = f"needs one table of {', '.join(KINDS)}"
            yield ConfigurationError(key, f"{problem}; it has {' and '.join(given)}" if given else problem)
        for channel in target.channels:
            if channel not in channels:
                problem = f"unknown channel {channel!r}; {suggestion(channel, channels, 'channels')}"
                yield ConfigurationError(f"{key}.channels", problem)
        if target.source is not None and target.source not in sources:
            problem = f"unknown source {target.source!r}; {suggestion(target.source, sources, 'sources')}"
            yield ConfigurationError(f"{key}.source", problem)
        for path in target.fields:
            yield from check_path(f"{key}.fields", path, "pricing.amount")
        for kind in given:
            yield from _check_kind(f"{key}.{kind}", getattr(target, kind))
            if len(target.channels or channels) > 1:
                yield from _check_addresses(f"{key}.{kind}", getattr(target, kind))


def _check_kind(key: str, table: Table) -> Iterator[ConfigurationError]:
    if isinstance(table, AddressConfig):
        yield from _check_address(key, table)
    if isinstance(table, HttpTargetConfig):
        yield from _check_http(key, table)
    if isinstance(table, AlgoliaTargetConfig) and not table.application:
        yield ConfigurationError(f"{key}.application", "is needed: the id of the application")
    if isinstance(table, RedisTargetConfig):
        yield from _check_password(key, table.url)
    if isinstance(table, NatsTargetConfig | KafkaTargetConfig) and not table.servers:
        yield ConfigurationError(f"{key}.servers", "has no server")
    yield from _check_variables(key, table)
    for name in ("key", "subject", "id", "index", "path"):
        needs_sku = name in {"key", "subject", "id"}
        yield from _check_template(f"{key}.{name}", getattr(table, name, ""), needs_sku=needs_sku)


def _check_addresses(key: str, table: Table) -> Iterator[ConfigurationError]:
    """In a target with several channels, each page of a product has an address of its own."""
    for names in (("key",), ("subject",), ("index", "id"), ("path",)):
        written = [template for name in names if isinstance(template := getattr(table, name, ""), str)]
        together = "".join(written)
        if "{sku}" in together and "{channel}" not in together:
            where = " or ".join(f"`{name}`" for name in names)
            problem = f"needs {{channel}} in {where}: the pages of several channels would replace one another"
            yield ConfigurationError(f"{key}.{names[-1]}", problem)


def _check_variables(key: str, table: Table) -> Iterator[ConfigurationError]:
    for name in table.__struct_fields__:
        value = getattr(table, name)
        if name.endswith("_variable") and value is not None:
            yield from check_variable(f"{key}.{name}", value)
        elif name.endswith("_variables"):
            for part, variable in value.items():
                yield from check_variable(f"{key}.{name}.{part}", variable)


def _check_http(key: str, table: HttpTargetConfig) -> Iterator[ConfigurationError]:
    if table.path and table.batches:
        yield ConfigurationError(f"{key}.batches", "does not go with `path`, which is the address of one page")
    if table.read and "{sku}" not in table.path:
        yield ConfigurationError(f"{key}.read", "needs a `path` with {sku}")
    if table.withdraw_method == "DELETE" and not table.path:
        yield ConfigurationError(f"{key}.withdraw_method", "DELETE needs a `path`")


def _check_address(key: str, table: AddressConfig) -> Iterator[ConfigurationError]:
    try:
        parts = urlsplit(table.url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not (known and table.url.isascii() and table.url.isprintable()) or " " in table.url:
        yield ConfigurationError(f"{key}.url", f"is not an address such as {EXAMPLE!r}")
        return
    yield from _check_password(key, table.url)
    for network in table.networks:
        try:
            ip_network(network)
        except ValueError:
            yield ConfigurationError(f"{key}.networks", f"{network!r} is not a network such as '10.0.0.0/8'")


def _check_password(key: str, url: str) -> Iterator[ConfigurationError]:
    if "@" in urlsplit(url).netloc:
        problem = "has a user or a password in it: name an environment variable that has it"
        yield ConfigurationError(f"{key}.url", problem)


def _check_template(key: str, template: str, *, needs_sku: bool) -> Iterator[ConfigurationError]:
    rest = template.replace("{sku}", "").replace("{channel}", "")
    if "{" in rest or "}" in rest:
        yield ConfigurationError(key, f"{template!r} may have {{sku}} and {{channel}}, and no other braces")
    elif key.endswith(".path") and not (template.isascii() and template.isprintable()):
        yield ConfigurationError(key, f"{template!r} is to be percent-encoded: an address has ASCII characters only")
    elif needs_sku and template and "{sku}" not in template:
        yield ConfigurationError(key, "needs {sku}: pages would replace one another")
