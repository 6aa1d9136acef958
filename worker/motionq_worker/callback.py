"""The callback receiver as a program: `uvicorn motionq_worker.callback:app` is right as it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial

from motionq.contract.connection import connect, reachable
from motionq.contract.errors import InvalidSettings, MotionQueueError
from motionq.contract.keys import Keys
from motionq.contract.redact import without_secrets
from motionq.contract.settings import Settings, load
from motionq.contract.store import ORPHANS_KEPT, JobStore
from motionq.wakeup import Wakeup
from motionq_worker import observability
from motionq_worker.metering import Courier, Meter, Reports
from motionq_worker.probe import proofs
from motionq_worker.receiver import STORE_SECONDS, Named, Receiver
from motionq_worker.waker import Waker

# Characters of a path in an access line: three times what a callback's has.
_LONGEST_SHOWN = 300


def _set_up_logs(settings: Settings) -> None:
    """Uvicorn's access lines hold the path, whose last part is a capability: they go through our filter."""
    observability.configure(settings)
    observability.take_over("uvicorn", "uvicorn.access", "uvicorn.error")
    logging.getLogger("uvicorn.access").addFilter(_shorten)
    logging.getLogger("uvicorn.asgi").disabled = True  # `--log-level trace` would print whole requests


def _shorten(record: logging.LogRecord) -> bool:
    """A stranger may ask for a path of 60 kB, and would fill the disk with it: the line holds its beginning."""
    if isinstance(record.args, tuple):
        record.args = tuple(_beginning(value) if isinstance(value, str) else value for value in record.args)
    return True


def _beginning(value: str) -> str:
    if len(value) <= _LONGEST_SHOWN:
        return value
    # Cleaned before it is cut, for half a nonce would no longer be known for one.
    return without_secrets(value[: 4 * _LONGEST_SHOWN])[:_LONGEST_SHOWN] + "…"


def _key(settings: Settings) -> bytes | None:
    """The webhook's key; None takes unsigned calls, and so would an empty one. Raises InvalidSettings for that."""
    if settings.kie_webhook_hmac_key is None:
        return None
    key = settings.kie_webhook_hmac_key.get_secret_value().encode()
    if not key:
        raise InvalidSettings("KIE_WEBHOOK_HMAC_KEY is empty: leave it out to take unsigned callbacks")
    return key


def _receiver(settings: Settings) -> Receiver:
    # Neither call may outlast the vendor's patience: a server that hangs must not tie up the threads either.
    patience = {"read_timeout": STORE_SECONDS / 2, "connect_timeout": min(settings.connect_timeout, STORE_SECONDS / 2)}
    redis = connect(settings.model_copy(update=patience))
    store = JobStore(redis, Keys(settings.namespace), job_ttl=settings.job_ttl)
    wakeup = Wakeup(settings, redis)
    meter = Meter()
    courier = Courier(Reports(meter, store))

    def end() -> None:
        wakeup.close()
        courier.close()
        redis.close()

    return Receiver(
        partial(_name_tasks, store),
        _key(settings),
        Waker(wakeup.send, end),
        partial(proofs, store),
        partial(_count, meter, courier),
    )


def _count(meter: Meter, courier: Courier, outcome: str) -> None:
    meter.add("callback", outcome)
    if not outcome.startswith("refused"):
        meter.see("callback", 1)
    courier.soon()


def _name_tasks(store: JobStore, named: Sequence[Named]) -> list[str]:
    """`JobStore.name_task` for several, in one round trip; an empty word for each that the server refused.

    Raises QueueUnavailable.
    """
    pipe = store.redis.pipeline(transaction=False)
    for one in named:
        argument = {"id": one.job_id, "nonce": one.nonce, "task": one.task_id, "orphans": ORPHANS_KEPT}
        store.scripts.run("candidate", argument, pipe)
    with reachable():
        answers = pipe.execute(raise_on_error=False)
    return [answer if isinstance(answer, str) else "" for answer in answers]


def _build() -> Receiver:
    try:
        settings = load(dotenv=True)
        _set_up_logs(settings)
        return _receiver(settings)
    except MotionQueueError as error:
        print(f"motionq: {error}", file=sys.stderr)
        raise SystemExit(2) from None


app = _build()
