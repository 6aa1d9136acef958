"""What a fault of a free step means for the job: try again, or say clearly why not. Pure functions."""

from __future__ import annotations

from motionq.contract import states
from motionq.contract.errors import InvalidJob, InvalidSettings
from motionq.contract.record import Record
from motionq_worker.addresses import ForbiddenAddress
from motionq_worker.decisions import Decision, Pause, failed
from motionq_worker.delivery import NoVideo
from motionq_worker.fetch import FetchFailed
from motionq_worker.inspection import Unreadable
from motionq_worker.kie.errors import CallRefused, KeyRefused, KieFault
from motionq_worker.schedule import retry_in
from motionq_worker.uploads import UploadBusy

# Faults with a sentence of their own. Anything else is a defect of ours, or of a storage's driver: it is logged with
# its traceback, tried again, and shown by its kind only, since its words may hold anything.
KNOWN = (
    *(InvalidJob, InvalidSettings, Unreadable, ForbiddenAddress, FetchFailed, KieFault, UploadBusy, NoVideo),
    OSError,
)

_KEY = 60.0  # seconds between two tries with a key that the vendor refuses


def upload_fault(error: Exception, record: Record, attempts: int) -> Decision:
    """What an exception of the upload step means."""
    if isinstance(error, UploadBusy):
        return Decision(move=states.RETRY_UPLOAD, set={"turns": 0}, alarm_in=error.wait, note=str(error), quiet=True)
    if isinstance(error, KeyRefused):
        pause = Pause(reason="key_refused", message=error.message)
        return Decision(move=states.RETRY_UPLOAD, set={"turns": 0}, alarm_in=_KEY, note=sentence(error), pause=pause)
    if reason := _final_upload(error):
        return Decision(move=states.FAIL_UPLOAD, set=failed(reason, sentence(error)), note=sentence(error))
    if record.tries + 1 >= attempts:
        message = f"{sentence(error)} ({attempts} tries)"
        reason = "staging_lost" if isinstance(error, FileNotFoundError) else "upload_failed"
        return Decision(move=states.FAIL_UPLOAD, set=failed(reason, message), note=message)
    return Decision(
        move=states.RETRY_UPLOAD,
        set={"turns": 0},
        add={"tries": 1},
        alarm_in=retry_in(record.tries),
        note=sentence(error),
    )


def _final_upload(error: Exception) -> str | None:
    if isinstance(error, InvalidJob | Unreadable | ForbiddenAddress):
        return "invalid_media"
    if isinstance(error, FetchFailed) and error.permanent:
        return "invalid_media"
    if isinstance(error, CallRefused):
        return "upload_refused"
    return None


def delivery_fault(error: Exception, record: Record, attempts: int, now: int) -> Decision:
    """What an exception of the deliver step means: the video is paid for, so it is tried until its address expires."""
    expired = now >= int(record.verdict.get("expires_at") or 0)
    if expired or (record.tries + 1 >= attempts and _hopeless(error)):
        failure = failed("delivery_failed", sentence(error), charged="yes")
        return Decision(move=states.BOOK_FAILURE, set=failure, note=sentence(error))
    return Decision(
        move=states.RETRY_DELIVER,
        set={"turns": 0},
        add={"tries": 1},
        alarm_in=retry_in(record.tries),
        note=sentence(error),
        quiet=_told_before(record.tries),
    )


def _hopeless(error: Exception) -> bool:
    """Whether waiting does not help: an address that may not be fetched, a file that is too large or no video.

    A file that is refused or missing may still come: the vendor's servers can lag, and the task is read again.
    """
    if isinstance(error, FetchFailed):
        return error.permanent and error.status in (None, 200)
    return isinstance(error, Unreadable) and error.certain


def _told_before(tries: int) -> bool:
    """Of what goes on for days the history has the first tries, and then each time their number has doubled."""
    return tries > 8 and tries & (tries - 1) != 0


def sentence(error: Exception) -> str:
    """One line that may be shown: the words of our own errors, else the kind and the operating system's words."""
    ours = isinstance(error, KNOWN) and not isinstance(error, OSError)
    if ours or (isinstance(error, FileNotFoundError) and len(error.args) == 1):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"storage: {error.strerror}"
    return type(error).__name__
