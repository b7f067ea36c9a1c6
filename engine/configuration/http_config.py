"""`[http]`: the settings of the HTTP server."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pagefold.engine.configuration.toml_tables import Table

CacheSeconds: TypeAlias = Annotated[int, Meta(ge=0, le=31_536_000)]
"""How long a page may be cached: up to a year."""

HostName: TypeAlias = Annotated[str, Meta(pattern=r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])$")]
"""A name or an address, as in the header `Host`, without a port."""


class HttpConfig(Table, frozen=True):
    """The settings of the HTTP server."""

    reads: Annotated[
        Literal["open", "token"],
        Meta(
            description="Whether pages may be read without a token. While there are no tokens at all, everything is "
            "allowed without one, and the server listens on this machine only."
        ),
    ] = "token"
    hosts: Annotated[
        list[HostName],
        Meta(
            description="Names by which the server may be addressed while there are no tokens, besides localhost and "
            "127.0.0.1."
        ),
    ] = field(default_factory=list)
    cache_seconds: Annotated[CacheSeconds, Meta(description="Seconds that a page may be cached.")] = 60
    stale_while_revalidate_seconds: Annotated[
        CacheSeconds,
        Meta(description="Seconds that a cached page may be shown after that, while a new one is fetched."),
    ] = 0
    max_header_bytes: Annotated[
        int, Meta(ge=1_024, le=1_048_576, description="Maximum bytes of the address and the headers of a request.")
    ] = 16_384
    max_headers: Annotated[int, Meta(ge=8, le=1_000, description="Maximum number of headers of a request.")] = 100
    max_body_bytes: Annotated[
        int,
        Meta(
            ge=1_024,
            le=67_108_864,
            description="Maximum bytes of the body of a request. The number of events in it is not limited for "
            "webhooks and Debezium.",
        ),
    ] = 1_048_576
    receive_seconds: Annotated[
        float,
        Meta(
            ge=0.1, le=600, description="Seconds within which a request must arrive, and a response must be received."
        ),
    ] = 20.0
    idle_seconds: Annotated[
        float, Meta(ge=0.1, le=3_600, description="Seconds after which a connection without a request is closed.")
    ] = 75.0
    connections: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Maximum of concurrent connections of a process.")
    ] = 10_000
    connections_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Maximum of concurrent connections of a process from one address. A proxy is one address.",
        ),
    ] = 1_000
    followers: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Maximum of concurrent followers of the change feed, of a process. They do not count as "
            "connections.",
        ),
    ] = 10_000
    lag_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds that pages may be behind the log. Above, the server is not ready, and refuses events.",
        ),
    ] = 60.0
    frozen_seconds: Annotated[
        float, Meta(ge=1, le=3_600, description="Seconds without a heartbeat after which a server process is replaced.")
    ] = 5.0
    access_log_sample: Annotated[
        float,
        Meta(
            ge=0, le=1, description="Share of requests that are logged. Requests that the server failed are all logged."
        ),
    ] = 0.01
