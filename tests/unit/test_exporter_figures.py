"""What the exporter makes of a look at the server, and whether page, alerts and dashboard speak of what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from ruamel.yaml import YAML

from motionq.contract.states import MOVES, State
from motionq_ops.exporter.counted import CALLBACKS, MOVED, counted
from motionq_ops.exporter.figures import OTHERS, PAUSES, TENANTS_SHOWN, families, gauge, largest
from motionq_worker.metering import BUCKETS
from support.figures import BUSY, LIMITS, NOW, figure, samples, snapshot

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "ops" / "deploy" / "monitoring"


def _yaml(file: Path) -> Any:
    return YAML(typ="safe").load(file)


ALERTS: list[dict[str, Any]] = [rule for group in _yaml(MONITORING / "alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana" / "dashboards" / "motionq.json").read_text("utf-8"))


def _shown() -> Iterator[Metric]:
    """Every metric of a server with one of everything, and those about the scrape itself."""
    yield from families(BUSY, LIMITS)
    yield gauge("up", "1 if the queue's server answered this scrape", 1)
    yield gauge("scrape_seconds", "how long reading the figures took", 0.1)


SHOWN = samples(_shown())


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


# -- figures ----------------------------------------------------------------------------------------------------------


def test_an_idle_server_has_every_label_at_nought() -> None:
    """An alert must not wait for a first event: states, steps, reasons, moves and outcomes are there from the start."""
    found = samples(families(snapshot(), LIMITS))

    assert {figure(found, "jobs", state=state) for state in State} == {0.0}
    assert {figure(found, "gate_paused", reason=reason) for reason in PAUSES} == {0.0}
    assert {figure(found, "moves_total", move=move) for move in MOVED} == {0.0}
    assert {figure(found, "callbacks_total", outcome=outcome) for outcome in CALLBACKS} == {0.0}
    assert figure(found, "alarm_lateness_seconds", step="check") == 0.0
    assert figure(found, "workers_live") == 0.0


def test_what_is_not_known_is_not_shown() -> None:
    """Credits that nobody asked for, a limit that is not set and a server that keeps INFO to itself make no figure."""
    found = samples(families(snapshot(), LIMITS.__class__(**{**vars(LIMITS), "credits_per_day": None})))

    hidden = ("credits_left", "credits_day_limit", "redis_memory_used_bytes", "redis_aof_enabled", "redis_noeviction")
    assert [name for name in hidden if f"motionq_{name}" in found] == []


def test_lateness_is_never_below_nought() -> None:
    """An alarm of the future is not late; one of the past is late by what has passed since."""
    looked = snapshot(first_alarm={"upload": NOW + 5000, "submit": None, "check": NOW - 1500, "deliver": NOW})
    found = samples(families(looked, LIMITS))

    late = [figure(found, "alarm_lateness_seconds", step=step) for step in ("upload", "submit", "check", "deliver")]
    assert late == [0.0, 0.0, 1.5, 0.0]


def test_the_gates_reason_is_a_label() -> None:
    """Of all reasons one is 1, with the moment it began; a reason of another release is shown as well."""
    found = samples(families(snapshot(gate={"reason": "moon", "since": str(NOW - 2000), "until": "0"}), LIMITS))

    assert {r: figure(found, "gate_paused", reason=r) for r in (*PAUSES, "moon")} == dict.fromkeys(PAUSES, 0.0) | {
        "moon": 1.0
    }
    assert figure(found, "gate_paused_since_timestamp_seconds") == (NOW - 2000) / 1000


@pytest.mark.parametrize(("spent", "paused"), [(999.9, 0.0), (1000.0, 1.0)])
def test_a_spent_budget_is_a_pause(spent: float, paused: float) -> None:
    """The gate's own record does not say so: it is the day's account against the limit."""
    assert figure(samples(families(snapshot(spent=spent), LIMITS)), "gate_paused", reason="budget") == paused


@pytest.mark.parametrize(("used", "paused"), [(85, 0.0), (86, 1.0)])
def test_a_full_server_is_a_pause(used: int, paused: float) -> None:
    """The same that `motionq gate status` says: above 85 % of maxmemory nothing is bought."""
    found = samples(families(snapshot(memory={"used_memory": used, "maxmemory": 100}), LIMITS))
    assert figure(found, "gate_paused", reason="memory") == paused


def test_a_refusal_that_was_none_shows() -> None:
    """For a day after kie.ai was found to have made a task that it had refused."""
    assert figure(samples(families(snapshot(doubted=True), LIMITS)), "vendor_doubted") == 1.0
    assert figure(samples(families(snapshot(), LIMITS)), "vendor_doubted") == 0.0


def test_the_number_of_tenants_shown_is_bounded() -> None:
    """The largest lines by name, equal ones by name's order, the rest summed; nothing is lost in the sum."""
    sizes = {f"t{n:04}": 1 + n % 7 for n in range(5000)}
    shown = largest(sizes, TENANTS_SHOWN)

    assert len(shown) == TENANTS_SHOWN + 1
    assert sum(shown.values()) == sum(sizes.values())
    assert list(shown)[:2] == ["t0006", "t0013"]
    assert largest({"a": 1}, 3) == {"a": 1, OTHERS: 0}


