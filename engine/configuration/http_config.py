"""The table `[http]` of the configuration: what `pagefold serve` allows, and how much of it."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from pagefold.engine.configuration.toml_tables import Table

CacheSeconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=31_536_000)]
"""How long a page may be kept by those in between: a year at most."""


HostName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])$")]
"""A name or an address, as `Host` has it, without a port."""


class HttpConfig(Table, frozen=True):
    """The server's settings.

    `reads` tells whether pages may be read without a token. While everything may be done without one, the server
    answers to the names of this machine, and to `hosts`. `cache_seconds` and `stale_while_revalidate_seconds` are
    those of channels that have none of their own. A request's head has at most `max_header_bytes` in `max_headers`, its
    body `max_body_bytes`; it is complete within `receive_seconds`, and a connection without one is closed after
    `idle_seconds`. `lag_seconds` is how far folding may be behind before the server is not ready, and takes nothing in.
    A process that does not answer the one that started it is replaced after `frozen_seconds`.
    `access_log_sample` is the share of requests that are logged; of those that fail by the server's fault, all are.
    """

    reads: Literal["open", "token"] = "token"
    hosts: list[HostName] = msgspec.field(default_factory=list)
    cache_seconds: CacheSeconds = 60
    stale_while_revalidate_seconds: CacheSeconds = 0
    max_header_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1_048_576)] = 16_384
    max_headers: Annotated[int, msgspec.Meta(ge=8, le=1_000)] = 100
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=67_108_864)] = 1_048_576
    receive_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 20.0
    idle_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 75.0
    connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000
    lag_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    frozen_seconds: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 5.0
    access_log_sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
