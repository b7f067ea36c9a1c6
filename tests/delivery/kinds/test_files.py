"""A folder with files of NDJSON as a target."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import orjson
import pytest
from backports import zstd

from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.delivery.kinds.files import FilesTarget
from pagefold.engine.delivery.target_kind import Taken, Unavailable
from tests.support import small_disk
from tests.support.documents import ROOT
from tests.support.processes import eventually
from tests.support.target_items import hostile_skus, page_item, pages, withdrawal

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 14), reason="reads .zst with backports.zstd")


def target_of(folder: Path, timeout: float = 5.0, name: str = "shop", **settings: object) -> FilesTarget:
    """A target in a folder."""
    files = FilesTargetConfig(folder=str(folder), **settings)  # type: ignore[arg-type]  # keys of the table
    return FilesTarget(name, TargetConfig(files=files, timeout_seconds=timeout), files)


def complete(folder: Path, name: str = "shop") -> list[Path]:
    """The complete files, by name."""
    return sorted(each for each in folder.glob(f"{name}-*.ndjson*") if not each.name.startswith("."))


def lines_of(folder: Path) -> list[dict[str, object]]:
    """The lines of all complete files, in the order of their names."""
    found: list[dict[str, object]] = []
    for each in complete(folder):
        data = each.read_bytes()
        data = zstd.decompress(data) if each.suffix == ".zst" else data
        assert data.endswith(b"\n")
        found += map(orjson.loads, data.splitlines())
    return found


def skus(lines: Sequence[dict[str, object]]) -> list[object]:
    """The SKUs of lines."""
    return [line["sku"] for line in lines]


async def test_lines(tmp_path: Path) -> None:
    """Pages and withdrawals are lines; the file appears when the target is closed. It cannot be read back."""
    page, gone = page_item(), withdrawal()
    async with target_of(tmp_path / "out") as target:
        answers = await target.deliver([page, gone])
        assert answers.items == [Taken("line 2")] * 2
        assert complete(tmp_path / "out") == []
        assert await target.read([page.page]) is None
    assert lines_of(tmp_path / "out") == [
        {"sku": page.page.sku, "channel": "web-de", "tag": page.tag, "position": 42,
         "page": orjson.loads(page.document or b"")},
        {"sku": page.page.sku, "channel": "web-de", "tag": None, "position": 43, "page": None},
    ]  # fmt: skip


async def test_hostile_skus_and_documents(tmp_path: Path) -> None:
    """A line stays a line, also of a document that a person wrote with line breaks."""
    wanted = hostile_skus()
    async with target_of(tmp_path) as target:
        await target.deliver([page_item(sku) for sku in wanted])
        await target.deliver([page_item("broken", b'{\r\n "a": "b\\nc"\n}')])
    lines = lines_of(tmp_path)
    assert skus(lines) == [*wanted, "broken"]
    assert lines[-1]["page"] == {"a": "b\nc"}


async def test_complete_by_lines_and_by_time(tmp_path: Path) -> None:
    """A file has the configured lines, or ends after the configured time; the oldest beyond those kept are deleted."""
    async with target_of(tmp_path, lines=3, keep=2) as target:
        for start in range(8):
            await target.deliver([page_item(f"S{start}")])
        assert [len(each.read_bytes().splitlines()) for each in complete(tmp_path)] == [3, 3]
    assert skus(lines_of(tmp_path)) == ["S3", "S4", "S5", "S6", "S7"]
    (tmp_path / "other").mkdir()
    async with target_of(tmp_path / "other", seconds=0.1) as target:
        await target.deliver([page_item()])
        await eventually(lambda: bool(complete(tmp_path / "other")), "the file is complete", 5)


async def test_only_its_own_files_are_deleted(tmp_path: Path) -> None:
    """Another target's name may begin with its name."""
    async with target_of(tmp_path, name="shop-de") as other:
        await other.deliver([page_item()])
    async with target_of(tmp_path, lines=1, keep=1) as target:
        for start in range(3):
            await target.deliver([page_item(f"S{start}")])
    assert len(complete(tmp_path)) == 2
    assert len(complete(tmp_path, "shop-de")) == 1


async def test_compressed_and_resumed(tmp_path: Path) -> None:
    """A file is compressed before it appears. What a crash left between is completed, once."""
    async with target_of(tmp_path, lines=2, compressed=True) as target:
        await target.deliver(pages(2))
        assert [each.name.endswith(".ndjson.zst") for each in complete(tmp_path)] == [True]
        hidden = tmp_path / ".shop-20300101T000000-000000001.ndjson"
        hidden.write_bytes(b'{"sku":"crashed"}\n')
        (tmp_path / f"{hidden.name}.zst.tmp").write_bytes(b"half")
        await target.deliver([page_item("next")])
        assert not hidden.exists()
    assert skus(lines_of(tmp_path)) == ["S0", "S1", "crashed", "next"]


