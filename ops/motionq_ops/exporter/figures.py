"""What is shown of a look at the server: pure functions from a Snapshot to Prometheus' metrics.

docs/monitoring.md has the same names, types, labels and sentences in a table; a test compares the two. Labels whose
values are known beforehand are always all there, at 0 if need be: an alert must not wait for a first event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from prometheus_client.core import GaugeMetricFamily, Metric

from motionq.contract.durability import share_used
from motionq.contract.keys import SILENT, STEPS
from motionq.gate import Holds
from motionq_ops.exporter.counted import counted
from motionq_ops.exporter.reading import Snapshot
from motionq_ops.exporter.tenants import Counts
from motionq_worker.pauses import POLICIES

TENANTS_SHOWN = 20
OTHERS = "(others)"  # no tenant's name can hold brackets
PAUSES = (*POLICIES, "budget", "memory")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the exporter's own settings say; they should be the workers'."""

    submit_rate: int
    max_in_flight: int
    credits_per_day: float | None
    callbacks: bool


def families(s: Snapshot, limits: Limits) -> Iterator[Metric]:
    """Every metric but those about the scrape itself."""
    jobs = (_jobs(s), _tenants(s), _alarms(s))
    rest = (_gate(s, limits), _money(s, limits), _workers(s), _callbacks(s, limits), _server(s))
    return chain(*jobs, *rest, counted(s.metrics))


def gauge(name: str, meaning: str, value: float) -> Metric:
    """One figure without labels."""
    return GaugeMetricFamily(f"motionq_{name}", meaning, value=value)


def gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """One figure for each value of a label."""
    family = GaugeMetricFamily(f"motionq_{name}", meaning, labels=[label])
    for value, figure in values.items():
        family.add_metric([value], figure)
    return family


def _seconds_since(now: int, then: int | None) -> float:
    """0 for what lies ahead, or is not there."""
    return 0.0 if then is None else max(0, now - then) / 1000


# -- jobs -------------------------------------------------------------------------------------------------------------


def _jobs(s: Snapshot) -> Iterator[Metric]:
    yield gauges("jobs", "jobs on record, by state; finished ones until their record expires", "state", s.jobs)
    recent = GaugeMetricFamily(
        "motionq_jobs_recent",
        "jobs created in the last hour or day, by the state they are in",
        labels=["window", "state"],
    )
    for (window, state), count in s.recent.items():
        recent.add_metric([window, state], count)
    yield recent
    words = "jobs that failed in the last 14 days and were charged, or may have been: a person is needed"
    yield gauge("jobs_unsettled", words, s.unsettled)
    words = "since the first of them failed; 0 without any"
    yield gauge("oldest_unsettled_age_seconds", words, _seconds_since(s.now, s.unsettled_since))
    ages = {state: _seconds_since(s.now, created) for state, created in s.oldest.items()}
    yield gauges("oldest_job_age_seconds", "since the oldest unfinished job was created, by state", "state", ages)


def _tenants(s: Snapshot) -> Iterator[Metric]:
    of_each = f"of each state the {TENANTS_SHOWN} tenants with most, the rest summed as {OTHERS}"
    yield _by_tenant("tenant_jobs", f"unfinished jobs by tenant; {of_each}", s.by_tenant)
    words = f"jobs that ended in the last hour by tenant, each end counted; {of_each}"
    yield _by_tenant("tenant_jobs_ended", words, s.ended, window="1h")
    words = f"jobs that could be bought, of the {TENANTS_SHOWN} tenants with most; the rest summed as {OTHERS}"
    yield gauges("tenant_jobs_ready", words, "tenant", largest(s.lines, TENANTS_SHOWN))
    yield gauge("tenants_ready", "tenants with jobs that could be bought", len(s.lines))


def _by_tenant(name: str, meaning: str, found: Counts, **more: str) -> Metric:
    family = GaugeMetricFamily(f"motionq_{name}", meaning, labels=[*more, "state", "tenant"])
    for state, sizes in found.items():
        for tenant, size in largest(sizes, TENANTS_SHOWN).items():
            family.add_metric([*more.values(), state, tenant], size)
    return family


def largest(sizes: Mapping[str, int], shown: int) -> dict[str, float]:
    """The `shown` largest by name, and the sum of all others, which is always there: bounded, whatever callers do."""
    ranked = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return {**dict(ranked[:shown]), OTHERS: sum(size for _, size in ranked[shown:])}


def _alarms(s: Snapshot) -> Iterator[Metric]:
    yield gauges("alarms", "jobs that wait for their alarm, by the step it wakes", "step", s.alarms)
    late = {step: _seconds_since(s.now, s.first_alarm[step]) for step in STEPS}
    yield gauges("alarm_lateness_seconds", "since the earliest alarm should have rung, by step", "step", late)


