"""What the system does by itself: the clock, the gate, and the four steps of `pipeline.py`. All of it is fair."""

from __future__ import annotations

from motionq.contract.states import Purchase, State
from model import scripts
from model.model import Model, Steps, name
from model.rules import Rule
from model.world import (
    REFUND,
    Execution,
    Job,
    Line,
    Request,
    World,
    become,
    begin,
    end,
    line_of,
    request_of,
    set_request,
    spend,
)


def at(w: World, step: str, stage: str) -> list[Execution]:
    """The executions that have come this far."""
    return [e for e in dict.fromkeys(w.executions) if (e.step, e.stage) == (step, stage)]


# -- upload and deliver: work under a claim ---------------------------------------------------------------------------
_CLAIMED = {"upload": (State.QUEUED, State.UPLOADING), "deliver": (State.DELIVERING,)}


def claim(m: Model, w: World) -> Steps:
    """An alarm rings: the job is claimed, and a worker takes the message up."""
    for step, states in _CLAIMED.items():
        for j, job in enumerate(w.server.jobs):
            if job.state not in states or not m.free_worker(w):
                continue
            holders = [e for e in w.executions if e.step == step and (e.job, e.claim) == (j, job.claim)]
            if not holders or w.budget.stall:
                paid = spend(w, "stall") if holders else w
                claimed = m.write(paid, scripts.claim(w.server, j, step))
                number = claimed.server.jobs[j].claim
                yield f"{number} of job{j} is claimed", begin(claimed, Execution(step, "claimed", j, number)), not holders
            elif w.budget.double:
                yield f"{job.claim} of job{j} comes twice", begin(spend(w, "double"), Execution(step, "claimed", j, job.claim)), False


def upload(m: Model, w: World) -> Steps:
    """Take the claim up, bring the files to the vendor, and put the job into its line."""
    for e in at(w, "upload", "claimed"):
        yield from m.call(w, e, "begin_upload", "upload", then="working")
    for e in at(w, "upload", "working"):
        yield from m.call(w, e, "uploaded", "upload")
        if w.budget.invalid:
            yield from unfair(m.call(spend(w, "invalid"), e, "fail_upload", "bad media"))
        if w.budget.retry:
            yield from unfair(m.call(spend(w, "retry"), e, "retry_upload", "upload fails"))


def deliver(m: Model, w: World) -> Steps:
    """Take the claim up, read the record, bring the video home or book the failure."""
    for e in at(w, "deliver", "claimed"):
        for label, after, fair in m.call(w, e, "begin_deliver", "deliver", then="working"):
            yield label, _with_verdict(after, e), fair
    for e in at(w, "deliver", "working"):
        if e.move == REFUND:
            yield from m.call(w, e, "book_failure", "deliver", changes={"result": REFUND})
            continue
        yield from m.call(w, e, "delivered", "deliver", changes={"result": e.move})
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
    return become(w, working, task=job.task, move=job.verdict)


def unfair(steps: Steps) -> Steps:
    """The same, as something that nobody is bound to do."""
    for label, after, _ in steps:
        yield label, after, False


# -- the gate ---------------------------------------------------------------------------------------------------------
def admit(m: Model, w: World) -> Steps:
    """The gate arms a job; a call whose answer was lost is made again, with the same random bits."""
    for j in range(m.jobs):
        salt = f"p{w.calls + 1}"
        server = scripts.admit(m.rules, w.server, j, salt=salt, cap=m.slots)
        if server is not None:
            after = m.write(w._replace(calls=w.calls + 1), server)
            yield f"the gate arms job{j} {server.jobs[j].nonce}", after, True
            if w.budget.repeat:
                again = begin(spend(after, "repeat"), Execution("gate", "again", 0, token=salt))
                yield f"the gate arms job{j} {server.jobs[j].nonce}, the answer is lost", again, False
        for e in at(w, "gate", "again"):
            server = scripts.admit(m.rules, w.server, j, salt=e.token, cap=m.slots)
            if server is not None and server != w.server:
                yield f"the gate's repeated call arms job{j} {server.jobs[j].nonce}", m.write(end(w, e), server), False


def wait_in_line(m: Model, w: World) -> Steps:
    """Uploads grow too old, a deadline passes: the gate sends the job back, or ends it."""
    for j, job in enumerate(w.server.jobs):
        if not w.budget.expire or job.state is not State.READY:
            continue
        for move in ("refresh", "expire"):
            _, server = scripts.apply_move(m.rules, w.server, m.rules.moves[move], j)
            yield f"job{j} waits too long: {move}", m.write(spend(w, "expire"), server), False


