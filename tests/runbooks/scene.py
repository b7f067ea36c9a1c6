"""A shop in a folder, to which trouble can be made, and a reader who follows a section of the page there."""

import json
import re
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.docs.test_examples import merged
from tests.runbooks.receiver import Receiver, receiving
from tests.support.documents import ROOT, Walkthrough, blocks, commands
from tests.support.small_disk import disk

SECONDS_TO_SHOW = 15
SHOWS_LATER = re.compile(r"/readyz|/v1/events |^pagefold (targets (list|show|verify)|receipts|sagas list) ")
MEBIBYTES = 24
PAGE = ROOT / "docs" / "runbooks.md"
ADDRESS = "127.0.0.1:8080"
BASE = """
[store]
url = "sqlite:///shop"
[work]
poll_seconds = 0.1
[sources.pim]
domains = ["catalog"]
[sources.erp]
domains = ["pricing"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
requires = ["catalog"]
"""

Answer = tuple[int, Mapping[str, str], str]
"""A status, headers and a body."""


def sections() -> dict[str, str]:
    """The sections of the page, by their anchors."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {title.lower().replace(" ", "-"): text for title, text in zip(parts[::2], parts[1::2], strict=True)}


class Scene:
    """A folder with a configuration and a store, which the test and the reader share."""

    def __init__(self, folder: Path, reader: Walkthrough, stack: ExitStack) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}
        self._reader = reader
        self._stack = stack
        self._meanwhile: dict[tuple[str, int], Callable[[], None]] = {}
        self._typed: Counter[str] = Counter()
        self._checks: list[Callable[[], None]] = []

    # --- what trouble is made of -------------------------------------------------------------------

    def configure(self, more: str = "") -> None:
        """Writes the configuration, with more tables, and makes the store."""
        self.write("pagefold.toml", BASE)
        self.merge(more)
        self.run("pagefold init")

    def merge(self, block: str) -> None:
        """Adds to the configuration, as somebody does who follows the page."""
        now = (self.folder / "pagefold.toml").read_text("utf-8")
        whole = merged(tomllib.loads(now), tomllib.loads(block))
        self.write("pagefold.toml", "".join(f"{key} = {_toml(value)}\n" for key, value in whole.items()))

    def write(self, name: str, text: str) -> None:
        """Writes a file of the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def run(self, command: str, *codes: int) -> str:
        """Runs a command, which ends with 0, or with one of these codes. Returns what it prints."""
        code, lines = self._reader.type(command)
        assert code in (codes or (0,)), "\n".join([command, *lines])
        return "\n".join(lines)

    def ingest(self, *events: Mapping[str, object], codes: tuple[int, ...] = (0,)) -> None:
        """Appends events."""
        self.write("events.ndjson", "".join(json.dumps(event) + "\n" for event in events))
        self.run("pagefold ingest events.ndjson", *codes)

    def fold(self) -> None:
        """Folds what is in the log."""
        self.run("pagefold work --once --log-level error")

    def crossed(self) -> set[str]:
        """The key figures that are above their limits."""
        status = json.loads(self.run("pagefold status --json", 0, 1).split("\n")[0])
        return {each["kpi"] for each in status["kpis"] if each["crossed"]}

    def serve(self, *options: str) -> str:
        """Starts the server, in place of the one before. Returns its address."""
        self._reader.do("sh", " ".join(["pagefold serve", *options]))
        return self._reader.address

    def endpoint(self, answer: Callable[[str], Answer]) -> str:
        """The address of another system, which answers a path with a status, headers and a body."""
        return self._stack.enter_context(_endpoint(answer))

    def receiver(self) -> Receiver:
        """Another system, which pages are delivered to."""
        return self._stack.enter_context(receiving())

    def meanwhile(self, command: str, action: Callable[[], None], *, nth: int = 1) -> None:
        """What others do before the reader types a command for the nth time: they repair a source, or send again."""
        self._meanwhile[command, nth] = action

    def mount(self, name: str) -> Path:
        """A small disk of its own, in the folder."""
        return self._stack.enter_context(disk(self.folder / name, MEBIBYTES)).folder

    def at_end(self, check: Callable[[], None]) -> None:
        """What must hold when the reader is done."""
        self._checks.append(check)

    # --- what the reader does ----------------------------------------------------------------------

    def follow(self, section: str) -> None:
        """Does what a section says. Raises `AssertionError` if a command prints something else."""
        for language, block in blocks(self._named(section)):
            if language == "toml":
                self.merge(re.sub(r'^\w+ = "https://\w+\.example.*\n', "", block, flags=re.MULTILINE))
            elif language == "console":
                for command, expected in commands(block):
                    self._type(command, expected)
            else:
                self._reader.do(language, block)

    def _type(self, command: str, expected: list[str]) -> None:
        self._typed[command] += 1
        action = self._meanwhile.pop((command, self._typed[command]), None)
        if action is not None:
            action()
        self._check(command, expected)

    def _check(self, command: str, expected: list[str]) -> None:
        """What a running server says of itself, it may say some seconds later; so may what it has delivered."""
        deadline = time.monotonic() + (SECONDS_TO_SHOW if SHOWS_LATER.search(command) else 0)
        while True:
            try:
                return self._reader.check(command, expected)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def end(self) -> None:
        """Fails if something was to happen that the page has no command for."""
        assert not self._meanwhile, f"the page has no {list(self._meanwhile)}"
        for check in self._checks:
            check()

    def _named(self, section: str) -> str:
        """The section, with the names of this shop in place of those that stand for them."""
        for name, value in self.names.items():
            section = re.sub(rf"\b{name}\b", value, section)
        return section


def _toml(value: object) -> str:
    """A value in one line. JSON's texts, numbers and lists are TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """An empty folder, and a reader in it."""
    with ExitStack() as stack:
        found = Scene(folder, stack.enter_context(Walkthrough(folder)), stack)
        yield found
        found.end()


@contextmanager
def _endpoint(answer: Callable[[str], Answer]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:  # noqa: ANN401  # as in its base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
