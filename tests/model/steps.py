"""What the system does by itself: the clock, the gate, and the four steps of `pipeline.py`.

Almost all of it is fair: the system is bound to do it. What costs the budget is not.
"""

from __future__ import annotations

from model import scripts
from model.model import Model, Steps, name
from model.rules import Rule
from model.world import (
    MADE,
    REFUND,
    Execution,
    Job,
    Line,
    Request,
    Server,
    World,
    become,
    begin,
    end,
    line_of,
    request_of,
    set_request,
    spend,
)
from motionq.contract.states import MOVES, Purchase, State

# -- upload and deliver: work under a claim ---------------------------------------------------------------------------
_CLAIMED = {"upload": (State.QUEUED, State.UPLOADING), "deliver": (State.DELIVERING,)}


def claim(m: Model, w: World) -> Steps:
    """An alarm rings: the job is claimed, and a worker takes the message up."""
    for step, states in _CLAIMED.items():
        for j, job in enumerate(w.server.jobs):
            if job.state in states and m.free_worker(w):
                held = any(e.step == step and (e.job, e.claim) == (j, job.claim) for e in w.executions)
                yield from _claim_held(m, w, j, step) if held else _claim(m, w, j, step, fair=True)


def _claim(m: Model, w: World, j: int, step: str, *, fair: bool) -> Steps:
    claimed = m.write(w, scripts.claim(w.server, j, step))
    number = claimed.server.jobs[j].claim
    yield f"{number} of job{j} is claimed", begin(claimed, Execution(step, "claimed", j, number)), fair


def _claim_held(m: Model, w: World, j: int, step: str) -> Steps:
    """The lease ends though its holder lives, or the message comes twice."""
    number = w.server.jobs[j].claim
    if w.budget.stall:
        yield from _claim(m, spend(w, "stall"), j, step, fair=False)
    if w.budget.double:
        again = begin(spend(w, "double"), Execution(step, "claimed", j, number))
        yield f"{number} of job{j} comes twice", again, False


def begin_upload(m: Model, w: World, e: Execution) -> Steps:
    """The step takes its claim up."""
    yield from m.call(w, e, "begin_upload", "upload", then="working")


def upload(m: Model, w: World, e: Execution) -> Steps:
    """The files are at the vendor, and the job goes into its line."""
    yield from m.call(w, e, "uploaded", "upload")
    if w.budget.invalid:
        yield from unfair(m.call(spend(w, "invalid"), e, "fail_upload", "bad media"))
    if w.budget.retry:
        yield from unfair(m.call(spend(w, "retry"), e, "retry_upload", "upload fails"))


def begin_deliver(m: Model, w: World, e: Execution) -> Steps:
    """The step takes its claim up, and reads the record."""
    for what, after, fair in m.call(w, e, "begin_deliver", "deliver", then="working"):
        yield what, _with_verdict(after, e), fair


def deliver(m: Model, w: World, e: Execution) -> Steps:
    """The video is brought home, or the failure is booked."""
    if e.plan == REFUND:
        yield from m.call(w, e, "book_refund", "deliver", changes={"result": REFUND})
        return
    yield from m.call(w, e, "delivered", "deliver", changes={"result": e.plan})
    if w.budget.undelivered:
        yield from unfair(m.call(spend(w, "undelivered"), e, "book_failure", "delivery fails for good"))
    if w.budget.retry:
        yield from unfair(m.call(spend(w, "retry"), e, "retry_deliver", "delivery fails"))


def _with_verdict(w: World, e: Execution) -> World:
    """The record as the step reads it once its claim was taken up."""
    working = e._replace(stage="working", call="")
    if working not in w.executions:
        return w
    job = w.server.jobs[e.job]
    return become(w, working, task=job.task, plan=job.verdict)


def unfair(steps: Steps) -> Steps:
    """The same, as something that nobody is bound to do."""
    for label, after, _ in steps:
        yield label, after, False


# -- the gate ----------------------------------------------------------------------------------------------------
def admit(m: Model, w: World) -> Steps:
    """The gate arms a job."""
    for j in range(m.jobs):
        salt = f"p{w.calls + 1}"
        server = scripts.admit(m.rules, w.server, j, salt=salt, cap=m.slots)
        if server is not None:
            after = m.write(w._replace(calls=w.calls + 1), server)
            yield f"the gate arms job{j} {server.jobs[j].nonce}", after, True
            if w.budget.repeat:
                again = begin(spend(after, "repeat"), Execution("gate", "again", 0, token=salt))
                yield f"the gate arms job{j} {server.jobs[j].nonce}, the answer is lost", again, False