async def test_a_clock_that_goes_back(tmp_path: Path) -> None:
    """The order of the names stays that of the versions: A, then B, then A again."""
    (tmp_path / "shop-20991231T235959-999999999.ndjson").write_bytes(b'{"sku":"old","position":1}\n')
    async with target_of(tmp_path, lines=1) as target:
        for position in (2, 3, 4):
            await target.deliver([page_item("A", b'{"v":%d}' % (position % 2), position)])
    assert [line["position"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]


async def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Every line is there once; neither counts lines that the other has written again."""
    async with (
        target_of(tmp_path, lines=10) as one,
        target_of(tmp_path, lines=10) as other,
        anyio.create_task_group() as group,
    ):
        for number in range(20):
            group.start_soon((one, other)[number % 2].deliver, [page_item(f"S{number}-{each}") for each in range(3)])
    assert len(set(map(str, skus(lines_of(tmp_path))))) == len(lines_of(tmp_path)) == 60
    assert [len(each.read_bytes().splitlines()) for each in complete(tmp_path)] == [12] * 5


async def test_a_process_that_stops_with_the_folder(tmp_path: Path) -> None:
    """Others say so after a while, and continue when it has ended."""
    async with target_of(tmp_path, timeout=0.2) as target:
        await target.deliver([page_item("A")])
        with (tmp_path / ".shop.state").open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            answers = await target.deliver([page_item("B")])
            assert answers.items == [Unavailable("another process has the folder", received=False)]
        await target.deliver([page_item("C")])
    assert skus(lines_of(tmp_path)) == ["A", "C"]


WRITER = """
import sys, anyio
from pathlib import Path
from tests.delivery.kinds.test_files import target_of
from tests.support.processes import eventually
from tests.support.target_items import page_item

async def main():
    async with target_of(Path(sys.argv[1]), lines=500) as target:
        for number in range(10**6):
            await target.deliver([page_item(f"{number}-{each}", b'{"x":"%b"}' % (b"y" * 2000)) for each in range(20)])
            print(number, flush=True)

anyio.run(main)
"""


def test_a_crash_while_a_line_is_written(tmp_path: Path) -> None:
    """After kill -9: every acknowledged line is there, whole, in order; what was cut is not."""
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(20):
                writer.stdout.readline()
            writer.kill()
            acknowledged = int(([b"19", *writer.stdout.read().splitlines()])[-1])
        with (tmp_path / ".shop.part").open("ab") as part:
            part.write(b'{"sku":"half of a li')
        anyio.run(_deliver_last, tmp_path)
        found = skus(lines_of(tmp_path))
        whole = [f"{number}-{each}" for number in range(acknowledged + 1) for each in range(20)]
        assert found[: len(whole)] == whole
        assert found[-1] == "last"
        assert len(found) <= len(whole) + 20 + 1
        for each in complete(tmp_path):
            each.unlink()


async def _deliver_last(folder: Path) -> None:
    async with target_of(folder, lines=500) as target:
        assert isinstance((await target.deliver([page_item("last")])).items[0], Taken)


async def test_a_state_that_is_lost(tmp_path: Path) -> None:
    """The part file is read again: nothing of it is lost, whatever the state says."""
    for content in (b"", b"{", b'{"file":1,"size":99999,"lines":7,"since":1.0,"newest":5}'):
        async with target_of(tmp_path) as target:
            await target.deliver(pages(2))
            (tmp_path / ".shop.state").write_bytes(content)
            assert (await target.deliver([page_item("S2")])).items == [Taken("line 3")]
    assert skus(lines_of(tmp_path)) == ["S0", "S1", "S2"] * 3


async def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing is taken, no part of a line stays, and later pages are taken when there is space."""
    with small_disk.disk(tmp_path / "disk", 1) as disk:
        folder = disk.folder / "out"
        async with target_of(folder) as target:
            assert isinstance((await target.deliver([page_item("A")])).items[0], Taken)
            large = [page_item("B", b'"%b"' % (b"x" * 2_000_000))]
            assert (await target.deliver(large)).items == [Unavailable("No space left on device", received=False)]
            disk.fill()
            large = [page_item("C", b'"%b"' % (b"x" * 20_000))]
            assert (await target.deliver(large)).items == [Unavailable("No space left on device", received=False)]
            disk.free()
            assert isinstance((await target.deliver([page_item("D")])).items[0], Taken)
        assert skus(lines_of(folder)) == ["A", "D"]


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The target's fault. A folder that is deleted is made again."""
    (tmp_path / "file").write_bytes(b"")
    async with target_of(tmp_path / "file" / "out") as target:
        assert isinstance((await target.deliver([page_item()])).items[0], Unavailable)
    async with target_of(tmp_path / "out") as target:
        await target.deliver([page_item()])
        for each in (tmp_path / "out").iterdir():
            each.unlink()
        (tmp_path / "out").rmdir()
        assert (await target.deliver([page_item()])).items == [Taken("line 1")]
    assert time.time() - complete(tmp_path / "out")[0].stat().st_mtime < 60
