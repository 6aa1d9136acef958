"""What there is in the model: the queue's server, the executions, the vendor, the journal, and what may still go wrong.

Everything is a tuple that never changes, so that a world can be a key of a set.
"""

from __future__ import annotations

from typing import NamedTuple

from motionq.contract.states import FINAL, HOMES, Purchase, State


class Line(NamedTuple):
    """One purchase of a job. A text that is empty is absent."""

    nonce: str
    status: Purchase
    task: str = ""
    candidate: str = ""  # a task that somebody named for it, not verified yet
    suspect: bool = False  # a 524 was read once


class Job(NamedTuple):
    """A job's record, and the sets that hold the job."""

    state: State
    sets: frozenset[str]
    claim: str = ""
    n_upload: int = 0  # how often the step was claimed
    n_deliver: int = 0
    nonce: str = ""  # of its newest purchase
    task: str = ""
    n_purchases: int = 0
    armed_under: str = ""  # kept while it is armed
    sender: str = ""  # kept while it is submitting
    last_call: str = ""  # only calls that will be repeated have a name
    generations: int = 0
    verdict: str = ""  # the task that made the video, or `REFUND`
    result: str = ""  # what was delivered: the same
    book: tuple[Line, ...] = ()


class Server(NamedTuple):
    """What the queue's server holds."""

    jobs: tuple[Job, ...]
    identity: str = "server0"
    slots: frozenset[tuple[int, str]] = frozenset()  # (job, nonce)
    tasks: frozenset[tuple[str, int, str]] = frozenset()  # the index: (task, job, nonce)
    candidates: frozenset[tuple[int, str]] = frozenset()


class Execution(NamedTuple):
    """Somebody at work: a worker's step, a repeated call of the gate, a person who has read and not yet acted."""

    step: str  # upload | submit | check | deliver, or gate | person, who need no worker
    stage: str
    job: int
    claim: str = ""
    nonce: str = ""
    token: str = ""
    task: str = ""
    plan: str = (
        ""  # what it has decided and not yet written: a move; or the verdict it delivers, the purchase it follows
    )
    call: str = ""  # set: the answer to this call was lost, and it is made again


class Request(NamedTuple):
    """One createTask at the vendor.

    wire → run | refused | lost; run → ok | fail | 524 | mute; 524 → ok | fail524; a failure may become `late_ok`, or
    `too_late` when the next purchase is on its way already.
    """

    job: int
    nonce: str
    task: str
    status: str = "wire"
    told: str = ""  # yes: its task ID was answered; lie: it was answered that there is none


class Budget(NamedTuple):
    """How often each thing may still happen. A callback that brings news is free."""

    crash: int = 0  # an execution ends at any point
    stall: int = 0  # a lease ends although its holder lives
    double: int = 0  # a message arrives twice
    repeat: int = 0  # a call is answered, the answer is lost, the client makes it again
    not_sent: int = 0  # no connection; or the right to send was taken, and then nothing was sent
    lost: int = 0  # a POST never arrives
    refuse: int = 0
    blind: int = 0  # an earlier task can't be read
    lie: int = 0  # code 500, although a task was made
    mute: int = 0  # the vendor gives no verdict for 24 h
    t524: int = 0  # a time-out that may yet become a success
    flip: int = 0  # a failure that was settled becomes a success
    foreign: int = 0  # a callback or a person names a task of another purchase
    again: int = 0  # a callback names a task that is on record already
    attach: int = 0
    cancel: int = 0
    replay: int = 0
    consent: int = 0
    invalid: int = 0  # media that can't be used
    retry: int = 0  # an upload or a delivery that must be tried again
    undelivered: int = 0  # a delivery that fails for good
    expire: int = 0  # uploads too old, or the caller's deadline over, while it waits in its line
    power: int = 0  # the server restarts without its last writes
    failover: int = 0  # a replica without the last writes becomes the server


class World(NamedTuple):
    """Everything. `versions`: what the server held, oldest first, as far back as a loss can reach; the last is now."""

    versions: tuple[Server, ...]
    on_disk: int  # the newest version that a loss of power spares
    on_replica: int  # the newest version that a fail-over spares
    budget: Budget
    old: Server | None = None  # the former server after a fail-over: who is still connected may talk to it
    executions: tuple[Execution, ...] = ()
    requests: tuple[Request, ...] = ()
    journal: frozenset[tuple[int, str, str]] = frozenset()  # (job, nonce, task)
    shown: frozenset[tuple[int, str]] = frozenset()  # purchases for which a person accepts to pay twice
    calls: int = 0  # how often the gate has armed

    @property
    def server(self) -> Server:
        """What the server holds now."""
        return self.versions[-1]


REFUND = "refund"
WORKING = ("upload", "submit", "check", "deliver")
MADE = ("ok", "late_ok", "too_late")  # there is a video
MAY_COST = ("wire", "run", "mute", "524", "ok", "late_ok")  # costs money, or may yet


def new_job(state: State = State.QUEUED) -> Job:
    """A job as `create` makes it, or one that has come as far as its line."""
    return Job(state=state, sets=homes(state))


def homes(state: State) -> frozenset[str]:
    """The one set that holds an unfinished job."""
    return frozenset([HOMES[state]]) if state in HOMES else frozenset()


def line_of(job: Job, nonce: str) -> Line | None:
    """The purchase with this nonce."""
    return next((line for line in job.book if line.nonce == nonce), None)


def open_lines(job: Job) -> list[Line]:
    """The purchases that may cost money, or may yet."""
    return [line for line in job.book if line.status is Purchase.OPEN]


def request_of(world: World, task: str) -> Request | None:
    """The vendor's record of a task."""
    return next((r for r in world.requests if r.task == task and r.status not in ("wire", "lost", "refused")), None)


def finished(world: World) -> bool:
    """Whether every job has ended and every named task was looked at."""
    return not world.server.candidates and all(job.state in FINAL for job in world.server.jobs)


def spend(world: World, what: str) -> World:
    """One of the budget is used up."""
    return world._replace(budget=world.budget._replace(**{what: getattr(world.budget, what) - 1}))


def begin(world: World, execution: Execution) -> World:
    """Somebody starts to work."""
    return world._replace(executions=tuple(sorted((*world.executions, execution))))


def end(world: World, execution: Execution) -> World:
    """Somebody stops, or is stopped."""
    at = world.executions.index(execution)
    return world._replace(executions=world.executions[:at] + world.executions[at + 1 :])


def become(world: World, execution: Execution, **changes: str) -> World:
    """Somebody goes on."""
    left = list(world.executions)
    left.remove(execution)
    left.append(execution._replace(**changes))  # type: ignore[arg-type]
    return world._replace(executions=tuple(sorted(left)))


def set_request(world: World, task: str, **changes: str) -> World:
    """Something happens to a request at the vendor."""
    changed = (r._replace(**changes) if r.task == task else r for r in world.requests)  # type: ignore[arg-type]
    return world._replace(requests=tuple(changed))
