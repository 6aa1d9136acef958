"""Celery's consumer without mingle and gossip: motionq has no use for them, and mingle costs a second per start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.worker.consumer import Consumer
from kombu.common import ignore_errors

from motionq.contract.redact import without_secrets

_EVENTS = 0.25  # seconds for which events for Flower wait for others
_WITHOUT = {"without_mingle": True, "without_gossip": True}


class QuietConsumer(Consumer):
    """What `--without-mingle --without-gossip` would do, for a bare `celery worker`.

    Both are switched off, not left out of the steps: Celery's step Tasks requires Mingle, and would bring it back.
    """

    class Blueprint(Consumer.Blueprint):
        """The steps of a consumer, and what they tell of themselves."""

        def info(self, parent: Any) -> dict[str, Any]:
            """For `celery inspect stats` and Flower. Of a unix socket's address Celery would tell the password."""
            return {name: _shown(value) for name, value in super().info(parent).items()}

    def __init__(self, *arguments: Any, worker_options: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*arguments, worker_options={**(worker_options or {}), **_WITHOUT}, **options)
        self._unsent = False

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery's own, and the clock of the events: one by one they were a seventh of a worker's processor time."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(_EVENTS, self._send_events)

    def on_send_event_buffered(self) -> None:
        """Events for Flower wait for others; Celery would send them in this turn of its loop."""
        self._unsent = True

    def stop(self) -> None:
        """The worker stops: from now on its steps end, and none begins."""
        self.app.motionq_ending()
        self._send_events()
        super().stop()

    def shutdown(self) -> None:
        """The steps have ended: what they said last for Flower must not stay behind."""
        ignore_errors(self, self._send_events)
        super().shutdown()

    def _send_events(self) -> None:
        if self._unsent:
            self._unsent = False
            self._flush_events()


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: "…" if "password" in str(name) else _shown(inner) for name, inner in value.items()}
    return without_secrets(value) if isinstance(value, str) else value