def test_buckets_are_cumulative() -> None:
    """Redis has each bucket's own count; Prometheus wants how many were at most as long."""
    found = samples(
        counted(
            {"seconds upload 0.5": "2", "seconds upload 30": "1", "seconds upload +Inf": "1", "took_ms upload": "9000"}
        )
    )
    counts = {
        dict(labels)["le"]: n
        for labels, n in found["motionq_vendor_seconds_bucket"].items()
        if ("call", "upload") in labels
    }

    assert list(counts) == [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    assert (counts["0.25"], counts["0.5"], counts["10"], counts["30"], counts["+Inf"]) == (0, 2, 2, 3, 4)
    assert figure(found, "vendor_seconds_sum", call="upload") == 9.0
    assert figure(found, "vendor_seconds_count", call="upload") == 4.0


def test_fields_of_another_release_do_no_harm() -> None:
    """Words that this release does not know, or in another number, are left out."""
    found = samples(counted({"answer a": "1", "moon": "3", "upload sent": "x", "credits": "1.5", "step check": "4"}))

    assert found.get("motionq_vendor_answers_total", {}) == {}
    assert figure(found, "uploads_total", result="sent") == 0.0
    assert figure(found, "steps_total", queue="check") == 4.0


def test_the_moves_of_workers_are_moves() -> None:
    """The counter's labels are names of contract/states.py, without those that no worker makes."""
    assert set(MOVED) < set(MOVES)
    assert {"record_task", "paid", "refunded", "unknown", "delivered"} <= set(MOVED)
    assert set(MOVED) & {"admit", "send", "cancel_bought", "renew"} == set()


# -- the page, the alerts and the dashboard ---------------------------------------------------------------------------


def test_the_page_lists_every_metric_as_it_is() -> None:
    """docs/monitoring.md has each metric with its type, labels and sentence, in the order of the exposition."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in text.splitlines() if row[:3] == "| `"]
    shown = [
        (f"`{_name(f)}`", f.type, ", ".join(sorted({k for s in f.samples for k in s.labels} - {"le"})), f.documentation)
        for f in _shown()
    ]
    assert [row for row in rows if row[0].startswith("`motionq_")] == shown


def _metrics_of(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression (strings and labels left out)."""
    return set(re.findall(r"\b(?:motionq_[a-z_]+|up)\b", re.sub(r'"[^"]*"', "", expression)))


def _selectors(expression: str) -> Iterator[tuple[str, str, str, str]]:
    """Each (metric, label, operator, value) of a PromQL expression."""
    for name, inner in re.findall(r"\b(motionq_[a-z_]+)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"', inner):
            yield name, label, operator, value


def _expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return panels + [str(rule["expr"]) for rule in ALERTS]


def test_alerts_and_panels_speak_of_metrics_that_are_shown() -> None:
    """Every name in an expression is one that the exporter emits (or Prometheus' own `up`)."""
    named = set().union(*map(_metrics_of, _expressions()))

    assert named - set(SHOWN) == {"up"}
    assert len(named) > 30


def test_alerts_and_panels_select_labels_that_exist() -> None:
    """A label, and each of its values that an expression names, is one that the exporter emits or can emit."""
    wrong = []
    for expression in _expressions():
        for name, label, operator, value in _selectors(expression):
            values = {v for labels in SHOWN[name] for k, v in labels if k == label}
            named = set(value.split("|")) if operator in ("=~", "!~") else {value}
            open_ended = {"call", "outcome", "code"} if "vendor_answers" in name else set()
            if not values or (label not in open_ended and not named <= values):
                wrong.append((name, label, value))
    assert wrong == []


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """No figure is computed for nobody, but for a few that explain another one."""
    named = set().union(*map(_metrics_of, _expressions()))
    unseen = {_name(f) for f in _shown()} - named - {"motionq_vendor_seconds"}

    assert unseen == {
        "motionq_alarms",
        "motionq_candidates",
        "motionq_credits_left_timestamp_seconds",
        "motionq_gate_paused_since_timestamp_seconds",
        "motionq_oldest_unsettled_age_seconds",
        "motionq_scrape_seconds",
        "motionq_tenants_ready",
        "motionq_transfers",
    }


def test_every_panel_is_a_panel() -> None:
    """IDs are unique, nothing overlaps, all ask the provisioned source, and each figure says what it is."""
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    cells = [
        (x, y)
        for p in DASHBOARD["panels"]
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    source = _yaml(MONITORING / "grafana/provisioning/datasources/prometheus.yml")

    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels} == {source["datasources"][0]["uid"]}
    assert [panel["title"] for panel in panels if not panel["description"]] == []


def test_every_alert_says_how_grave_it_is_and_where_to_read_on() -> None:
    """One of three severities, a sentence, and the runbook's entry of its own name."""
    assert {rule["labels"]["severity"] for rule in ALERTS} == {"critical", "warning", "info"}
    assert [rule["alert"] for rule in ALERTS if not rule["annotations"]["summary"].endswith((".", "?"))] == []
    anchors = {rule["alert"]: rule["annotations"]["runbook"] for rule in ALERTS}
    assert anchors == {name: f"ops/runbook.md#alert-{name.lower()}" for name in anchors}
    assert len(anchors) == len(ALERTS) > 20


def test_every_pause_of_the_gate_has_an_alert() -> None:
    """No reason for which nothing is bought is forgotten, nor told twice."""
    named = [
        value
        for rule in ALERTS
        for name, label, operator, values in _selectors(str(rule["expr"]))
        if name == "motionq_gate_paused" and label == "reason" and operator in ("=", "=~")
        for value in values.split("|")
    ]
    assert sorted([*named, "memory"]) == sorted(PAUSES)  # MotionqRedisMemoryFull looks at the memory itself