# -- submit -----------------------------------------------------------------------------------------------------------
def connect(m: Model, w: World) -> Steps:
    """A message arrives (any number may): replicas have the purchase, the earlier task is dead, a connection is made."""
    for j, job in enumerate(w.server.jobs):
        if job.state is not State.ARMED or not m.free_worker(w) or not _may_be_sent(m, w, j, job):
            continue
        earlier = next((p for p in reversed(job.book) if p.status is Purchase.REFUNDED and p.task), None)
        alive = earlier is not None and _alive(w, earlier)
        if earlier is not None and alive and m.rules.hold(Rule.LOOK_BEFORE_BUYING_AGAIN):
            e = Execution("submit", "follows", j, nonce=job.nonce, move=earlier.nonce)
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
    taken = {e.token for e in w.executions} | {job.sender for s in w.versions for job in s.jobs}
    return next(token for token in ("a", "b", "c", "d", "e", "f", "g", "h") if token not in taken)


def follow(m: Model, w: World) -> Steps:
    """The earlier task is followed, and nothing is bought."""
    for e in at(w, "submit", "follows"):
        outcome, server = scripts.follow(m.rules, w.server, e.job, nonce=e.nonce, old=e.move)
        yield f"follow {e.move} of job{e.job} is {outcome}", m.write(end(w, e), server), True


def not_connected(m: Model, w: World) -> Steps:
    """Nothing was sent, says one who had no right to send yet."""
    for e in at(w, "submit", "unconnected"):
        yield from m.call(w, e, "unconnected", "submit")


def send(m: Model, w: World) -> Steps:
    """The right to send is taken by one execution."""
    for e in [*at(w, "submit", "connected"), *at(w, "submit", "sends again")]:
        durable = m.sendable(w, e.job, e.nonce)
        verdict, server = scripts.send(m.rules, w.server, e.job, nonce=e.nonce, token=e.token, durable=durable)
        then = {"mine": "won", "other_server": "elsewhere"}.get(verdict)
        after = become(w, e, stage=then) if then else end(w, e)
        yield f"send of {name(e)} by {e.token} is {verdict}", m.write(after, server), True
        if verdict == "mine" and e.stage == "connected" and w.budget.repeat:
            again = become(spend(w, "repeat"), e, stage="sends again")
            yield f"send of {name(e)} by {e.token} is mine, the answer is lost", m.write(again, server), False
    for e in at(w, "submit", "elsewhere"):
        yield from m.call(w, e, "other_server", "submit")


def send_to_old_server(m: Model, w: World) -> Steps:
    """One who is still connected to the former server asks there, after a fail-over."""
    for e in at(w, "submit", "connected") if w.old else []:
        assert w.old is not None
        verdict, old = scripts.send(m.rules, w.old, e.job, nonce=e.nonce, token=e.token, durable=True)
        if verdict == "mine":
            yield f"send of {name(e)} at the OLD server is mine", become(w, e, stage="won")._replace(old=old), False


def post(m: Model, w: World) -> Steps:
    """The winner sends; or it woke too late, and does not."""
    for e in at(w, "submit", "won"):
        request = Request(e.job, e.nonce, f"task{len(w.requests) + 1}")
        sent = w._replace(requests=(*w.requests, request))
        yield f"POST of {name(e)}", become(sent, e, stage="waits", task=request.task), True
        if w.budget.not_sent:
            late = become(spend(w, "not_sent"), e, stage="answered", move="not_sent")
            yield f"{name(e)} is not sent after all", late, False


def answer(m: Model, w: World) -> Steps:
    """What came back: a task ID (into the journal first), a refusal, or nothing that can be trusted."""
    for e in at(w, "submit", "waits"):
        request = next(r for r in w.requests if r.task == e.task)
        unknown = "unknown" if m.callbacks else "give_up_unknown"
        yield f"answer to {name(e)}: Unknown", become(w, e, stage="answered", move=unknown, task=""), True
        if request.status == "refused":
            for move in ("refused", "refused_again", "refused_later"):
                yield f"answer to {name(e)}: {move}", become(w, e, stage="answered", move=move, task=""), True
        elif request.status not in ("wire", "lost"):
            told = set_request(w, e.task, told="yes")
            told = told._replace(journal=w.journal | {(e.job, e.nonce, e.task)})
            yield f"answer to {name(e)}: {e.task}", become(told, e, stage="answered", move="record_task"), True
            if w.budget.lie and not request.told:
                lied = set_request(spend(w, "lie"), e.task, told="lie")
                lied = become(lied, e, stage="answered", move="refused_later", task="")
                yield f"answer to {name(e)}: 500, although {e.task} was made", lied, False


