"""Runs nginx with the configuration of docs/operations.md, in a folder of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.documents import ROOT, blocks
from tests.support.servers import free_port

SECONDS_TO_START = 20
OPERATIONS = ROOT / "docs" / "operations.md"

MAIN = """
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 512; }}
http {{
    sendfile on;
    tcp_nopush on;
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {recipe}
}}
"""
"""What the `nginx.conf` of a distribution has, with relative paths."""

MISSING_MESSAGE = "nginx is not installed: `apt-get install nginx-light` or `brew install nginx`"


def nginx_program() -> str | None:
    """The program; None if it is not installed. Debian has it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


def recipe() -> str:
    """The configuration in the documentation."""
    [(_, found)] = blocks(OPERATIONS.read_text("utf-8"), "nginx")
    return found


@contextmanager
def nginx(folder: Path, server: str, more: str = "", command: Sequence[str] = (), locations: str = "") -> Iterator[str]:
    """The address of nginx in front of the server at an address, `http://127.0.0.1:8080`, with an empty cache.

    `more` are directives for the location of pages, `command` the beginning of the command that starts it, `locations`
    are further ones.
    """
    program, port = nginx_program(), free_port()
    assert program is not None
    text = recipe().replace("    location / {", f"{locations}\n    location / {{")
    configuration = _adapted(text, folder, server.removeprefix("http://"), port, more)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(user=user, recipe=configuration), encoding="utf-8")
    arguments = [*command, program, "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _wait_for(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _adapted(text: str, folder: Path, server: str, port: int, more: str) -> str:
    """The configuration with a server, a port and a folder of this test. Each must occur once."""
    changes = {
        "proxy_cache pages;": f"proxy_cache pages; {more}",
        "server 127.0.0.1:8080;": f"server {server};",
        "listen 80;": f"listen 127.0.0.1:{port};",
        "/var/cache/nginx/pagefold": str(folder / "cache"),
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    process.kill()
    assert process.stderr is not None
    raise AssertionError(process.stderr.read().decode())
