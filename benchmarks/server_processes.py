"""Runs the servers of HTTP benchmarks, each as a process on one core."""

import asyncio
import json
import os
import re
import shutil
import sys
import time
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.workload import CHANNELS, SOURCES

SECONDS_TO_START = 30


@asynccontextmanager
async def run_pagefold(
    url: str, folder: Path, *options: str, http: Mapping[str, float] | None = None
) -> AsyncIterator[str]:
    """Runs `pagefold serve` with the workload's shop and default settings. Yields its address."""
    settings = folder / "pagefold.toml"
    settings.write_text(_toml(url, http or {}), encoding="utf-8")
    command = ("-m", "pagefold.engine.command", "serve", "--config", str(settings), "--port", "0", *options)
    async with served(folder / "pagefold.log", *command) as address:
        yield address


@asynccontextmanager
async def served(log: Path, *command: str, core: int | None = 0) -> AsyncIterator[str]:
    """Runs a server with its output in a file, on one core, or on any if it is None. Yields its address."""
    with log.open("wb") as output:
        process = await started(sys.executable, *command, core=core, stdout=output.fileno(), stderr=output.fileno())
    try:
        yield await asyncio.to_thread(_address, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _address(log: Path) -> str:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if found := re.search(r"listening on (\S+)\n", log.read_text("utf-8")):
            return found[1]
        time.sleep(0.05)
    message = f"a server did not start: {log.read_text('utf-8')}"
    raise RuntimeError(message)


async def started(
    *command: str,
    core: int | None,
    stdout: int = DEVNULL,
    stderr: int = DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Starts a process, pinned to one core if there are several and `taskset` is installed."""
    everything = {**os.environ, **(environment or {})}
    prefix = () if core is None else pinned(core)
    return await create_subprocess_exec(*prefix, *command, stdout=stdout, stderr=stderr, env=everything)


def pinned(core: int) -> tuple[str, ...]:
    """The beginning of a command that runs on one core; empty if there is only one, or `taskset` is not installed."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ("taskset", "-c", str(cores[core])) if len(cores) > 1 and shutil.which("taskset") else ()


def _toml(url: str, http: Mapping[str, float]) -> str:
    """The configuration of the workload's shop, as a file."""
    parts = [f"[store]\nurl = {json.dumps(url)}"]
    parts += [f'[sources.{name}]\ndomains = ["{domain}"]' for name, domain in SOURCES.items()]
    for name, channel in CHANNELS.items():
        settings = {"fallbacks": ["en"], "requires": ["catalog", "pricing", "inventory"], **channel}
        own = settings.pop("sources")
        assert isinstance(own, dict)
        plain = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        parts.append(
            "\n".join([f"[channels.{name}]", *plain, *[f"sources.{k} = {json.dumps(v)}" for k, v in own.items()]])
        )
    parts.append("\n".join(["[http]", *[f"{key} = {value}" for key, value in http.items()]]))
    return "\n\n".join(parts) + "\n"
