"""Figures of a whole stack: real jobs through a real worker and the vendor's stand-in, callbacks at a real receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq_ops.exporter.serve import Figures, limits
from support import Stack, eventually
from support.figures import Samples, by_tenant, figure, samples
from support.receiver import ReceiverProcess


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker; three jobs have ended: two of the same files succeeded, one was refused."""
    with Stack(tmp_path_factory.mktemp("metrics")) as running:
        running.vendor.add_fault("code_422", "createTask", match={"prompt": "rejected"})
        for prompt in ("one", "two", "rejected"):
            running.finished(running.submit(prompt=prompt, tenant="acme"))
        yield running


def _shown(stack: Stack) -> Samples:
    settings = Settings(public_base_url="https://example.com")
    return samples(Figures(stack.store, limits(settings)).collect())


def _arrived(stack: Stack, name: str, value: float, **labels: str) -> Samples:
    """The figures once this one is there: counts arrive two seconds later at most."""
    return eventually(lambda: found if figure(found := _shown(stack), name, **labels) == value else None, 20)


def test_what_the_jobs_did_is_counted_once_each(stack: Stack) -> None:
    """Three jobs: two uploads and four hits, three createTask calls by what came of each, two videos, one failure."""
    found = _arrived(stack, "job_failures_total", 1, reason="refused", charged="no")

    assert figure(found, "moves_total", move="delivered") == 2
    assert figure(found, "jobs", state="succeeded") == 2
    assert figure(found, "jobs", state="failed") == 1
    assert by_tenant(found, "tenant_jobs_ended") == {("succeeded", "acme"): 2, ("failed", "acme"): 1}
    assert by_tenant(found, "tenant_jobs") == {}
    assert figure(found, "uploads_total", result="sent") == 2
    assert figure(found, "uploads_total", result="hit") == 4
    answers = {
        (dict(labels)["outcome"], dict(labels)["code"]): n
        for labels, n in found["motionq_vendor_answers_total"].items()
        if ("call", "create_task") in labels
    }
    assert answers == {("ok", "200"): 2, ("refused", "422"): 1}
    assert figure(found, "vendor_answers_total", call="connect", outcome="ok", code="200") == 3
    assert figure(found, "vendor_answers_total", call="upload", outcome="ok", code="200") == 2
    assert figure(found, "vendor_seconds_count", call="create_task") == 3
    assert {
        move: figure(found, "moves_total", move=move) for move in ("record_task", "paid", "refused", "unknown")
    } == {
        "record_task": 2,
        "paid": 2,
        "refused": 1,
        "unknown": 0,
    }


def test_the_readings_are_all_counted(stack: Stack) -> None:
    """As many looks at tasks as the vendor's ledger has, all of them well."""
    looks = len(stack.vendor.ledger("recordInfo"))
    found = _arrived(stack, "vendor_answers_total", looks, call="record_info", outcome="ok", code="200")

    assert figure(found, "vendor_seconds_bucket", call="record_info", le="+Inf") == looks


def test_money_and_processes_are_shown(stack: Stack) -> None:
    """Credits left are what the vendor said to a worker unasked; burnt are those of the two films; the worker ticks."""
    eventually(lambda: figure(_shown(stack), "credits_left") is not None, 20)
    eventually(lambda: (figure(_shown(stack), "steps_total", queue="deliver") or 0) >= 2, 20)
    found = _arrived(stack, "workers_live", 1)

    burnt = sum(r.result.credits or 0 for r in stack.store.newest() if r.result)
    assert figure(found, "credits_burnt_today") == burnt > 0
    assert figure(found, "gate_in_flight") == 0
    assert {figure(found, "queue_messages", queue=q) for q in ("start", "upload", "submit", "check", "deliver")} == {0}
    assert figure(found, "up") == 1


def test_callbacks_are_counted_by_what_became_of_them(stack: Stack) -> None:
    """One says what is known, one is for a job that is not on record, two name no task; and when the last came."""
    record = next(r for r in stack.store.newest() if r.state == "succeeded")
    with ReceiverProcess(stack.folder, stack.environment) as receiver:
        assert receiver.call(record.id, record.nonce, record.task_id) == 200
        assert receiver.call("0" * 26, "0" * 40, "T9") == 200
        assert [receiver.post(f"/callbacks/kie/{record.id}/{record.nonce}", b"{}") for _ in range(2)] == [400, 400]
        found = _arrived(stack, "callbacks_total", 2, outcome="refused_400")

    outcomes = {dict(labels)["outcome"]: n for labels, n in found["motionq_callbacks_total"].items() if n}
    assert outcomes == {"known": 1, "orphan": 1, "refused_400": 2}
    assert figure(found, "orphan_callbacks") == 1
    assert figure(found, "callbacks_configured") == 1
    seen = figure(found, "callback_seen_timestamp_seconds")
    assert seen is not None
    assert abs(seen - stack.store.now() / 1000) < 120


def test_a_worker_that_ends_in_order_brings_its_last_counts(stack: Stack) -> None:
    """What was counted right before its end arrives all the same."""
    stack.finished(stack.submit(prompt="last"))
    assert stack.workers[0].stop() == 0

    assert figure(_shown(stack), "moves_total", move="delivered") == stack.store.counts()[State.SUCCEEDED] >= 3