def record_answer(m: Model, w: World) -> Steps:
    """The answer is written, whatever has become of the job."""
    for e in at(w, "submit", "answered"):
        yield from m.call(w, e, e.move, "answer")


def replay_journal(m: Model, w: World) -> Steps:
    """A task ID of the journal that the record lacks is recorded again."""
    for j, nonce, task in sorted(w.journal):
        line = line_of(w.server.jobs[j], nonce)
        if line is not None and line.task != task:
            move = m.rules.moves["record_task"]
            outcome, server = scripts.apply_move(m.rules, w.server, move, j, nonce=nonce, task=task)
            yield f"journal: {task} of job{j} {nonce} is {outcome}", m.write(w, server), True


# -- our own patience ---------------------------------------------------------------------------------------------------
def patience(m: Model, w: World) -> Steps:
    """Alarms ring, and leases, 25 minutes, 45 minutes or 24 hours are over."""
    for j, job in enumerate(w.server.jobs):
        line = line_of(job, job.nonce)
        if line is None:
            continue
        for move in _overdue(m, w, j, job, line):
            outcome, server = scripts.apply_move(
                m.rules, w.server, m.rules.moves[move], j, nonce=line.nonce, task=line.task
            )
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


# -- check --------------------------------------------------------------------------------------------------------------
def read(m: Model, w: World) -> Steps:
    """A worker reads the task of a waiting job, and knows what that means."""
    for j, job in enumerate(w.server.jobs):
        line = line_of(job, job.nonce)
        if job.state not in (State.RUNNING, State.CANCELLING) or line is None or not m.free_worker(w):
            continue
        move = _meaning(m, w, j, job, line)
        e = Execution("check", "read", j, nonce=line.nonce, task=line.task, move=move)
        if move and e not in w.executions:
            yield f"check reads {line.task} of job{j}: {move}", begin(w, e), True


def _meaning(m: Model, w: World, j: int, job: Job, line: Line) -> str:
    """The move that a reading of this purchase's task leads to; empty: it goes on."""
    request = request_of(w, line.task)
    if request is None or (request.job, request.nonce) != (j, line.nonce) and m.rules.hold(Rule.CANDIDATES_ARE_VERIFIED):
        return ""
    if request.status in ("ok", "late_ok"):
        return "paid"
    if request.status == "fail":
        return "refunded_again" if job.generations + 1 < m.attempts else "refunded"
    if not m.rules.hold(Rule.LOOK_TWICE_AT_524) and request.status in ("524", "fail524"):
        return "refunded"
    if request.status == "fail524" and line.suspect:
        return "refunded"
    return "still_running" if request.status in ("524", "fail524") and not line.suspect else ""


def write_verdict(m: Model, w: World) -> Steps:
    """The meaning of a reading is written, perhaps much later."""
    for e in at(w, "check", "read"):
        generations = w.server.jobs[e.job].generations
        changes = {
            "paid": {"verdict": e.task},
            "refunded": {"verdict": REFUND},
            "refunded_again": {"generations": generations + 1},
        }.get(e.move, {})
        suspect = {"suspect": True} if e.move == "still_running" else {}
        yield from m.call(w, e, e.move, "check", changes=changes, line_changes=suspect)


def look_at_candidates(m: Model, w: World) -> Steps:
    """A worker reads a task that somebody named, and sees whose it is."""
    for j, nonce in sorted(w.server.candidates):
        line = line_of(w.server.jobs[j], nonce)
        if line is None or not line.candidate or not m.free_worker(w):
            continue
        request = request_of(w, line.candidate)
        own = request is not None and (request.job, request.nonce) == (j, nonce)
        move = "record_task" if own or not m.rules.hold(Rule.CANDIDATES_ARE_VERIFIED) else "drop_candidate"
        e = Execution("check", "named", j, nonce=nonce, task=line.candidate, move=move)
        if e not in w.executions:
            yield f"check looks at {line.candidate}, named for job{j} {nonce}: {move}", begin(w, e), True


def write_candidate(m: Model, w: World) -> Steps:
    """The named task is recorded, or dropped."""
    for e in at(w, "check", "named"):
        yield from m.call(w, e, e.move, "check")


SYSTEM = (
    claim,
    upload,
    deliver,
    admit,
    wait_in_line,
    connect,
    follow,
    not_connected,
    send,
    send_to_old_server,
    post,
    answer,
    record_answer,
    replay_journal,
    patience,
    read,
    write_verdict,
    look_at_candidates,
    write_candidate,
)