# -- buying -----------------------------------------------------------------------------------------------------------


def _gate(s: Snapshot, limits: Limits) -> Iterator[Metric]:
    reason = pause_reason(s, limits)
    paused = {name: float(name == reason) for name in PAUSES}
    paused |= {reason: 1.0} if reason else {}
    yield gauges("gate_paused", "1 for the reason why nothing is bought now", "reason", paused)
    since = int(s.gate["since"]) / 1000 if s.gate else 0.0
    yield gauge("gate_paused_since_timestamp_seconds", "when the gate was paused; 0 while it is not", since)
    yield gauge("gate_rate_slots_used", "rate slots of createTask that are taken", s.rate_used)
    yield gauge("gate_rate_slots", "rate slots there are (MOTIONQ_SUBMIT_RATE of the exporter)", limits.submit_rate)
    yield gauge("gate_in_flight", "purchases under way at the vendor", s.in_flight)
    yield gauge("gate_in_flight_limit", "MOTIONQ_MAX_IN_FLIGHT of the exporter", limits.max_in_flight)


def pause_reason(s: Snapshot, limits: Limits) -> str | None:
    """Why the gate lets nothing through, as `motionq gate status` says it."""
    if s.gate:
        return s.gate["reason"]
    return Holds.found(budget=limits.credits_per_day, spent=s.spent, memory=share_used(s.memory)).reason


def _money(s: Snapshot, limits: Limits) -> Iterator[Metric]:
    words = "credits bought on this day (UTC), less what was refunded: estimates, corrected by what the vendor reports"
    yield gauge("credits_burnt_today", words, s.spent)
    if limits.credits_per_day is not None:
        yield gauge("credits_day_limit", "MOTIONQ_MAX_CREDITS_PER_DAY of the exporter, if set", limits.credits_per_day)
    words = "1 for a day after kie.ai was found to have made a task that it had refused; gate resume sets it back"
    yield gauge("vendor_doubted", words, s.doubted)
    if "credits" in s.metrics:
        words = "credits of the account when a worker last asked (every 5 minutes)"
        yield gauge("credits_left", words, float(s.metrics["credits"]))
        asked = int(s.metrics["credits_at"]) / 1000
        yield gauge("credits_left_timestamp_seconds", "when that was", asked)


# -- processes --------------------------------------------------------------------------------------------------------


def _workers(s: Snapshot) -> Iterator[Metric]:
    alive = sum(s.now - seen < SILENT * 1000 for seen in s.workers.values())
    yield gauge("workers_live", f"workers with a sign of life in the last {SILENT:g} s", alive)
    ages = {name: _seconds_since(s.now, seen) for name, seen in s.workers.items()}
    yield gauges("worker_tick_age_seconds", "since a worker's clock last ticked", "worker", ages)
    yield gauges("queue_messages", "messages that wait in a Celery queue, by step", "queue", s.queues)
    yield gauge("transfers", "jobs whose files are being moved", s.transfers)


def _callbacks(s: Snapshot, limits: Limits) -> Iterator[Metric]:
    words = "1 if a public address is set for callbacks (MOTIONQ_PUBLIC_BASE_URL of the exporter)"
    yield gauge("callbacks_configured", words, limits.callbacks)
    seen = int(s.metrics.get("callback_at", 0)) / 1000
    yield gauge("callback_seen_timestamp_seconds", "when the last callback was taken in; 0: never", seen)
    yield gauge("candidates", "purchases with a task that somebody named, not verified yet", s.candidates)
    yield gauge("orphan_callbacks", "callbacks on file for jobs that are not on record (at most 1,000)", s.orphans)


def _server(s: Snapshot) -> Iterator[Metric]:
    """Of a hosted server that does not say: nothing."""
    if "used_memory" in s.memory:
        used, limit = int(s.memory["used_memory"]), int(s.memory.get("maxmemory", 0))
        yield gauge("redis_memory_used_bytes", "memory that the queue's server uses", used)
        yield gauge("redis_memory_limit_bytes", "its maxmemory; 0: none", limit)
    if "total_system_memory" in s.memory:
        words = "memory of the machine that it runs on"
        yield gauge("redis_machine_memory_bytes", words, int(s.memory["total_system_memory"]))
    if "maxmemory_policy" in s.memory:
        keeps = s.memory["maxmemory_policy"] == "noeviction"
        yield gauge("redis_noeviction", "1 if it drops no keys when its memory is full", keeps)
    if "aof_enabled" in s.disk:
        written = s.disk.get("aof_last_write_status", "ok") == "ok"
        yield gauge("redis_aof_enabled", "1 if it keeps an append-only file", bool(s.disk["aof_enabled"]))
        yield gauge("redis_aof_written", "1 if its last write to that file went well", written)