def admit_again(m: Model, w: World, e: Execution) -> Steps:
    """A call whose answer was lost is made again, with the same random bits."""
    for j in range(m.jobs):
        server = scripts.admit(m.rules, w.server, j, salt=e.token, cap=m.slots)
        if server is not None:
            yield f"the gate's repeated call arms job{j} {server.jobs[j].nonce}", m.write(end(w, e), server), False


def wait_in_line(m: Model, w: World) -> Steps:
    """Uploads grow too old, a deadline passes: the gate sends the job back, or ends it."""
    for j, job in enumerate(w.server.jobs):
        if not w.budget.expire or job.state is not State.READY:
            continue
        for move in ("refresh", "expire"):
            _, server = m.move(w.server, move, j)
            yield f"job{j} waits too long: {move}", m.write(spend(w, "expire"), server), False


# -- submit ------------------------------------------------------------------------------------------------------
def connect(m: Model, w: World) -> Steps:
    """A message arrives (any number may): it is durable, the earlier task is dead, and a connection is made."""
    for j, job in enumerate(w.server.jobs):
        if job.state is not State.ARMED or not m.free_worker(w) or not _may_be_sent(m, w, j, job):
            continue
        earlier = next((p for p in reversed(job.book) if p.status is Purchase.REFUNDED and p.task), None)
        if earlier is not None and w.budget.blind:
            e = Execution("submit", "blind", j, nonce=job.nonce)
            yield f"job{j}: the earlier task can't be read", begin(spend(w, "blind"), e), False
        alive = earlier is not None and _alive(w, earlier)
        if earlier is not None and alive and m.rules.hold(Rule.LOOK_BEFORE_BUYING_AGAIN):
            e = Execution("submit", "follows", j, nonce=job.nonce, plan=earlier.nonce)
            yield f"job{j}: the earlier task is alive", begin(w, e), True
            continue
        e = Execution("submit", "connected", j, nonce=job.nonce, token=_token(w))
        yield f"submit connects for {name(e)}", begin(w, e), True
        if w.budget.not_sent:
            yield f"no connection for {name(e)}", begin(spend(w, "not_sent"), e._replace(stage="unconnected")), False


def _may_be_sent(m: Model, w: World, j: int, job: Job) -> bool:
    """Durable; or armed under another server, which `send` will notice."""
    return m.sendable(w, j, job.nonce) or job.armed_under != w.server.identity


def _alive(w: World, line: Line) -> bool:
    request = request_of(w, line.task)
    return request is not None and request.status not in ("fail", "fail524")


def _token(w: World) -> str:
    """A token that nobody has."""
    servers = (*w.versions, w.old) if w.old else w.versions
    taken = {e.token for e in w.executions} | {job.sender for server in servers for job in server.jobs}
    return next(token for token in ("a", "b", "c", "d", "e", "f", "g", "h") if token not in taken)


def follow(m: Model, w: World, e: Execution) -> Steps:
    """The earlier task is followed, and nothing is bought."""
    outcome, server = scripts.follow(m.rules, w.server, e.job, nonce=e.nonce, old=e.plan)
    over = outcome == "ok" or not m.rules.hold(Rule.REFUSED_FOLLOW_LOOKS_AT_SERVER)
    after = end(w, e) if over else become(w, e, stage="elsewhere", plan="")
    yield f"follow {e.plan} of job{e.job} is {outcome}", m.write(after, server), True


def blind(m: Model, w: World, e: Execution) -> Steps:
    """Nothing is bought before the earlier task was read."""
    yield from m.call(w, e, "unseen", "submit")


def not_connected(m: Model, w: World, e: Execution) -> Steps:
    """Nothing was sent, says one who had no right to send yet."""
    yield from m.call(w, e, "unconnected", "submit")


def send(m: Model, w: World, e: Execution) -> Steps:
    """The right to send is taken by one execution."""
    durable = m.sendable(w, e.job, e.nonce)
    verdict, server = scripts.send(m.rules, w.server, e.job, nonce=e.nonce, token=e.token, durable=durable)
    then = {"mine": "won", "other_server": "elsewhere", "refused": "unconnected"}.get(verdict)
    after = become(w, e, stage=then) if then else end(w, e)
    yield f"send of {name(e)} by {e.token} is {verdict}", m.write(after, server), True
    if verdict == "mine" and e.stage == "connected" and w.budget.repeat:
        again = become(spend(w, "repeat"), e, stage="sends again")
        yield f"send of {name(e)} by {e.token} is mine, the answer is lost", m.write(again, server), False
    if w.old is not None and e.stage == "connected":
        yield from _send_to_old_server(m, w, w.old, e)


