"""`motionq exporter`: answers Prometheus over HTTP, on the loopback address unless told otherwise."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector

from motionq.contract.connection import connect
from motionq.contract.errors import QueueUnavailable
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings, load
from motionq.contract.store import JobStore
from motionq.output import Code, WrongUsage, say
from motionq_ops.exporter.figures import Limits, families, gauge
from motionq_ops.exporter.reading import read
from motionq_ops.stop import Stopped, stops_on_signals
from motionq_worker import observability

_PATIENCE = 4.0  # seconds for the server's answer; Prometheus gives up after 10

_log = logging.getLogger(__name__)


class Figures(Collector):
    """The figures at the moment of each scrape."""

    def __init__(self, store: JobStore, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        """Every metric; of a server that can't be reached only that it can't."""
        began = time.monotonic()
        found = self._look()
        yield gauge("up", "1 if the queue's server answered this scrape", bool(found))
        yield from found
        yield gauge("scrape_seconds", "how long reading the figures took", time.monotonic() - began)

    def _look(self) -> list[Metric]:
        try:
            return list(families(read(self._store), self._limits))
        except QueueUnavailable as error:
            _log.warning("no figures: %s", error)
        except Exception as error:  # its text might show more than figures
            _log.error("no figures: %s", type(error).__name__)
        return []


def exporter(*, host: str, port: int) -> int:
    """Serve until a signal ends it; returns the exit code. Raises InvalidSettings, QueueUnavailable, WrongUsage."""
    settings = load(dotenv=True)
    observability.configure(settings)
    store = JobStore(connect(_patient(settings)), Keys(settings.namespace))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(store, limits(settings)))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise WrongUsage(f"can't listen on {host}:{port}: {error.strerror or error}", field="port") from None
    try:
        with stops_on_signals():
            say(f"motionq: metrics at http://{_in_url(host)}:{server.server_port}/metrics")
            while True:
                signal.pause()
    except Stopped:
        return Code.DONE
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
        store.redis.close()


def limits(settings: Settings) -> Limits:
    """What the figures are held against."""
    return Limits(
        submit_rate=settings.submit_rate[0],
        max_in_flight=settings.max_in_flight,
        credits_per_day=settings.max_credits_per_day,
        callbacks=settings.public_base_url is not None,
    )


def _patient(settings: Settings) -> Settings:
    short = {
        "read_timeout": min(settings.read_timeout, _PATIENCE),
        "connect_timeout": min(settings.connect_timeout, _PATIENCE),
    }
    return settings.model_copy(update=short)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
