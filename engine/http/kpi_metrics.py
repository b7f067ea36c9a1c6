"""Metrics of key figures, of the store, of channels and of processes."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from pagefold.engine.configuration.shop_config import ShopIdentity
from pagefold.engine.http.process_counters import ProcessCounters
from pagefold.engine.kpis.definitions import Kpi
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.reading.page_counts import ChannelCounts


def kpi_metrics(kpis: Sequence[Kpi], readings: Sequence[KpiReading]) -> Iterator[Metric]:
    """The value and the threshold of each key figure, and whether it is crossed. What is not known has no value."""
    value = GaugeMetricFamily(
        "pagefold_kpi_value", "Key figures: docs/kpis.md says what each is.", labels=["kpi", "label"]
    )
    crossed = GaugeMetricFamily("pagefold_kpi_crossed", "1 while it is above its limit.", labels=["kpi", "label"])
    threshold = GaugeMetricFamily("pagefold_kpi_threshold", "The limit.", labels=["kpi"])
    minimum = GaugeMetricFamily(
        "pagefold_kpi_minimum", "Of fewer than this, a ratio is not crossed, whatever it is.", labels=["kpi"]
    )
    denominator = GaugeMetricFamily("pagefold_kpi_denominator", "What a ratio is of.", labels=["kpi", "label"])
    for kpi in kpis:
        threshold.add_metric([kpi.name], kpi.threshold)
        if kpi.unit == "ratio":
            minimum.add_metric([kpi.name], kpi.minimum)
    for each in readings:
        if each.denominator is not None:
            denominator.add_metric([each.kpi, each.label], each.denominator)
        crossed.add_metric([each.kpi, each.label], each.crossed)
        if each.value is not None:
            value.add_metric([each.kpi, each.label], each.value)
    yield from (value, crossed, threshold, minimum, denominator)


def build_metrics(store: str) -> Iterator[Metric]:
    """What runs: its version, its Python, and the kind of its store."""
    info = InfoMetricFamily("pagefold_build", "What runs.")
    kind = store.partition(":")[0]
    info.add_metric([], {"version": _version(), "python": platform.python_version(), "store": kind})
    yield info


def shop_metrics(shop: ShopIdentity) -> Iterator[Metric]:
    """Which shop this is, and where its runbooks are; a label is empty if that is not known."""
    info = InfoMetricFamily("pagefold_shop", "Which shop this is, and the address of its runbooks.")
    labels = {"name": shop.name, "environment": shop.environment or "", "runbooks": shop.runbooks or ""}
    info.add_metric([], labels)
    yield info


def store_metrics(sizes: Mapping[str, int]) -> Iterator[Metric]:
    """The bytes of the parts of a store."""
    family = GaugeMetricFamily("pagefold_store_bytes", "Bytes on disk, by part of the store.", labels=["part"])
    for part, size in sizes.items():
        family.add_metric([part], size)
    yield family


def page_metrics(channels: Sequence[str], counts: ChannelCounts) -> Iterator[Metric]:
    """The pages of each channel, the sections of each channel and domain, and how many are ready, as counted last."""
    pages = GaugeMetricFamily("pagefold_pages", "Pages that a channel shows, counted now and then.", labels=["channel"])
    ready = GaugeMetricFamily(
        "pagefold_pages_ready", "Those that have what the channel requires, counted now and then.", labels=["channel"]
    )
    for channel in channels:
        number, of_them = counts.pages(channel)
        pages.add_metric([channel], number)
        ready.add_metric([channel], of_them)
    sections = GaugeMetricFamily(
        "pagefold_sections", "Sections of the pages of a channel, counted now and then.", labels=["channel", "domain"]
    )
    sections_ready = GaugeMetricFamily(
        "pagefold_sections_ready", "Those that are ready, counted now and then.", labels=["channel", "domain"]
    )
    for key, (number, of_them) in counts.by_section().items():
        sections.add_metric([*key], number)
        sections_ready.add_metric([*key], of_them)
    yield from (pages, ready, sections, sections_ready)


def process_metrics(processes: Sequence[ProcessCounters]) -> Iterator[Metric]:
    """What the processes of a server use."""
    seconds = CounterMetricFamily("pagefold_process_cpu_seconds", "CPU time of a process.", labels=["worker"])
    resident = GaugeMetricFamily("pagefold_process_resident_bytes", "Memory of a process.", labels=["worker"])
    files = GaugeMetricFamily("pagefold_process_open_files", "Files and sockets that are open.", labels=["worker"])
    started = GaugeMetricFamily(
        "pagefold_process_start_time_seconds", "When a process began, since the epoch.", labels=["worker"]
    )
    for each in processes:
        worker = [str(each.worker)]
        seconds.add_metric(worker, each.usage.cpu_seconds)
        resident.add_metric(worker, each.usage.resident_bytes)
        files.add_metric(worker, each.usage.open_files)
        started.add_metric(worker, each.usage.started_at)
    yield from (seconds, resident, files, started)


def _version() -> str:
    try:
        return version("pagefold")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
