"""Celery's consumer without mingle and gossip: motionq has no use for them, and mingle costs a second per start."""

from __future__ import annotations

from celery.worker.consumer import Consumer

_LEFT_OUT = ("celery.worker.consumer.mingle:Mingle", "celery.worker.consumer.gossip:Gossip")


class QuietConsumer(Consumer):
    """What `--without-mingle --without-gossip` would do, for a bare `celery worker`."""

    class Blueprint(Consumer.Blueprint):
        """The steps of a consumer."""

        default_steps = tuple(step for step in Consumer.Blueprint.default_steps if step not in _LEFT_OUT)
