"""The programs of docs/embedding.md that embed a shop in a web framework run under a real server, and are typed."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.documents import PAGES
from tests.support.servers import free_port

[PAGE] = [page for page in PAGES if page.name == "embedding.md"]
PROGRAM = re.compile(r"^```python\n(# (\w+_shop)\.py\n.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS: dict[str, str] = {name: text for text, name in PROGRAM.findall(PAGE.read_text("utf-8"))}
SECONDS_TO_START = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a shop, as `pagefold init` makes it, that everybody may read, and the programs."""
    subprocess.run([sys.executable, "-m", "pagefold.engine.command", "init"], cwd=tmp_path, check=True, timeout=60)
    config = tmp_path / "pagefold.toml"
    config.write_text(config.read_text("utf-8").replace('# reads = "token"', 'reads = "open"'), encoding="utf-8")
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    return tmp_path


@contextmanager
def served(folder: Path, name: str) -> Iterator[httpx2.Client]:
    """A client of a program under uvicorn, which ends well."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"{name}:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                wait_for(client, server)
                yield client
        finally:
            server.terminate()
            said = server.communicate(timeout=30)[1]
    assert "Traceback" not in said, said


def wait_for(client: httpx2.Client, server: "subprocess.Popen[str]") -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            client.get("/")
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"no answer: {server.communicate(timeout=5)[1] if server.poll() is not None else 'too late'}")


def eventually(client: httpx2.Client, path: str) -> httpx2.Response:
    """The answer once the stock is there: the consumers work in the background, each at its own pace."""
    deadline = time.monotonic() + 30
    while _is_incomplete(answer := client.get(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def _is_incomplete(answer: httpx2.Response) -> bool:
    if answer.status_code != httpx2.codes.OK:
        return answer.status_code == httpx2.codes.NOT_FOUND
    return answer.json().get("inventory", "not shown") is None


def fill(folder: Path) -> None:
    """A product with its stock, appended by the command line."""
    said = [("catalog", "pim", {"family": "shirts"}), ("inventory", "wms-berlin", {"available": 7})]
    events = [
        {"type": domain, "sku": "A", "channel": "*", "source": source, "sourceVersion": 1, "payload": payload}
        for domain, source, payload in said
    ]
    lines = [json.dumps({**event, "occurredAt": "2026-01-01T00:00:00Z"}) for event in events]
    (folder / "events.ndjson").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pagefold.engine.command", "ingest", "events.ndjson"]
    subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True)


def test_there_is_a_program_for_each_framework() -> None:
    """What the other tests run is what the page shows."""
    assert sorted(PROGRAMS) == ["django_shop", "fastapi_shop", "starlette_shop"]


def test_fastapi(folder: Path) -> None:
    """The host's routes append and read, in the same process as the mounted server and its consumers."""
    with served(folder, "fastapi_shop") as client:
        assert client.put("/products/A/stock/1", params={"available": 3}).json() == {"outcome": "appended"}
        assert client.put("/products/A/stock/-1", params={"available": 3}).status_code == 422
        answer = eventually(client, "/products/A")
        assert answer.json()["inventory"]["available"] == 3
        assert client.get("/shop/v1/pages/web-de/A").json() == answer.json()
        assert client.get("/shop/readyz").status_code == 200
        assert client.post("/shop/v1/events", json=[]).status_code == 401


def test_starlette(folder: Path) -> None:
    """The shop is in the state of requests, and tells of its health."""
    fill(folder)
    with served(folder, "starlette_shop") as client:
        assert eventually(client, "/stock/A").json() == {"available": 7}
        assert client.get("/stock/NONE").status_code == 404
        health = client.get("/health")
        assert (health.status_code, health.json()) == (200, {"problems": []})


def test_django(folder: Path) -> None:
    """An async view reads pages; the lifespan of the server is the shop's."""
    fill(folder)
    with served(folder, "django_shop") as client:
        assert eventually(client, "/products/A").json()["inventory"]["available"] == 7
        assert client.get("/products/NONE").status_code == 404


def test_the_programs_are_typed(folder: Path) -> None:
    """Each of them passes `mypy --strict`."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache")]
    files = [f"{name}.py" for name in sorted(PROGRAMS)]
    done = subprocess.run([*command, *files], cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.stdout == "Success: no issues found in 3 source files\n", done.stdout
