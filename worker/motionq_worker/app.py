"""The Celery application, and the only file with Celery settings: `celery -A motionq_worker.app worker` is right as is.

The facts behind the settings were measured; see docs/decisions/0002.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from typing import Any

from celery import Celery
from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_ready,
    worker_shutdown,
)
from kombu.entity import Queue

from motionq.broker import broker_options, broker_tls, broker_url
from motionq.contract.errors import InvalidSettings, MotionQueueError, QueueUnavailable
from motionq.contract.keys import QUEUES, Keys
from motionq.contract.settings import Settings, load
from motionq_worker import ending, flower_config, observability, scratch, startup
from motionq_worker.clock import ClockStep
from motionq_worker.kept_clients import keep_clients
from motionq_worker.services import Services
from motionq_worker.settings import load_worker, vendor_host


def _or_one_line(read: Any) -> Any:
    """Settings that are wrong end the program with one line, not with a traceback."""
    try:
        return read()
    except MotionQueueError as error:
        print(f"motionq: {error}", file=sys.stderr)
        raise SystemExit(2) from None


class MotionqCelery(Celery):
    """Celery with what motionq's steps need, made on first use in each process."""

    motionq_clock: Any = None
    motionq_worker: str | None = None
    motionq_looked = False

    def motionq_setup(self, settings: Settings) -> None:
        """Remembers the settings; connects nothing."""
        self.motionq_settings = settings
        self.motionq_keys = Keys(settings.namespace)
        self._motionq_services: Services | None = None
        self._motionq_lock = threading.Lock()

    def motionq_services(self) -> Services:
        """The services of this process."""
        with self._motionq_lock:
            if self._motionq_services is None:
                self._motionq_services = Services(self.motionq_settings)
            return self._motionq_services

    def motionq_ending(self) -> None:
        """The worker was told to stop."""
        ending.begin(self.motionq_services(), self.motionq_worker or "")

    def motionq_close(self) -> None:
        """Ends the services' threads and connections."""
        with self._motionq_lock:
            if self._motionq_services is not None:
                self._motionq_services.close()
                self._motionq_services = None


def make_app(settings: Settings) -> MotionqCelery:
    """The configured application."""
    made = MotionqCelery("motionq", include=["motionq_worker.tasks"])
    made.motionq_setup(settings)
    keys = made.motionq_keys
    made.conf.update(
        broker_url=broker_url(settings.server()),
        broker_use_ssl=broker_tls(settings.server()),
        broker_transport_options=broker_options(settings),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_pool="threads",
        worker_consumer="motionq_worker.consumer:QuietConsumer",
        worker_concurrency=settings.concurrency,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        task_queues=[Queue(keys.queue_name(step), routing_key=keys.queue_name(step)) for step in QUEUES],
        task_default_queue=keys.queue_name("start"),
        task_create_missing_queues=False,
        task_acks_late=False,  # the alarm clock is what recovers
        task_ignore_result=True,  # the job's record is the result
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        enable_utc=True,
        timezone="UTC",
    )
    made.steps["consumer"].add(ClockStep)
    keep_clients()
    return made


def _from_environment() -> MotionqCelery:
    settings = load(dotenv=True)
    _name_all_that_is_missing(settings)
    if flower_config.prepare(sys.argv, os.environ, settings.data_dir):
        observability.configure(settings, secrets=flower_config.secrets(sys.argv, os.environ))
    return make_app(settings)


def _name_all_that_is_missing(settings: Settings) -> None:
    try:
        settings.server()
    except QueueUnavailable as error:
        without_key = "worker" in sys.argv and settings.kie_api_key is None
        raise InvalidSettings(f"{error}; KIE_API_KEY is not set" if without_key else str(error)) from None


app = _or_one_line(_from_environment)


@celeryd_init.connect
def _name_the_worker(sender: str | None = None, instance: Any = None, **_: Any) -> None:
    app.motionq_worker = sender
    instance.quiet = instance.quiet or observability.as_json(app.motionq_settings)  # Celery's banner is no JSON


@setup_logging.connect
def _logging(**_: Any) -> None:
    observability.configure(app.motionq_settings, worker=app.motionq_worker)


@task_prerun.connect
def _say_which_step(sender: Any = None, task_id: str = "", **_: Any) -> None:
    observability.begin_step(sender.name, task_id)


@task_postrun.connect
def _say_no_step(**_: Any) -> None:
    observability.end_step()


@celeryd_init.connect
def _refuse_workers_without_an_account(**_: Any) -> None:
    _or_one_line(load_worker)


@celeryd_after_setup.connect
def _refuse_other_pools(instance: Any = None, **_: Any) -> None:
    """Only the threads pool runs motionq's steps as they were built: one event loop and one clock per process."""
    _or_one_line(lambda: startup.check_pool(str(instance.pool_cls), sys.argv))
    tempfile.tempdir = str(scratch.make())
    _look_at_the_server()


@worker_ready.connect
def _look_at_the_server(**_: Any) -> None:
    """Until it has answered once: a server that is away when the worker starts is refused when it is back."""
    if not app.motionq_looked:
        app.motionq_looked = _or_one_line(_server_is_fit)


def _server_is_fit() -> bool:
    services = app.motionq_services()
    return startup.look_at_the_server(services.store, vendor_host(services.settings))


@worker_shutdown.connect
def _close(**_: Any) -> None:
    app.motionq_close()
    scratch.sweep()
