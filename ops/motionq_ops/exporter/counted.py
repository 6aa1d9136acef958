"""What processes have counted (worker: metering.py), as Prometheus' counters and one histogram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from motionq.contract.keys import QUEUES
from motionq.contract.states import ADMIT, EXPIRE, MOVES, REFRESH, RENEW, SEND
from motionq_worker.kie.metered import CALLS
from motionq_worker.metering import BEYOND, BUCKETS

_LUA_ALONE = {move.name for move in (ADMIT, EXPIRE, REFRESH, SEND)}  # made inside other scripts, seen by no worker
_PEOPLES = {name for name in MOVES if name.startswith("cancel_")}
# Moves that workers make, and that say more than "still here".
MOVED = tuple(name for name in MOVES if name not in {*_LUA_ALONE, *_PEOPLES, RENEW.name})
CALLBACKS = ("stored", "known", "orphan", *(f"refused_{code}" for code in (400, 401, 404, 405, 408, 413, 503)))

Fields = Mapping[tuple[str, ...], int]


def counted(metrics: Mapping[str, str]) -> Iterator[Metric]:
    """The fields of the hash as metrics; fields of another version are left out."""
    fields = {tuple(name.split(" ")): _integer(value) for name, value in metrics.items()}
    yield _counter(fields, "moves", "moves of jobs made by workers, by name (contract/states.py)", "move", MOVED)
    words = "jobs that workers failed, by reason, and whether they were charged"
    yield _counter(fields, "job_failures", words, "failure", (), ("reason", "charged"))
    yield _counter(fields, "steps", "steps that workers began, by queue", "step", QUEUES, ("queue",))
    words = "calls to the vendor: what came of each, and its code (the HTTP status where there was none)"
    yield _counter(fields, "vendor_answers", words, "answer", (), ("call", "outcome", "code"))
    yield _seconds(fields)
    words = "files that jobs needed at the vendor: hit was there already, sent was uploaded"
    yield _counter(fields, "uploads", words, "upload", ("hit", "sent"), ("result",))
    yield CounterMetricFamily("motionq_upload_bytes", "bytes uploaded", value=fields.get(("upload_bytes",), 0))
    words = "callbacks, by what became of them: stored, known, orphan, or refused with a status"
    yield _counter(fields, "callbacks", words, "callback", CALLBACKS, ("outcome",))
    words = "named tasks that were looked at: confirmed was the purchase's own, dropped was not"
    yield _counter(fields, "candidates_settled", words, "candidate", ("confirmed", "dropped"), ("result",))
    words = "tasks that kie.ai had made although it refused the purchase, or that were taken as ended"
    yield CounterMetricFamily("motionq_strays", words, value=fields.get(("stray",), 0))


def _integer(value: str) -> int:
    """0 for what is no count (the values seen last)."""
    return int(value) if value.lstrip("-").isdigit() else 0


def _counter(
    fields: Fields, name: str, meaning: str, word: str, known: Sequence[str], labels: Sequence[str] = ()
) -> Metric:
    """One counter of all fields that begin with `word`; `known` values are there from the start."""
    names = labels or (word,)
    family = CounterMetricFamily(f"motionq_{name}", meaning, labels=names)
    found: dict[tuple[str, ...], int] = {(value,): 0 for value in known}
    found |= {field[1:]: count for field, count in fields.items() if field[0] == word and len(field) == len(names) + 1}
    for values, count in sorted(found.items()):
        family.add_metric(values, count)
    return family


def _seconds(fields: Fields) -> Metric:
    family = HistogramMetricFamily("motionq_vendor_seconds", "how long calls to the vendor took", labels=["call"])
    bounds = [*(f"{bound:g}" for bound in BUCKETS), BEYOND]
    for call in CALLS:
        total, buckets = 0, []
        for bound in bounds:
            total += fields.get(("seconds", call, bound), 0)
            buckets.append((bound, float(total)))
        family.add_metric([call], buckets=buckets, sum_value=fields.get(("took_ms", call), 0) / 1000)
    return family
