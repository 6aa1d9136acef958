"""What the tests of one process share since it is slow to start: sandboxes, and the nursery that forks workers."""

from __future__ import annotations

import atexit
from functools import cache

from motionq_ops.nursery import Nursery
from motionq_ops.sandbox.process import SandboxProcess

# What the commands that people type import, most of it only for its verb.
COMMANDS = (
    *("motionq_ops.cli", "motionq_ops.doctor.verb", "motionq_ops.credits"),
    *("motionq.verbs.acting", "motionq.verbs.looking", "motionq.verbs.submitting", "motionq.verbs.waiting"),
)

_idle: list[SandboxProcess] = []


@cache
def nursery() -> Nursery:
    """The nursery of this test process."""
    started = Nursery(libraries=COMMANDS).__enter__()
    atexit.register(started.__exit__)
    return started


def borrow_sandbox() -> SandboxProcess:
    """A sandbox that nobody else uses, as at its start."""
    if _idle:
        return _idle.pop()
    started = SandboxProcess().start()
    atexit.register(started.stop)
    return started


def give_back(sandbox: SandboxProcess) -> None:
    """Its tasks, ledger, faults, accounts and switches are forgotten for the next one."""
    sandbox.reset()
    _idle.append(sandbox)
