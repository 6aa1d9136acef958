"""On paper: how many workers, how much Redis memory and how many reads a load needs, from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

DAY = 86_400.0
VENDOR_SUBMISSIONS = 20 / 10.0  # createTask per second and account (the vendor's page)
CORE_SHARE = 0.6  # of a worker's one core that may be planned with: loads come in waves
SERVER_SHARE = 0.5  # of the server's one core
PEAK = 2.0  # the busiest hour against the mean of the day


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A figure that was measured. `source`: the command that measures it on any machine."""

    name: str
    value: float
    unit: str
    source: str


CHECK_MS = Cost(name="worker CPU per check", value=0.2, unit="ms", source="bench waiting --jobs 10000")
LIFE_MS = Cost(name="worker CPU per job's life", value=12.0, unit="ms", source="bench lifetime")
SERVER_CHECK_MS = Cost(name="Redis CPU per check", value=0.05, unit="ms", source="bench waiting --jobs 10000")
SERVER_LIFE_MS = Cost(name="Redis CPU per job's life", value=2.6, unit="ms", source="bench lifetime")
# Of Redis 7.0, the largest of the servers that were measured.
RUNNING_BYTES = Cost(name="Redis memory per running job", value=2200.0, unit="bytes", source="bench waiting")
ENDED_BYTES = Cost(name="Redis memory per finished job", value=3100.0, unit="bytes", source="bench lifetime")
READS = Cost(name="reads per job without callbacks", value=4.7, unit="reads", source="bench detection")
CALLBACK_READS = Cost(name="reads per job with callbacks", value=1.3, unit="reads", source="bench lifetime")
COSTS = (CHECK_MS, LIFE_MS, SERVER_CHECK_MS, SERVER_LIFE_MS, RUNNING_BYTES, ENDED_BYTES, READS, CALLBACK_READS)


@dataclass(frozen=True, kw_only=True)
class Load:
    """`per_day` jobs of `median_seconds`, spread as on a usual day; records are kept for `keep_days` after the end."""

    per_day: float
    median_seconds: float
    keep_days: float = 30.0
    callbacks: bool = True
    max_in_flight: int = 100  # of one account


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the load needs. Rates and numbers are those of the busiest hour, memory is that of a usual day.

    `accounts`: accounts of kie.ai, each with a motionq of its own (a shard); the other figures are for all of them,
    those with `shard` in their name for one.
    """

    jobs_per_second: float
    in_flight: float
    reads_per_second: float
    worker_cores: float
    workers: int
    server_cores: float
    memory_bytes: float
    accounts: int
    shard_jobs_per_day: float
    shard_memory_bytes: float
    shard_server_cores: float
    limits: tuple[str, ...]


def plan(load: Load) -> Plan:
    """Pure arithmetic."""
    rate = load.per_day / DAY * PEAK
    reads = rate * (CALLBACK_READS if load.callbacks else READS).value
    flight = rate * load.median_seconds * 1.1  # the mean of a lognormal lies above its median
    cores = (rate * LIFE_MS.value + max(0.0, reads - rate * CALLBACK_READS.value) * CHECK_MS.value) / 1000
    server = (
        rate * SERVER_LIFE_MS.value + max(0.0, reads - rate * CALLBACK_READS.value) * SERVER_CHECK_MS.value
    ) / 1000
    memory = flight * RUNNING_BYTES.value + load.per_day * load.keep_days * ENDED_BYTES.value
    accounts = max(1, math.ceil(rate / VENDOR_SUBMISSIONS), math.ceil(flight / load.max_in_flight))
    return Plan(
        jobs_per_second=rate,
        in_flight=flight,
        reads_per_second=reads,
        worker_cores=cores,
        workers=max(accounts, math.ceil(cores / CORE_SHARE)),
        server_cores=server,
        memory_bytes=memory,
        accounts=accounts,
        shard_jobs_per_day=load.per_day / accounts,
        shard_memory_bytes=memory / accounts,
        shard_server_cores=server / accounts,
        limits=_limits(load, rate, flight, server, memory, accounts),
    )


def one_server() -> float:
    """Jobs a day at which one Redis' core is as full as it may be."""
    return SERVER_SHARE / SERVER_LIFE_MS.value * 1000 / PEAK * DAY


def _limits(load: Load, rate: float, flight: float, server: float, memory: float, accounts: int) -> tuple[str, ...]:
    """What ends first, in sentences."""
    found = []
    if accounts > 1:
        found.append(
            f"{rate:,.1f} createTask a second at the peak, and an account has {VENDOR_SUBMISSIONS:g}; {flight:,.0f} in "
            f"flight, and an account has {load.max_in_flight:,} (--max-in-flight): {accounts:,} accounts, each with "
            "a motionq and a server of its own; or let jobs wait for the calm hours"
        )
    if server > SERVER_SHARE:
        found.append(
            f"one Redis would be {server:.1f} cores busy, and has one: it ends near {one_server():,.0f} jobs a day; "
            "with one server per account none comes near"
        )
    if memory > 8e9:
        found.append(
            f"{memory / 1e9:,.0f} GB of records kept for {load.keep_days:g} days: a shorter MOTIONQ_JOB_TTL takes less"
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
        "assumed": {"peak": PEAK, "core_share": CORE_SHARE, "submissions_per_second": VENDOR_SUBMISSIONS},
    }


def lines(load: Load) -> str:
    """The plan for people."""
    made = plan(load)
    pairs: Sequence[tuple[str, str]] = (
        ("jobs a day", f"{load.per_day:,.0f} ({made.jobs_per_second:,.2f} a second at the peak)"),
        ("in flight at the peak", f"{made.in_flight:,.0f}"),
        ("reads a second", f"{made.reads_per_second:,.1f} ({'with' if load.callbacks else 'without'} callbacks)"),
        ("accounts of kie.ai", f"{made.accounts:,}"),
        ("worker processes", f"{made.workers:,} ({made.worker_cores:.2f} cores of work)"),
        ("Redis memory", f"{made.memory_bytes / 1e6:,.0f} MB ({made.shard_memory_bytes / 1e6:,.0f} MB per account)"),
        ("Redis cores", f"{made.server_cores:.2f} ({made.shard_server_cores:.3f} per account)"),
    )
    width = max(len(name) for name, _ in pairs)
    said = [f"{name:<{width}}  {value}" for name, value in pairs]
    costs = [f"  {cost.name}: {cost.value:g} {cost.unit} ({cost.source})" for cost in COSTS]
    return "\n".join([*said, "", *made.limits, *([""] if made.limits else []), "from measured costs:", *costs])
