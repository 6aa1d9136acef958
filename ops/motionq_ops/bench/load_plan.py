"""On paper: how many workers, how much Redis memory and how many reads a load needs, from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from motionq.contract.durability import BUYS_BELOW
from motionq.contract.durations import EDGES, MEMORY, Sketch
from motionq_ops.bench.detection import LOST, Mode
from motionq_worker.schedule import Terms, expected, schedule_for

DAY = 86_400.0
VENDOR_SUBMISSIONS = 20 / 10.0  # createTask per second and account (the vendor's page)
VENDOR_READS = 50.0 * 0.8  # recordInfo per second and account: what MOTIONQ_READ_RATE leaves for looks
CORE_SHARE = 0.6  # of a worker's one core, and of its transfers, that may be planned with: loads come in waves
SERVER_SHARE = 0.5  # of the server's one core
PEAK = 2.0  # the busiest hour against the mean of the day
SIGMA = 0.3  # of the vendor's durations, taken to be lognormal
READ_COST = 2.5  # MOTIONQ_READ_COST


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A figure that was measured. `source`: the command that measures it on any machine."""

    name: str
    value: float
    unit: str
    source: str


CHECK_MS = Cost(name="worker CPU per check", value=0.2, unit="ms", source="bench waiting --jobs 10000")
LIFE_MS = Cost(name="worker CPU per job's life", value=12.0, unit="ms", source="bench lifetime")
INSPECT_MS = Cost(name="inspection of a new video, CPU", value=45.0, unit="ms", source="bench upload")
RESULT_MS = Cost(
    name="a result (film) fetched, decoded and stored, CPU",
    value=230.0,
    unit="ms",
    source="bench lifetime, whose results are drawings that take 30 ms",
)
SERVER_CHECK_MS = Cost(name="Redis CPU per check", value=0.05, unit="ms", source="bench waiting --jobs 10000")
SERVER_LIFE_MS = Cost(name="Redis CPU per job's life", value=2.6, unit="ms", source="bench lifetime")
# Of Redis 7.0, the largest of the servers that were measured, with an idempotency key, a label and a tenant.
RUNNING_BYTES = Cost(name="Redis memory per running job", value=2800.0, unit="bytes", source="bench waiting")
ENDED_BYTES = Cost(name="Redis memory per finished job", value=3500.0, unit="bytes", source="bench lifetime")
LIFE_READS = Cost(name="reads that a life's CPU holds", value=1.25, unit="reads", source="bench lifetime")
LEARNED = Cost(
    name="repeated reads by what was learned, against a known distribution",
    value=1.25,
    unit="times",
    source="bench detection",
)
COSTS = (
    *(CHECK_MS, LIFE_MS, INSPECT_MS, RESULT_MS, SERVER_CHECK_MS, SERVER_LIFE_MS),
    *(RUNNING_BYTES, ENDED_BYTES, LIFE_READS, LEARNED),
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """`per_day` jobs of `median_seconds`, spread as on a usual day; records are kept for `keep_days` after the end.

    Each has a driving video of its own. `results`: its video is fetched into storage. A worker has so many `transfers`
    at once; an upload, or a delivery, takes `transfer_seconds`.
    """

    per_day: float
    median_seconds: float
    keep_days: float = 30.0
    callbacks: bool = True
    max_in_flight: int = 100  # of one account
    results: bool = True
    transfers: int = 16
    transfer_seconds: float = 8.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the load needs. Rates and numbers are those of the busiest hour, memory is that of a usual day.

    `worker_cores`: of the workers themselves, which have one each; `video_cores`: of the processes in which they
    inspect and decode videos. `maxmemory_bytes`: what the server may take, so that `memory_bytes` leave enough room to
    buy. `accounts`: accounts of kie.ai, each with a motionq of its own (a shard); the other figures are for
    all of them, those with `shard` in their name for one.
    """

    jobs_per_second: float
    in_flight: float
    reads_per_job: float
    reads_per_second: float
    transfers_at_once: float
    worker_cores: float
    video_cores: float
    workers: int
    server_cores: float
    memory_bytes: float
    maxmemory_bytes: float
    accounts: int
    shard_jobs_per_day: float
    shard_maxmemory_bytes: float
    shard_server_cores: float
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Watched:
    """How a job is waited for: `reads` of its status, and `seconds` from its purchase to the read that finds it."""

    reads: float
    seconds: float


def watched(median: float, callbacks: bool) -> Watched:
    """By the product's own schedule, once it knows a lognormal distribution with this median."""
    mode, silent = Mode(median, SIGMA), LOST if callbacks else 1.0
    shares = [mode.alive(edge) for edge in EDGES]
    ended = [a - b for a, b in pairwise(shares)]
    sketch = Sketch(tuple(MEMORY * share for share in shares[:-1]), tuple(MEMORY * share for share in ended))
    looks, found = expected(schedule_for(sketch, Terms(cost=READ_COST, silent=silent)), mode.alive, math.inf)
    mean = median * math.exp(SIGMA**2 / 2)
    return Watched(1.0 + (looks - 1.0) * LEARNED.value, silent * max(found, mean) + (1.0 - silent) * mean)


def plan(load: Load) -> Plan:
    """Pure arithmetic."""
    rate = load.per_day / DAY * PEAK
    job = watched(load.median_seconds, load.callbacks)
    flight = rate * job.seconds
    checks = rate * max(0.0, job.reads - LIFE_READS.value)  # beyond those of a life with callbacks
    cores = (rate * LIFE_MS.value + checks * CHECK_MS.value) / 1000
    moving = rate * load.transfer_seconds * (2 if load.results else 1)
    server = rate * server_ms(job) / 1000
    memory = flight * RUNNING_BYTES.value + load.per_day * load.keep_days * ENDED_BYTES.value
    accounts = max(1, math.ceil(rate / VENDOR_SUBMISSIONS), math.ceil(flight / load.max_in_flight))
    workers = max(cores, moving / load.transfers) / CORE_SHARE
    made = Plan(
        jobs_per_second=rate,
        in_flight=flight,
        reads_per_job=job.reads,
        reads_per_second=rate * job.reads,
        transfers_at_once=moving,
        worker_cores=cores,
        video_cores=rate * (INSPECT_MS.value + (RESULT_MS.value if load.results else 0.0)) / 1000,
        workers=max(accounts, math.ceil(workers)),
        server_cores=server,
        memory_bytes=memory,
        maxmemory_bytes=memory / BUYS_BELOW,
        accounts=accounts,
        shard_jobs_per_day=load.per_day / accounts,
        shard_maxmemory_bytes=memory / BUYS_BELOW / accounts,
        shard_server_cores=server / accounts,
        limits=(),
    )
    return replace(made, limits=_limits(load, made, job))


def server_ms(job: Watched) -> float:
    """Milliseconds of Redis' one core for a whole life, checks included."""
    return SERVER_LIFE_MS.value + max(0.0, job.reads - LIFE_READS.value) * SERVER_CHECK_MS.value


def one_server(job: Watched) -> float:
    """Jobs a day at which one Redis' core is as full as it may be."""
    return SERVER_SHARE / server_ms(job) * 1000 / PEAK * DAY


def _limits(load: Load, made: Plan, job: Watched) -> tuple[str, ...]:
    """What ends first, in sentences."""
    found = []
    if made.accounts > 1:
        found.append(
            f"{made.jobs_per_second:,.1f} createTask a second at the peak, and an account has {VENDOR_SUBMISSIONS:g}; "
            f"{made.in_flight:,.0f} in flight, and an account has {load.max_in_flight:,} (--max-in-flight): "
            f"{made.accounts:,} accounts, each with a motionq and a server of its own; or let jobs wait for the calm "
            "hours"
        )
    if made.reads_per_second > made.accounts * VENDOR_READS:
        found.append(
            f"{made.reads_per_second / made.accounts:,.0f} reads a second for an account, and it has {VENDOR_READS:g} "
            "by the default MOTIONQ_READ_RATE: ends are found later, or a higher rate is agreed on with kie.ai"
        )
    if made.server_cores > SERVER_SHARE:
        found.append(
            f"one Redis would be {made.server_cores:.1f} cores busy, and has one: it ends near {one_server(job):,.0f} "
            "jobs a day; with one server per account none comes near"
        )
    if made.memory_bytes > 8e9:
        found.append(
            f"{made.memory_bytes / 1e9:,.0f} GB of records kept for {load.keep_days:g} days: a shorter MOTIONQ_JOB_TTL "
            "takes less"
        )
    return tuple(found)


def report(load: Load) -> dict[str, Any]:
    """The plan and the costs it stands on, as one JSON object."""
    made = plan(load)
    return {
        "benchmark": "plan",
        **asdict(load),
        "plan": {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(made).items()}
        | {"limits": [*made.limits]},
        "costs": [asdict(cost) for cost in COSTS],
        "assumed": {
            "peak": PEAK,
            "core_share": CORE_SHARE,
            "submissions_per_second": VENDOR_SUBMISSIONS,
            "sigma": SIGMA,
            "read_cost": READ_COST,
        },
    }


def lines(load: Load) -> str:
    """The plan for people."""
    made = plan(load)
    calls, shard = "with" if load.callbacks else "without", f"{made.shard_maxmemory_bytes / 1e6:,.0f} MB per account"
    pairs: Sequence[tuple[str, str]] = (
        ("jobs a day", f"{load.per_day:,.0f} ({made.jobs_per_second:,.2f} a second at the peak)"),
        ("in flight at the peak", f"{made.in_flight:,.0f}"),
        ("reads a second", f"{made.reads_per_second:,.1f} ({made.reads_per_job:.1f} per job, {calls} callbacks)"),
        ("accounts of kie.ai", f"{made.accounts:,}"),
        ("transfers at once", f"{made.transfers_at_once:,.1f} (a worker has {load.transfers:,})"),
        ("worker processes", f"{made.workers:,}"),
        ("cores of work", f"{made.worker_cores:.2f} of the workers, {made.video_cores:.2f} for their videos"),
        ("Redis maxmemory", f"{made.maxmemory_bytes / 1e6:,.0f} MB, {BUYS_BELOW:.0%} of it full ({shard})"),
        ("Redis cores", f"{made.server_cores:.2f} ({made.shard_server_cores:.3f} per account)"),
    )
    width = max(len(name) for name, _ in pairs)
    said = [f"{name:<{width}}  {value}" for name, value in pairs]
    costs = [f"  {cost.name}: {cost.value:g} {cost.unit} ({cost.source})" for cost in COSTS]
    return "\n".join([*said, "", *made.limits, *([""] if made.limits else []), "from measured costs:", *costs])
