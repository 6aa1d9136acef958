"""The callback receiver as a program: `uvicorn motionq_worker.callback:app` is right as it is."""

from __future__ import annotations

import logging
import sys

from motionq.contract.connection import connect
from motionq.contract.errors import MotionQueueError
from motionq.contract.keys import Keys
from motionq.contract.settings import load
from motionq.contract.store import JobStore
from motionq_worker import observability
from motionq_worker.receiver import Receiver


class _WithoutNonces(logging.Filter):
    """Uvicorn's access lines hold the path, and the path's last part is a capability."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(observability.without_nonce(a) if isinstance(a, str) else a for a in record.args)
        return True


def _build() -> Receiver:
    try:
        settings = load(dotenv=True)
        store = JobStore(connect(settings), Keys(settings.namespace), job_ttl=settings.job_ttl)
    except MotionQueueError as error:
        print(f"motionq: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    logging.getLogger("uvicorn.access").addFilter(_WithoutNonces())
    key = settings.kie_webhook_hmac_key
    return Receiver(store.name_task, key.get_secret_value().encode() if key else None)


app = _build()
