"""One status, read beside the batches: for it the account's rate of reads (MOTIONQ_READ_RATE) counts as well."""

from __future__ import annotations

import time

from motionq_worker.kie.errors import Unavailable
from motionq_worker.kie.messages import Reading
from motionq_worker.services import Services

_PATIENCE = 5.0  # seconds for which there may be no room
_LOOK = 0.05


def read_status(s: Services, task_id: str) -> Reading:
    """What kie.ai says about a task now; raises a free call's fault, also where the rate leaves no room."""
    ends = time.monotonic() + _PATIENCE
    while not s.store.may_read(1, s.settings.read_rate):
        if time.monotonic() > ends:
            raise Unavailable("MOTIONQ_READ_RATE leaves no room to read it")
        time.sleep(_LOOK)
    return s.kie.read(task_id)
