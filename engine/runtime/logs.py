"""The program's logs: one line a batch.

The command line logs to standard error: coloured text on a terminal, otherwise JSON, one object a line. Embedded, the
host's logging decides. Times are UTC. Payloads are logged at level `debug` only, and errors without the values of their
variables, for the same reason.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TypeAlias

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from pagefold.engine.runtime.redaction import redact_secrets

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")


_RETRY_FIELDS = {
    "caused_by": "error",
    "retry_num": "attempt",
    "wait_for": "wait_seconds",
    "waited_so_far": "waited_seconds",
}
"""The fields of stamina's line, and what they are called here."""


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Adds the fields to every line that is logged in the block, also by libraries."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


class Logger:
    """Logs through structlog if the program has configured it, otherwise through the standard library.

    A program that embeds Pagefold thus gets its logs as from any other library, and never on standard output.
    """

    def __init__(self, name: str) -> None:
        self._structured: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
        self._standard: structlog.stdlib.BoundLogger = structlog.wrap_logger(
            logging.getLogger(name),
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        )

    def info(self, event: str, **fields: object) -> None:
        """Normal progress."""
        (self._structured if structlog.is_configured() else self._standard).info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Work continues, but somebody should know."""
        (self._structured if structlog.is_configured() else self._standard).warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Somebody must act."""
        (self._structured if structlog.is_configured() else self._standard).error(event, **fields)


def configure(level: Level, *, as_json: bool | None = None) -> None:
    """Sends every log line of this process to standard error, also those of the standard library's loggers.

    Without `as_json`, JSON unless standard error is a terminal. May be called again; the last call counts.
    """
    if as_json is None:
        as_json = not sys.stderr.isatty()
    number = logging.getLevelNamesMapping()[level.upper()]
    before: list[Processor] = [
        _explain_retry,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    after = _as_json() if as_json else _as_text()
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Line,
        cache_logger_on_first_use=False,
    )
    _adopt_standard_library(before, after, number)


def _as_json() -> list[Processor]:
    return [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer(_dumps)]


def _as_text() -> list[Processor]:
    """Without rich's tracebacks: they print local variables, which may include a payload."""
    renderer = structlog.dev.ConsoleRenderer(
        sort_keys=False, timestamp_key="at", pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )
    return [_drop_logger, renderer]


def _adopt_standard_library(before: list[Processor], after: list[Processor], level: int) -> None:
    """Formats logs of other libraries, and Python's warnings, in the same way."""
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)


def _dumps(event: EventDict, **_options: object) -> str:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # an integer of more than 64 bits, a lone surrogate
        return json.dumps(event, default=repr)


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The fields of every line, before those of some."""
    first = {key: event[key] for key in ("at", "level", "event") if key in event}
    return {**first, **event}


def _explain_retry(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Says what stamina retries and why. Drops the arguments of what it calls: a payload may be among them."""
    if event.get("event") != "stamina.retry_scheduled":
        return event
    fields = {name: event[key] for key, name in _RETRY_FIELDS.items() if key in event}
    if not str(event.get("callable", "<")).startswith("<"):
        fields["callable"] = event["callable"]
    return {"event": "retrying after an error", **fields}


def _drop_logger(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("logger", None)
    return event


def _write(line: str) -> None:
    """Writes to the current standard error, which a progress display may replace.

    Secrets of tokens are redacted. A line that cannot be written must not stop the work.
    """
    line = redact_secrets(line)
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Line:
    """The logger with which structlog writes its lines."""

    def __init__(self, name: str = "pagefold") -> None:
        self.name = name

    def msg(self, message: str) -> None:
        """Writes one line."""
        _write(message)

    debug = info = warning = error = critical = exception = msg


class _StandardError(logging.Handler):
    """The handler with which the standard library's loggers write."""

    def emit(self, record: logging.LogRecord) -> None:
        _write(self.format(record))
