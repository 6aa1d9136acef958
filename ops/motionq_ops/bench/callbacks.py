"""How many callbacks a second the receiver takes: a real server with real records, the real process, real HTTP."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from rich.table import Table
from ulid import ULID

from motionq.contract import states
from motionq.contract.errors import InvalidSettings
from motionq.contract.job import JobSpec, StagedSource
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings
from motionq.contract.states import State
from motionq.contract.store import JobStore, NewJob
from motionq.tables import render
from motionq_ops.bench.callback_load import prepared, send
from motionq_ops.bench.load_report import bars
from motionq_ops.bench.measure import need_proc, usage
from motionq_ops.bench.parts import BenchFailed, forget_settings
from motionq_ops.local import answers
from motionq_ops.plan import SANDBOX_HMAC_KEY, Plan, receiver_command
from motionq_ops.processes import Child, last_words
from motionq_ops.queue_server import QueueServer
from motionq_ops.redis_server import ServerBinaryMissing, ServerError, free_port
from motionq_ops.supervisor import CannotStart
from motionq_worker.gate import Gate

TARGET = 1000  # callbacks per second
PACED, FLAT_OUT = "at pace", "flat out"
_SPEC = JobSpec(
    image=StagedSource(sha256="a" * 64, size=10, media_type="image/png", name="hero.png"),
    video=StagedSource(sha256="b" * 64, size=10, media_type="video/mp4", name="dance.mp4"),
)
_PATIENCE = 30.0  # seconds until the receiver answers

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """`jobs` records with an open purchase each; for each run callbacks for `seconds` over `connections`."""

    jobs: int
    rate: int
    seconds: float
    connections: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. Callbacks, callbacks per second, seconds.

    `errors`: answers other than HTTP 200, and connections that failed. `lost`: purchases for which a callback was
    answered with 200 and that have no named task on record. `receiver_cpu`, `load_cpu`: processor seconds.
    """

    name: str
    callbacks: int
    errors: int
    lost: int
    rate: float
    p50: float
    p99: float
    slowest: float
    receiver_cpu: float
    load_cpu: float


def bench(load: Load, say: Say) -> list[Figures]:
    """One run at the rate that is asked for, one as fast as it goes; each on a fresh server and receiver.

    Raises CannotMeasure, CannotStart, InvalidSettings, BenchFailed.
    """
    need_proc()
    forget_settings()
    found = []
    for name, rate in ((PACED, load.rate), (FLAT_OUT, None)):
        with tempfile.TemporaryDirectory(prefix="motionq-bench-") as folder:
            environment = dict(os.environ)
            plan = Plan(data_dir=Path(folder), callback_port=free_port(), sandbox_speed=1.0, environment=environment)
            with _running(plan) as (store, receiver):
                purchases = _purchases(store, load.jobs)
                say(f"{name}: {load.seconds:g} s of callbacks for {len(purchases):,} jobs")
                found.append(_run(name, load, rate, plan, purchases, store, receiver))
    return found


def _run(
    name: str,
    load: Load,
    rate: float | None,
    plan: Plan,
    purchases: Sequence[tuple[str, str]],
    store: JobStore,
    receiver: Child,
) -> Figures:
    callbacks = prepared(str(plan.callback_url), purchases, SANDBOX_HMAC_KEY)
    pid = receiver.pid or 0
    before, own = usage(pid).cpu, time.process_time()
    sent = send(callbacks, rate=rate, seconds=load.seconds, connections=load.connections)
    own, receiver_cpu = time.process_time() - own, usage(pid).cpu - before
    if not sent.latencies:
        raise BenchFailed(f"no callback was answered: {last_words(receiver.log)}")
    ordered = sorted(sent.latencies)
    asked = min(len(purchases), len(ordered))
    named = sum(bool(record.purchases[-1].candidate) for record in store.get_many(job for job, _ in purchases))
    return Figures(
        name=name,
        callbacks=len(ordered) + sent.errors,
        errors=sent.errors,
        lost=max(0, asked - named),
        rate=len(ordered) / sent.seconds,
        p50=statistics.median(ordered),
        p99=ordered[int(0.99 * (len(ordered) - 1))],
        slowest=ordered[-1],
        receiver_cpu=receiver_cpu,
        load_cpu=own,
    )


