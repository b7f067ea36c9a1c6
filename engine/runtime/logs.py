"""What the program says while it works: one line a batch.

The command line sends it to standard error: a terminal gets coloured text, anything else JSON, one object a line.
Inside another program it goes where that program's logs go. Moments are UTC. Payloads are never among it above the
level `debug`, and an error is shown without the values of its variables, for the same reason.
"""

import json
import logging
import sys
from contextlib import suppress
from typing import Literal, TypeAlias

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from pagefold.engine.runtime.redaction import redact_secrets

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")


class Logger:
    """Speaks through structlog where the program has configured it, and through the standard library where not.

    So a program that embeds Pagefold hears it the way it hears every other library, and never on standard output.
    """

    def __init__(self, name: str) -> None:
        self._structured: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
        self._standard: structlog.stdlib.BoundLogger = structlog.wrap_logger(
            logging.getLogger(name),
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        )

    def info(self, event: str, **fields: object) -> None:
        """The work goes on as it should."""
        (self._structured if structlog.is_configured() else self._standard).info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """The work goes on, and somebody should know."""
        (self._structured if structlog.is_configured() else self._standard).warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Somebody should do something."""
        (self._structured if structlog.is_configured() else self._standard).error(event, **fields)


def configure(level: Level, *, as_json: bool | None = None) -> None:
    """Sends every log line of this process to standard error, those of the standard library's loggers too.

    `as_json` absent: as JSON unless standard error is a terminal. May be called again; the last call counts.
    """
    if as_json is None:
        as_json = not sys.stderr.isatty()
    number = logging.getLevelNamesMapping()[level.upper()]
    before: list[Processor] = [
        _drop_arguments,
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
    """Without rich's tracebacks: they print local variables, and a payload may be among them."""
    renderer = structlog.dev.ConsoleRenderer(
        sort_keys=False, timestamp_key="at", pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )
    return [_drop_logger, renderer]


def _adopt_standard_library(before: list[Processor], after: list[Processor], level: int) -> None:
    """Libraries that log by themselves, and Python's warnings, come out in the same form."""
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
    """What every line has, before what only some have."""
    first = {key: event[key] for key in ("at", "level", "event") if key in event}
    return {**first, **event}


def _drop_arguments(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Stamina would log what the function that it retries was called with, and a payload may be among that."""
    if event.get("event") == "stamina.retry_scheduled":
        event.pop("args", None)
        event.pop("kwargs", None)
    return event


def _drop_logger(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("logger", None)
    return event


def _write(line: str) -> None:
    """Writes to what standard error is at that moment: a progress display may stand in for it.

    No secret of a token is told. A line that cannot be written must not stop the work.
    """
    line = redact_secrets(line)
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Line:
    """What structlog writes its lines with."""

    def __init__(self, name: str = "pagefold") -> None:
        self.name = name

    def msg(self, message: str) -> None:
        """One line."""
        _write(message)

    debug = info = warning = error = critical = exception = msg


class _StandardError(logging.Handler):
    """What the standard library's loggers write with."""

    def emit(self, record: logging.LogRecord) -> None:
        _write(self.format(record))
