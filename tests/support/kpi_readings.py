"""Readings of key figures, for tests."""

from pagefold.engine.kpis.definitions import BY_NAME
from pagefold.engine.kpis.readings import KpiReading


def reading(name: str, value: float | None, label: str = "") -> KpiReading:
    """A reading of a key figure with the limits that hold without a configuration."""
    kpi = BY_NAME[name]
    return KpiReading(
        kpi=name,
        label=label,
        title=kpi.title,
        unit=kpi.unit,
        value=value,
        threshold=kpi.threshold,
        window_seconds=kpi.window,
        minimum=kpi.minimum,
        severity=kpi.severity,
        crossed=value is not None and value > kpi.threshold,
        cause="#domains",
        command="pagefold status",
        runbook=kpi.runbook,
    )
