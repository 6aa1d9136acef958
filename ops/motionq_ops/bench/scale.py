"""As many looks as one and two workers can do: more are due than they manage, and the table says what stops them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from motionq_ops.bench.load_report import Column, Target, bars
from motionq_ops.bench.measure import need_proc, usage
from motionq_ops.bench.stub_stage import Stage, stage
from motionq_ops.bench.waiting import LATENCY
from motionq_ops.bench.waiting_seed import Seeder
from motionq_worker.kie.poller import WINDOW

_BUSY = 0.85  # of a core or a window, from which on it counts as the limit

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """`jobs` in flight that want a look every `interval` seconds, by each of `workers` processes in turn."""

    jobs: int
    interval: float
    seconds: float
    workers: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. `worker_cores`, `vendor_cores`, `server_cores`: processor seconds per second; `limit`: what was full."""

    workers: int
    jobs: int
    checks: int
    checks_per_second: float
    wanted_per_second: float
    cpu_ms_per_check: float
    worker_cores: float
    vendor_cores: float
    server_cores: float
    limit: str


@dataclass(frozen=True)
class Idle:
    """Commands per second of a stack that has nothing to do."""

    workers: int
    commands_per_second: float
    cpu_percent: float


def bench(load: Load, say: Say) -> list[Figures]:
    """Each number of workers on fresh parts. Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed."""
    need_proc()
    found = []
    for workers in load.workers:
        say(f"{workers} worker(s): {load.jobs:,} jobs that want a look every {load.interval:g} s")
        with stage(settings={"MOTIONQ_READ_RATE": "1000000/1s"}) as parts:
            Seeder(parts.store).running(load.jobs, load.interval)
            parts.start_workers(workers, load.interval)
            found.append(_measured(parts, load))
    return found


def idle(workers: int, seconds: float, say: Say) -> Idle:
    """What workers without work ask of the server."""
    say(f"{workers} idle worker(s): {seconds:g} s")
    with stage(settings={}) as parts:
        parts.start_workers(workers, None)
        time.sleep(5.0)  # they have started, and slow down
        before, cpu, began = parts.commands(), parts.cpu(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        after = parts.commands()
        ran = sum(after.values()) - sum(before.values())
        return Idle(workers, ran / took, 100 * (parts.cpu() - cpu) / took)


def _measured(parts: Stage, load: Load) -> Figures:
    parts.until(lambda: parts.vendor.asked() > 0, 60.0, "nothing is looked at")
    time.sleep(min(5.0, load.seconds))
    vendor = parts.vendor.pid
    parts.vendor.begin()
    cpu, stub, server = parts.cpu(), usage(vendor).cpu, parts.server_cpu()
    time.sleep(load.seconds)
    seen = parts.vendor.report(load.interval)
    took, checks = float(seen["seconds"]), max(1, int(seen["looks"]))
    parts.alive()
    cpu, stub, server = parts.cpu() - cpu, usage(vendor).cpu - stub, parts.server_cpu() - server
    workers = len(parts.workers)
    return Figures(
        workers=workers,
        jobs=load.jobs,
        checks=int(seen["looks"]),
        checks_per_second=checks / took,
        wanted_per_second=load.jobs / load.interval,
        cpu_ms_per_check=1000 * cpu / checks,
        worker_cores=cpu / took,
        vendor_cores=stub / took,
        server_cores=server / took,
        limit=limit_of(
            cpu / took / workers,
            stub / took,
            server / took,
            checks / took,
            load.jobs / load.interval,
            open_at_once=checks / took / workers * LATENCY / WINDOW,
        ),
    )


def limit_of(
    worker: float,
    vendor: float,
    server: float,
    rate: float,
    wanted: float,
    machine: float | None = None,
    open_at_once: float = 0.0,
) -> str:
    """What kept the rate down. Cores that one worker, the stub and the server took.

    `machine`: its load by the number of cores, if known; `open_at_once`: the share of a worker's window in use.
    """
    if rate >= 0.95 * wanted:
        return "none: all that was due was done"
    window = f"{WINDOW} requests open at once per worker, each answered after {LATENCY:g} s"
    cores = {"one core per worker (Python's lock)": worker, "the stub vendor": vendor, "the server": server}
    share = os.getloadavg()[0] / (os.cpu_count() or 1) if machine is None else machine
    for parts in (cores, {window: open_at_once}, {"the machine's cores": share}):
        name, used = max(parts.items(), key=lambda item: item[1])
        if used >= (1.0 if name == "the machine's cores" else _BUSY):
            return name
    name, used = max({**cores, window: open_at_once}.items(), key=lambda item: item[1])
    return f"nothing is full; nearest ({used:.0%}): {name}"


# -- what is said -----------------------------------------------------------------------------------------------------
COLUMNS = (
    Column("workers", "WORKERS"),
    Column("checks_per_second", "CHECKS/S", "{:,.0f}"),
    Column("wanted_per_second", "DUE/S", "{:,.0f}"),
    Column("cpu_ms_per_check", "CPU MS/CHECK", "{:.2f}"),
    Column("worker_cores", "CORES: WORKERS", "{:.2f}"),
    Column("vendor_cores", "STUB", "{:.2f}"),
    Column("server_cores", "REDIS", "{:.2f}"),
    Column("limit", "LIMIT", "{}"),
)


def rows(runs: Sequence[Figures]) -> list[dict[str, Any]]:
    """The runs, as they are reported."""
    return [asdict(run) for run in runs]


def targets(runs: Sequence[Figures]) -> list[Target]:
    """No promise: the figures say where the limit is."""
    return []


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """Checks per second, and who was busy."""
    names = [f"{run['workers']} worker(s)" for run in runs]
    bars(axes[0], names, [run["checks_per_second"] for run in runs], "checks/s")
    bottom = [0.0] * len(runs)
    for part in ("worker_cores", "vendor_cores", "server_cores"):
        values = [run[part] for run in runs]
        axes[1].bar(names, values, bottom=bottom, label=part.removesuffix("_cores"))
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axes[1].set_title("cores in use")
    axes[1].legend()


PLOTS = 2
