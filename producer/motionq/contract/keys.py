"""Every Redis key of motionq is built here; docs/redis-keys.md describes them, and a test compares the two.

The Lua scripts receive the same names (`Keys.for_lua`), so that no key is spelled twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

STEPS = ("upload", "submit", "check", "deliver")
QUEUES = ("start", *STEPS)  # of Celery: every step has one, and what is submitted comes in by the first
SPAN = 300_000  # ms whose ends are counted in one key (`ends`)
ENDS_KEPT = 4_200_000  # ms that such a key lives after its last end: until an hour that began in it is over
SILENT = 30.0  # seconds without a sign of life (`workers`), after which a worker counts as gone


@dataclass(frozen=True)
class Keys:
    """The key names under one namespace (`MOTIONQ_NAMESPACE`)."""

    namespace: str = "motionq"

    def _name(self, *parts: str) -> str:
        return ":".join((self.namespace, *parts))

    def job(self, job_id: str) -> str:
        """Hash: the record of a job."""
        return self._name("job", job_id)

    def due(self, step: str) -> str:
        """Sorted set: jobs whose next wake-up is `step`; score = alarm in ms since the epoch (server time)."""
        return self._name("due", step)

    def line(self, tenant: str) -> str:
        """Sorted set: a tenant's jobs that may be bought; score = age moved by priority, in ms."""
        return self._name("line", tenant)

    def pace(self, tenant: str) -> str:
        """String: when the tenant's next new job comes due, in ms; lives a minute longer."""
        return self._name("pace", tenant)

    def waiting(self, content: str) -> str:
        """Set: jobs that wait for another one to upload this content; lives as long as its uploader may."""
        return self._name("waiting", content)

    @property
    def tenants(self) -> str:
        """Sorted set: tenants with a line; score = the turn in which the gate served them last."""
        return self._name("tenants")

    @property
    def turn(self) -> str:
        """Counter: turns of the gate's round robin."""
        return self._name("turn")

    @property
    def slots(self) -> str:
        """Sorted set: `job:nonce` of every purchase in flight; score = when it was armed, in ms."""
        return self._name("slots")

    @property
    def rate(self) -> str:
        """Sorted set: `job:nonce` of every taken rate slot; score = when the slot comes back, in ms."""
        return self._name("rate")

    @property
    def gate(self) -> str:
        """Hash: why the gate is paused (reason, since, until, message); absent when it is open."""
        return self._name("gate")

    def state(self, state: str) -> str:
        """Sorted set: jobs in this state; score = when the job was created, in ms."""
        return self._name("state", state)

    @property
    def by_tenant(self) -> str:
        """Hash: `<state> <tenant>` → how many unfinished jobs."""
        return self._name("by_tenant")

    def ends(self, span: int | str) -> str:
        """Hash: `<state> <tenant>` → how many jobs ended in this span (of SPAN ms, counted from the epoch)."""
        return self._name("ends", str(span))

    @property
    def candidates(self) -> str:
        """Sorted set: `job:nonce` of purchases for which somebody named a task; score = when to look, in ms."""
        return self._name("candidates")

    @property
    def orphans(self) -> str:
        """List: the last 1,000 callbacks for jobs that are not on record (the only trace after a loss of data)."""
        return self._name("orphans")

    @property
    def spent(self) -> str:
        """Hash: day (UTC, days since the epoch) → credits bought on it, less what was refunded."""
        return self._name("spent")

    @property
    def lied(self) -> str:
        """String: when kie.ai was last found to have made a task that it had refused, in ms; lives a day."""
        return self._name("lied")

    @property
    def unclear(self) -> str:
        """Counter: createTask answers in a row that could not be trusted."""
        return self._name("unclear")

    @property
    def reads(self) -> str:
        """Sorted set: the looks given out in the last moments (`<how many> at <when>`); score = when, in ms."""
        return self._name("reads")

    @property
    def looked(self) -> str:
        """Sorted set: the same of those that were read; what was given out may wait for a thread."""
        return self._name("looked")

    @property
    def beat(self) -> str:
        """String: the server's clock at the last tick, in ms; goes backwards when a backup is restored."""
        return self._name("beat")

    @property
    def replicated(self) -> str:
        """String: a write of a connection's own, before it asks replicas whether they have it."""
        return self._name("replicated")

    @property
    def vendor(self) -> str:
        """String: the host for which the unfinished jobs are meant; no other vendor must answer for them."""
        return self._name("vendor")

    @property
    def ended(self) -> str:
        """Sorted set: finished jobs; score = when the record expires, in ms."""
        return self._name("ended")

    @property
    def unsettled(self) -> str:
        """Sorted set: failed jobs with a purchase that was charged, or may have been; score = when it failed, in ms."""
        return self._name("unsettled")

    def idempotency(self, tenant: str, key: str) -> str:
        """String: `job:digest` of the request that a tenant's idempotency key belongs to."""
        return self._name("idempotency", hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest())

    def task(self, task_id: str) -> str:
        """String: the job that a vendor's task ID belongs to."""
        return self._name("task", task_id)

    def upload(self, content: str) -> str:
        """Hash: what is known of a content that lies at the vendor (url, at, facts); lives as long as the upload."""
        return self._name("upload", content)

    def uploading(self, content: str) -> str:
        """String: the claim that uploads this content now; lives as long as a lease."""
        return self._name("uploading", content)

    @property
    def transfers(self) -> str:
        """Sorted set: `job` of every claimed transfer (upload, deliver); score = end of its lease, in ms."""
        return self._name("transfers")

    @property
    def workers(self) -> str:
        """Sorted set: worker names; score = their last sign of life, in ms."""
        return self._name("workers")

    @property
    def tick(self) -> str:
        """String: the worker that ticked last; lives as long as a tick, so that workers take turns."""
        return self._name("tick")

    def probe(self, token: str) -> str:
        """String: a secret of `motionq doctor`, by which it knows a receiver on this server; lives a minute."""
        return self._name("probe", token)

    @property
    def durations(self) -> str:
        """Hash: `model mode length` → how long the vendor takes for such jobs (contract/durations.py)."""
        return self._name("durations")

    @property
    def metrics(self) -> str:
        """Hash: what processes have counted (metering.py of the worker): words separated by blanks → how many."""
        return self._name("metrics")

    @property
    def staging(self) -> str:
        """String: the name under which this queue is written down in its staging storage."""
        return self._name("staging")

    @property
    def sweep(self) -> str:
        """String: the worker that sweeps the staging storage; lives an hour, so that it is swept once an hour."""
        return self._name("sweep")

    def queue_name(self, step: str) -> str:
        """Name of a Celery queue."""
        return f"{self.namespace}.{step}"

    def queue(self, step: str) -> str:
        """List: a Celery queue as kombu stores it (`global_keyprefix` + queue name)."""
        return f"{self.kombu_prefix}{self.queue_name(step)}"

    @property
    def kombu_prefix(self) -> str:
        """What kombu puts before each of its own keys."""
        return f"{self.namespace}:"

    def for_lua(self) -> dict[str, object]:
        """The names as the scripts use them: whole keys, and prefixes to which an ID is added."""
        whole = (
            *("tenants", "turn", "slots", "rate", "gate", "ended", "transfers", "workers", "tick"),
            *("candidates", "orphans", "spent", "lied", "unclear", "beat", "durations", "reads", "looked", "unsettled"),
            "by_tenant",
        )
        return {
            "job": self.job(""),
            "line": self.line(""),
            "state": self.state(""),
            "ends": self.ends(""),
            "task": self.task(""),
            "pace": self.pace(""),
            "waiting": self.waiting(""),
            "uploading": self.uploading(""),
            "due": {step: self.due(step) for step in STEPS},
            **{name: getattr(self, name) for name in whole},
        }