def _send_to_old_server(m: Model, w: World, old: Server, e: Execution) -> Steps:
    """One who is still connected to the former server asks there, after a fail-over."""
    verdict, old = scripts.send(m.rules, old, e.job, nonce=e.nonce, token=e.token, durable=True)
    if verdict == "mine":
        yield f"send of {name(e)} at the OLD server is mine", become(w, e, stage="won")._replace(old=old), False


def armed_elsewhere(m: Model, w: World, e: Execution) -> Steps:
    """It was armed under another server, and may have been sent."""
    yield from m.call(w, e, "other_server", "submit")


def post(m: Model, w: World, e: Execution) -> Steps:
    """The winner sends; or it woke too late, and does not."""
    request = Request(e.job, e.nonce, f"task{len(w.requests) + 1}")
    sent = w._replace(requests=(*w.requests, request))
    yield f"POST of {name(e)}", become(sent, e, stage="waits", task=request.task), True
    if w.budget.not_sent:
        late = become(spend(w, "not_sent"), e, stage="answered", plan="not_sent")
        yield f"{name(e)} is not sent after all", late, False


def answer(m: Model, w: World, e: Execution) -> Steps:
    """What came back: nothing that can be trusted, a refusal, or a task ID (into the journal first)."""
    request = next(r for r in w.requests if r.task == e.task)
    unknown = "unknown" if m.callbacks else "give_up_unknown"
    yield f"answer to {name(e)}: Unknown", become(w, e, stage="answered", plan=unknown, task=""), True
    if request.status == "refused":
        for move in ("refused", "refused_again", "refused_later"):
            yield f"answer to {name(e)}: {move}", become(w, e, stage="answered", plan=move, task=""), True
    elif request.status not in ("wire", "lost"):
        told = set_request(w, e.task, told="yes")
        told = told._replace(journal=w.journal | {(e.job, e.nonce, e.task)})
        yield f"answer to {name(e)}: {e.task}", become(told, e, stage="answered", plan="record_task"), True
        if w.budget.lie and not request.told:
            lied = set_request(spend(w, "lie"), e.task, told="lie")
            lied = become(lied, e, stage="answered", plan="refused_later", task="")
            yield f"answer to {name(e)}: 500, although {e.task} was made", lied, False


def record_answer(m: Model, w: World, e: Execution) -> Steps:
    """The answer is written, whatever has become of the job."""
    yield from m.call(w, e, e.plan, "answer")


def replay_journal(m: Model, w: World) -> Steps:
    """A task ID of the journal that the record lacks is recorded again."""
    for j, nonce, task in sorted(w.journal):
        line = line_of(w.server.jobs[j], nonce)
        if line is not None and line.task != task:
            outcome, server = m.move(w.server, "record_task", j, nonce=nonce, task=task)
            yield f"journal: {task} of job{j} {nonce} is {outcome}", m.write(w, server), True


# -- our own patience ----------------------------------------------------------------------------------------------
def patience(m: Model, w: World) -> Steps:
    """Alarms ring, and leases, 25 minutes, 45 minutes or 24 hours are over."""
    for j, job in enumerate(w.server.jobs):
        line = line_of(job, job.nonce)
        if line is None:
            continue
        for move in _overdue(m, w, j, job, line):
            outcome, server = m.move(w.server, move, j, nonce=line.nonce, task=line.task)
            if outcome == "ok" and server != w.server:
                yield f"patience with job{j}: {move}", m.write(w, server), True


def _overdue(m: Model, w: World, j: int, job: Job, line: Line) -> list[str]:
    if job.state is State.SUBMITTING:
        return ["unknown"] if m.callbacks else ["give_up_unknown"]
    waits_for_task = job.state in (State.SUBMIT_UNKNOWN, State.CANCELLING) and not line.task
    if waits_for_task:
        return ["free_slot", "give_up_unknown"] if (j, line.nonce) in w.server.slots else ["give_up_unknown"]
    request = request_of(w, line.task)
    silent = request is not None and request.status == "mute"
    return ["give_up_silent"] if silent and job.state in (State.RUNNING, State.CANCELLING) else []


