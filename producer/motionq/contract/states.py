"""States, purchases, and every allowed move as data. The Lua scripts receive these tables.

A job is in exactly one set while it is unfinished (`HOMES`), and in none when it is finished (`FINAL`).
A move says from which state to which, what fences it, and what it does to the purchase, the slot and the rate slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"  # waits for a worker to upload its files
    UPLOADING = "uploading"  # a worker checks and uploads its files
    READY = "ready"  # waits in its tenant's line to be bought
    ARMED = "armed"  # a purchase is on record and becomes durable
    SUBMITTING = "submitting"  # createTask is being sent
    SUBMIT_UNKNOWN = "submit_unknown"  # sent, and nobody knows whether a task was made
    RUNNING = "running"  # the task ID is known
    CANCELLING = "cancelling"  # cancelled by a person while a purchase is open
    DELIVERING = "delivering"  # the vendor gave its verdict; the result is fetched, or the failure booked
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Purchase(StrEnum):
    """What became of one attempt to buy."""

    OPEN = "open"  # may cost money, or may yet
    NOT_SENT = "not_sent"  # nothing left this machine
    REFUSED = "refused"  # the vendor said no and made no task
    REFUNDED = "refunded"  # the generation failed, the vendor refunds it
    PAID = "paid"  # the generation succeeded
    STRAY = "stray"  # booked as not bought (or written off), yet it has a task that nobody has followed
    WRITTEN_OFF = "written_off"  # given up by a person's consent; whether it was charged is unknown


S, P = State, Purchase
FINAL = (S.SUCCEEDED, S.FAILED, S.CANCELLED)
HOMES: Mapping[State, str] = {
    S.QUEUED: "upload",
    S.UPLOADING: "upload",
    S.READY: "line",
    S.ARMED: "submit",
    S.SUBMITTING: "submit",
    S.SUBMIT_UNKNOWN: "submit",
    S.RUNNING: "check",
    S.CANCELLING: "check",
    S.DELIVERING: "deliver",
}
UNFINISHED = tuple(HOMES)
CLOSED_UNBOUGHT = (P.NOT_SENT, P.REFUSED)
COSTS = (P.OPEN, P.PAID, P.STRAY, P.WRITTEN_OFF)  # what counts against the day's budget
# Where a job would rest, buy again or book a failure: beside a stray it does not, but follows that one's task.
RESTS: Mapping[State, State] = {
    **dict.fromkeys((S.QUEUED, S.UPLOADING, S.READY, S.DELIVERING, S.FAILED), S.RUNNING),
    S.CANCELLED: S.CANCELLING,
}


class Fence(StrEnum):
    """What a write must still find on the record."""

    NONE = "none"  # only the state
    CLAIM = "claim"  # the claim number of this execution
    NONCE = "nonce"  # the purchase
    TASK = "task"  # the purchase and the vendor's task ID
    CLAIM_TASK = "claim_task"  # the claim number and the task whose result is delivered


@dataclass(frozen=True, kw_only=True)
class Move:
    """One allowed move.

    `to` maps each state it may start from to where it leads. With a purchase's fence, `books` maps the purchase's
    status to its new one (a status not named refuses), and the job moves only if the purchase is its newest one. A move
    that `binds_task` names the purchase's task: of a closed purchase too, which then is a stray (see RESTS). What
    is known for sure of a purchase (`books_late`) is booked also where the job does not move. `other_server` replaces
    `to` when the server is not the one under which the job was armed: what the record says may then be older than what
    was done, so nothing is closed and no slot comes back.
    """

    name: str
    to: Mapping[State, State]
    fence: Fence = Fence.NONE
    books: Mapping[Purchase, Purchase] = field(default_factory=dict)
    books_late: bool = False
    other_server: Mapping[State, State] | None = None
    binds_task: bool = False
    has_task: bool | None = None  # True: only with a task ID; False: only without
    newest: Purchase | None = None  # what the job's newest purchase must be on record, also under a claim
    frees_slot: bool = False
    ends_transfer: bool = False  # the step moves files no more; any other write of a claim prolongs its transfer
    rate_slot: str = "keep"  # keep | free (nothing was sent) | answered (comes back a window after now)
    settles_candidate: bool = False  # the task that somebody named for the purchase has been looked at
    answers: bool = False  # the vendor spoke clearly: a half-open gate opens, if this was its probe

    def for_lua(self) -> dict[str, object]:
        """The move as the scripts read it (JSON-ready)."""
        data: dict[str, object] = {
            "name": self.name,
            "to": dict(self.to),
            "fence": self.fence,
            "books": dict(self.books),
            "books_late": self.books_late,
            "binds_task": self.binds_task,
            "frees_slot": self.frees_slot,
            "ends_transfer": self.ends_transfer,
            "rate_slot": self.rate_slot,
            "settles_candidate": self.settles_candidate,
            "answers": self.answers,
        }
        if self.other_server is not None:
            data["other_server"] = dict(self.other_server)
        if self.has_task is not None:
            data["has_task"] = self.has_task
        if self.newest is not None:
            data["newest"] = self.newest
        return data


def _stay(*states: State) -> dict[State, State]:
    return {state: state for state in states}


_CLOSABLE = (S.ARMED, S.SUBMITTING, S.SUBMIT_UNKNOWN)


def _closing(then: State) -> dict[State, State]:
    return {**dict.fromkeys(_CLOSABLE, then), S.CANCELLING: S.CANCELLED}


# -- upload -------------------------------------------------------------------------------------------------------
BEGIN_UPLOAD = Move(name="begin_upload", fence=Fence.CLAIM, to={S.QUEUED: S.UPLOADING, S.UPLOADING: S.UPLOADING})
RENEW = Move(name="renew", fence=Fence.CLAIM, to=_stay(S.UPLOADING, S.DELIVERING))
UPLOADED = Move(name="uploaded", fence=Fence.CLAIM, to={S.UPLOADING: S.READY}, ends_transfer=True)
RETRY_UPLOAD = Move(
    name="retry_upload", fence=Fence.CLAIM, to={S.UPLOADING: S.QUEUED, S.QUEUED: S.QUEUED}, ends_transfer=True
)
FAIL_UPLOAD = Move(
    name="fail_upload", fence=Fence.CLAIM, to={S.UPLOADING: S.FAILED, S.QUEUED: S.FAILED}, ends_transfer=True
)

# -- gate (inside admit.lua) --------------------------------------------------------------------------------------
ADMIT = Move(name="admit", to={S.READY: S.ARMED})
REFRESH = Move(name="refresh", to={S.READY: S.QUEUED})  # its uploads are too old to be bought with
EXPIRE = Move(name="expire", to={S.READY: S.FAILED})  # the caller's deadline passed before it was bought

# -- submit -------------------------------------------------------------------------------------------------------
SEND = Move(
    name="send",
    fence=Fence.NONCE,
    to={S.ARMED: S.SUBMITTING},
    books={P.OPEN: P.OPEN},
    other_server={S.ARMED: S.SUBMIT_UNKNOWN},
)
UNCONNECTED = Move(  # nothing was sent yet; once another execution has the right to send, this one knows nothing
    name="unconnected",
    fence=Fence.NONCE,
    to={S.ARMED: S.READY},
    other_server={S.ARMED: S.SUBMIT_UNKNOWN},
    books={P.OPEN: P.NOT_SENT},
    has_task=False,
    frees_slot=True,
    rate_slot="free",
)
UNSEEN = Move(  # the earlier task can't be read: nothing is bought before it was, and nobody else waits for that
    name="unseen",
    fence=Fence.NONCE,
    to={S.ARMED: S.QUEUED},
    other_server={S.ARMED: S.SUBMIT_UNKNOWN},
    books={P.OPEN: P.NOT_SENT},
    has_task=False,
    frees_slot=True,
    rate_slot="free",
)
OTHER_SERVER = Move(  # the record may be older than what was done under the server that armed it
    name="other_server",
    fence=Fence.NONCE,
    to={S.ARMED: S.ARMED},
    books={P.OPEN: P.OPEN},
    other_server={S.ARMED: S.SUBMIT_UNKNOWN},
)
NOT_SENT = Move(  # the winner of `send` did not send after all
    name="not_sent",
    fence=Fence.NONCE,
    to=_closing(S.READY),
    books={P.OPEN: P.NOT_SENT},
    books_late=True,
    has_task=False,
    frees_slot=True,
    rate_slot="free",
)
REFUSED_AGAIN = Move(
    name="refused_again",
    fence=Fence.NONCE,
    to=_closing(S.READY),
    books={P.OPEN: P.REFUSED},
    books_late=True,
    has_task=False,
    frees_slot=True,
    rate_slot="answered",
)
REFUSED_LATER = Move(  # the vendor's own trouble: the files are looked at again, and the job goes back in its line
    name="refused_later",
    fence=Fence.NONCE,
    to=_closing(S.QUEUED),
    books={P.OPEN: P.REFUSED},
    books_late=True,
    has_task=False,
    frees_slot=True,
    rate_slot="answered",
    answers=True,
)
REFUSED = Move(
    name="refused",
    fence=Fence.NONCE,
    to=_closing(S.FAILED),
    books={P.OPEN: P.REFUSED},
    books_late=True,
    has_task=False,
    frees_slot=True,
    rate_slot="answered",
    answers=True,
)
UNKNOWN = Move(
    name="unknown",
    fence=Fence.NONCE,
    to={S.SUBMITTING: S.SUBMIT_UNKNOWN},
    books={P.OPEN: P.OPEN},
    has_task=False,
    rate_slot="answered",
)
RECORD_TASK = Move(
    name="record_task",
    fence=Fence.NONCE,
    to={
        **dict.fromkeys((*_CLOSABLE, S.FAILED), S.RUNNING),
        **dict.fromkeys((S.CANCELLING, S.CANCELLED), S.CANCELLING),
    },
    books={**{status: status for status in P}, **dict.fromkeys((*CLOSED_UNBOUGHT, P.WRITTEN_OFF), P.STRAY)},
    books_late=True,
    binds_task=True,
    rate_slot="answered",
    settles_candidate=True,
    answers=True,
)

# -- our own patience ---------------------------------------------------------------------------------------------
FREE_SLOT = Move(  # an unknown purchase holds its in-flight slot for 25 minutes at most
    name="free_slot",
    fence=Fence.NONCE,
    to=_stay(S.SUBMIT_UNKNOWN, S.CANCELLING),
    books={P.OPEN: P.OPEN},
    has_task=False,
    frees_slot=True,
)
KEEP_WAITING = Move(
    name="keep_waiting",
    fence=Fence.NONCE,
    to=_stay(S.SUBMIT_UNKNOWN, S.CANCELLING),
    books={P.OPEN: P.OPEN},
    has_task=False,
)
GIVE_UP_UNKNOWN = Move(
    name="give_up_unknown",
    fence=Fence.NONCE,
    to={S.SUBMITTING: S.FAILED, S.SUBMIT_UNKNOWN: S.FAILED, S.CANCELLING: S.CANCELLED},
    books={P.OPEN: P.OPEN},
    has_task=False,
    frees_slot=True,
    rate_slot="answered",
)
GIVE_UP_SILENT = Move(
    name="give_up_silent",
    fence=Fence.TASK,
    to={S.RUNNING: S.FAILED, S.CANCELLING: S.CANCELLED},
    books={P.OPEN: P.OPEN},
    has_task=True,
    frees_slot=True,
)

# -- check --------------------------------------------------------------------------------------------------------
STILL_RUNNING = Move(
    name="still_running",
    fence=Fence.TASK,
    to=_stay(S.RUNNING, S.CANCELLING),
    books={P.OPEN: P.OPEN},
    books_late=True,
    has_task=True,
)
_VERDICT: dict[str, object] = {"fence": Fence.TASK, "has_task": True, "frees_slot": True, "books_late": True}
PAID = Move(
    name="paid",
    to={
        S.RUNNING: S.DELIVERING,
        S.FAILED: S.DELIVERING,
        S.CANCELLING: S.CANCELLED,
        S.CANCELLED: S.CANCELLED,
    },
    books={P.OPEN: P.PAID},
    **_VERDICT,  # type: ignore[arg-type]
)
REFUNDED = Move(
    name="refunded",
    to={S.RUNNING: S.DELIVERING, S.CANCELLING: S.CANCELLED},
    books={P.OPEN: P.REFUNDED},
    **_VERDICT,  # type: ignore[arg-type]
)
REFUNDED_AGAIN = Move(
    name="refunded_again",
    to={S.RUNNING: S.READY, S.CANCELLING: S.CANCELLED},
    books={P.OPEN: P.REFUNDED},
    **_VERDICT,  # type: ignore[arg-type]
)

# -- deliver ------------------------------------------------------------------------------------------------------
BEGIN_DELIVER = Move(name="begin_deliver", fence=Fence.CLAIM, to=_stay(S.DELIVERING))
RETRY_DELIVER = Move(name="retry_deliver", fence=Fence.CLAIM, to=_stay(S.DELIVERING), ends_transfer=True)
DELIVERED = Move(name="delivered", fence=Fence.CLAIM_TASK, to={S.DELIVERING: S.SUCCEEDED}, ends_transfer=True)
BOOK_FAILURE = Move(name="book_failure", fence=Fence.CLAIM_TASK, to={S.DELIVERING: S.FAILED}, ends_transfer=True)
BOOK_REFUND = Move(  # claims are counted again after a loss of power: the books must still say what is to be booked
    name="book_refund",
    fence=Fence.CLAIM_TASK,
    to={S.DELIVERING: S.FAILED},
    newest=P.REFUNDED,
    ends_transfer=True,
)

# -- callbacks, and people who name a task ---------------------------------------------------------------------------
DROP_CANDIDATE = Move(  # the task that was named is another purchase's
    name="drop_candidate",
    fence=Fence.NONCE,
    to={},
    books={status: status for status in P},
    books_late=True,
    settles_candidate=True,
)

REVIVED = Move(  # a failure that had been booked, or a task that was given up, has made the video after all
    name="revived",
    fence=Fence.TASK,
    to={},
    books=dict.fromkeys((P.REFUNDED, P.WRITTEN_OFF), P.STRAY),
    books_late=True,
    has_task=True,
    settles_candidate=True,
)

# -- people -------------------------------------------------------------------------------------------------------
CANCEL_UNBOUGHT = Move(name="cancel_unbought", to=dict.fromkeys((S.QUEUED, S.UPLOADING, S.READY), S.CANCELLED))
CANCEL_ARMED = Move(  # nothing was sent for it, unless the server has been another one since
    name="cancel_armed",
    fence=Fence.NONCE,
    to={S.ARMED: S.CANCELLED},
    other_server={S.ARMED: S.CANCELLING},
    books={P.OPEN: P.NOT_SENT},
    has_task=False,
    frees_slot=True,
    rate_slot="free",
)
CANCEL_BOUGHT = Move(  # the vendor can't be told; the verdict is awaited, and a paid result kept
    name="cancel_bought",
    fence=Fence.NONCE,
    to=dict.fromkeys((S.SUBMITTING, S.SUBMIT_UNKNOWN, S.RUNNING), S.CANCELLING),
    books={P.OPEN: P.OPEN},
)
MOVES = {move.name: move for move in vars().copy().values() if isinstance(move, Move)}
