"""A look at a queue's server as values, for tests of what is shown of it, and the metrics of an exposition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from motionq.contract.keys import QUEUES, STEPS
from motionq.contract.states import FINAL, UNFINISHED, State
from motionq_ops.exporter.figures import OTHERS, Limits
from motionq_ops.exporter.reading import WINDOWS, Snapshot

NOW = 1_800_000_000_000
LIMITS = Limits(submit_rate=20, max_in_flight=100, credits_per_day=1000.0, callbacks=True)

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def snapshot(**given: Any) -> Snapshot:
    """A server with nothing on it, but for what is given."""
    usual: dict[str, Any] = {
        "now": NOW,
        "jobs": dict.fromkeys(State, 0),
        "recent": {(window, state): 0 for window in WINDOWS for state in State},
        "oldest": dict.fromkeys(UNFINISHED),
        "by_tenant": {state: {} for state in UNFINISHED},
        "ended": {state: {} for state in FINAL},
        "alarms": dict.fromkeys(STEPS, 0),
        "first_alarm": dict.fromkeys(STEPS),
        "lines": {},
        "workers": {},
        "queues": dict.fromkeys(QUEUES, 0),
        **dict.fromkeys(("in_flight", "rate_used", "transfers", "candidates", "orphans"), 0),
        "unsettled": 0,
        "unsettled_since": None,
        "doubted": False,
        "spent": 0.0,
    }
    return Snapshot(**(usual | given))


# One of everything, so that each metric has a sample.
BUSY = snapshot(
    by_tenant={state: {"acme": 2} for state in UNFINISHED},
    ended={state: {"acme": 1} for state in FINAL},
    lines={"acme": 3},
    workers={"w1@host": NOW},
    memory={
        "used_memory": 1_000_000,
        "maxmemory": 4_000_000,
        "maxmemory_policy": "noeviction",
        "total_system_memory": 8_000_000,
    },
    disk={"aof_enabled": 1, "aof_last_write_status": "ok"},
    metrics={
        "credits": "512.5",
        "credits_at": str(NOW),
        "callback_at": str(NOW),
        "failure refused no": "1",
        "answer create_task ok 200": "2",
        "seconds create_task 0.5": "2",
        "took_ms create_task": "700",
    },
)


def samples(families: Iterable[Metric]) -> Samples:
    """Name of a sample → its labels → its value."""
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def parsed(text: str) -> Samples:
    """The samples of an exposition."""
    return samples(text_string_to_metric_families(text))


def figure(found: Samples, name: str, **labels: str) -> float | None:
    """One value, or None where there is no such sample."""
    return found.get(f"motionq_{name}", {}).get(tuple(sorted(labels.items())))


def by_tenant(found: Samples, name: str) -> dict[tuple[str, str], float]:
    """(state, tenant) → the value, without the sums of others."""
    named = ((dict(labels), value) for labels, value in found[f"motionq_{name}"].items())
    return {(labels["state"], labels["tenant"]): value for labels, value in named if labels["tenant"] != OTHERS}