# -- check ---------------------------------------------------------------------------------------------------------
def read(m: Model, w: World) -> Steps:
    """A worker reads the task of a waiting job, and knows what that means."""
    for j, job in enumerate(w.server.jobs):
        line = line_of(job, job.nonce)
        if job.state not in (State.RUNNING, State.CANCELLING) or line is None or not m.free_worker(w):
            continue
        move = _meaning(m, w, j, job, line)
        e = Execution("check", "read", j, nonce=line.nonce, task=job.task, plan=move)
        if move:
            yield f"check reads {line.task} of job{j}: {move}", begin(w, e), True


def _meaning(m: Model, w: World, j: int, job: Job, line: Line) -> str:
    """The move that a reading of this purchase's task leads to; empty: it goes on."""
    request = request_of(w, job.task)
    if request is None or not _belongs(m, request, j, line):
        return ""
    if request.status in MADE:
        return "paid"
    if request.status == "fail":
        return "refunded_again" if job.generations + 1 < m.attempts else "refunded"
    if not m.rules.hold(Rule.LOOK_TWICE_AT_524) and request.status in ("524", "fail524"):
        return "refunded"
    if request.status == "fail524" and line.suspect:
        return "refunded"
    return "still_running" if request.status in ("524", "fail524") and not line.suspect else ""


def _belongs(m: Model, request: Request, j: int, line: Line) -> bool:
    """Whether the vendor's record of the task names this job and purchase."""
    return (request.job, request.nonce) == (j, line.nonce) or not m.rules.hold(Rule.CANDIDATES_ARE_VERIFIED)


def write_verdict(m: Model, w: World, e: Execution) -> Steps:
    """The meaning of a reading is written, perhaps much later."""
    generations = w.server.jobs[e.job].generations
    changes = {
        "paid": {"verdict": e.task},
        "refunded": {"verdict": REFUND},
        "refunded_again": {"generations": generations + 1},
    }.get(e.plan, {})
    suspect = {"suspect": True} if e.plan == "still_running" else {}
    yield from m.call(w, e, e.plan, "check", changes=changes, line_changes=suspect)


def look_at_candidates(m: Model, w: World) -> Steps:
    """A worker reads a task that somebody named, and sees whose it is."""
    for j, nonce in sorted(w.server.candidates):
        line = line_of(w.server.jobs[j], nonce)
        if line is None or not line.candidate or not m.free_worker(w):
            continue
        request = request_of(w, line.candidate)
        own = request is not None and _belongs(m, request, j, line)
        known = line.task == line.candidate
        turned = known and line.status in MOVES["revived"].books and request is not None and request.status in MADE
        move = "revived" if turned else "record_task"
        stage, plan = ("named again" if known else "named", move) if own else ("foreign", "")
        e = Execution("check", stage, j, nonce=nonce, task=line.candidate, plan=plan)
        yield f"check looks at {line.candidate}, named for job{j} {nonce}: {stage}", begin(w, e), True


def write_candidate(m: Model, w: World, e: Execution) -> Steps:
    """The named task is recorded; where it was known, that may change nothing, and the name is dropped as well."""
    then = "foreign" if e.stage == "named again" and m.rules.hold(Rule.KNOWN_NAMES_ARE_DROPPED) else ""
    yield from m.call(w, e, e.plan, "check", then=then)


def drop_candidate(m: Model, w: World, e: Execution) -> Steps:
    """The named task has been dealt with; another one may have been named since."""
    task = e.task if m.rules.hold(Rule.DROPS_NAME_THE_TASK) else ""
    yield from m.call(w, e, "drop_candidate", "check", task=task)


# What the clock, the gate and a message begin; and how an execution goes on from each stage.
BEGINS = (claim, admit, wait_in_line, connect, replay_journal, patience, read, look_at_candidates)
GOES_ON = {
    ("upload", "claimed"): begin_upload,
    ("upload", "working"): upload,
    ("deliver", "claimed"): begin_deliver,
    ("deliver", "working"): deliver,
    ("gate", "again"): admit_again,
    ("submit", "follows"): follow,
    ("submit", "blind"): blind,
    ("submit", "unconnected"): not_connected,
    ("submit", "connected"): send,
    ("submit", "sends again"): send,
    ("submit", "elsewhere"): armed_elsewhere,
    ("submit", "won"): post,
    ("submit", "waits"): answer,
    ("submit", "answered"): record_answer,
    ("check", "read"): write_verdict,
    ("check", "named"): write_candidate,
    ("check", "named again"): write_candidate,
    ("check", "foreign"): drop_candidate,
}