# -- the parts --------------------------------------------------------------------------------------------------------
@contextmanager
def _running(plan: Plan) -> Iterator[tuple[JobStore, Child]]:
    """A queue server and a receiver, until the block ends. Call in the main thread (see leash.py)."""
    plan.temporary.mkdir(parents=True)
    try:
        with QueueServer(plan.server_folder, plan.log("redis"), os.environ.get("MOTIONQ_SERVER_BINARY")) as server:
            receiver = Child(receiver_command(plan, server.url))
            receiver.start()
            try:
                _until_ready(plan, receiver)
                with Redis.from_url(server.url, decode_responses=True) as redis:
                    yield JobStore(redis, Keys(plan.namespace)), receiver
            finally:
                receiver.terminate()
                receiver.wait(5.0)
                receiver.kill()
    except ServerBinaryMissing as error:
        raise InvalidSettings(str(error)) from error
    except ServerError as error:
        raise CannotStart(str(error)) from error


def _until_ready(plan: Plan, receiver: Child) -> None:
    ends = time.monotonic() + _PATIENCE
    while not answers(f"{plan.callback_url}/healthz"):
        if receiver.ended() is not None or time.monotonic() > ends:
            raise CannotStart(f"the receiver does not start: {last_words(receiver.log)}")
        time.sleep(0.05)


def _purchases(store: JobStore, count: int) -> list[tuple[str, str]]:
    """(job, nonce) of new jobs that the gate has armed: from then on a callback may name a task for them."""
    ids = [str(ULID()).lower() for _ in range(count)]
    store.create([NewJob(id=job_id, spec=_SPEC, tenant=job_id, labels={}) for job_id in ids])
    for claim in store.claim("upload", room=count, lease=3600, transfers=count):
        n = f"{claim.step}.{claim.n}"
        store.move(states.BEGIN_UPLOAD, claim.job_id, claim=n)
        store.move(states.UPLOADED, claim.job_id, claim=n, set={"uploaded_at": store.now()})
    gate = Gate(store, Settings(max_in_flight=count, submit_rate=(count, 1.0)))
    while gate.admit("bench"):
        pass
    armed = [(record.id, record.nonce) for record in store.newest((State.ARMED,))]
    if len(armed) != count:
        raise BenchFailed(f"{len(armed)} of {count} jobs were armed")
    return armed


# -- what is said -----------------------------------------------------------------------------------------------------
def report(load: Load, runs: Sequence[Figures], load_average: Sequence[float]) -> dict[str, Any]:
    """Everything measured, as one JSON object. `load_average`: the machine's before the benchmark began."""
    paced = next(run for run in runs if run.name == PACED)
    met = paced.errors == 0 and paced.lost == 0 and paced.rate >= 0.99 * load.rate
    return {
        "benchmark": "callbacks",
        **asdict(load),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_average_before": [round(value, 2) for value in load_average],
        },
        "targets": [{"name": "callbacks_per_second", "wanted": load.rate, "measured": round(paced.rate), "met": met}],
        "runs": [{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(run).items()} for run in runs],
    }


def draw(figure: Any, axes: Sequence[Any], runs: Sequence[dict[str, Any]]) -> None:
    """Callbacks a second, and what they wait."""
    names = [run["name"] for run in runs]
    bars(axes[0], names, [run["rate"] for run in runs], "callbacks a second", TARGET)
    bars(axes[1], names, [1000 * run["p99"] for run in runs], "p99 (ms)")
    figure.suptitle("callbacks")


PLOTS = 2


def table(said: dict[str, Any]) -> str:
    """A report for people."""
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for at, name in enumerate(("RUN", "CALLBACKS", "A SECOND", "ERRORS", "LOST", "P50 MS", "P99 MS", "SLOWEST MS")):
        rows.add_column(name, justify="right" if at else "left")
    for run in said["runs"]:
        times = (f"{run[name] * 1000:.1f}" for name in ("p50", "p99", "slowest"))
        rows.add_row(
            run["name"], f"{run['callbacks']:,}", f"{run['rate']:,.0f}", str(run["errors"]), str(run["lost"]), *times
        )
    target, machine = said["targets"][0], said["machine"]
    verdict = "met" if target["met"] else "MISSED"
    busy = ", ".join(f"{value:g}" for value in machine["load_average_before"])
    return "\n".join(
        [
            render(rows),
            "",
            f"{verdict}: {target['measured']:,} callbacks a second without an error (wanted: {target['wanted']:,})",
            f"{said['connections']} connections, {machine['cores']} cores, load average before {busy}",
        ]
    )
