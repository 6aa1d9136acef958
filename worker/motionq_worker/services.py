"""The composition root: what the steps of a job need, built once per worker process, connected on first use."""

from __future__ import annotations

import contextlib
from functools import cached_property

from redis.exceptions import RedisError

from motionq.contract.connection import connect
from motionq.contract.errors import MotionQueueError
from motionq.contract.keys import Keys
from motionq.contract.settings import Settings
from motionq.contract.store import JobStore
from motionq.staging import Staging
from motionq_worker.balance import Balance
from motionq_worker.decisions import Rules
from motionq_worker.delivery import Delivery
from motionq_worker.estimates import Estimates
from motionq_worker.gate import Gate
from motionq_worker.journal import Journal
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.poller import Poller
from motionq_worker.leases import Leases
from motionq_worker.metering import Meter, Reports
from motionq_worker.pauses import fingerprint
from motionq_worker.prober import Prober
from motionq_worker.restored import Beat
from motionq_worker.settings import account, exempt_hosts, rules, vendor_host
from motionq_worker.sweeper import Sweeper
from motionq_worker.tallies import Tallies
from motionq_worker.uploads import Fetching, Uploads


class Services:
    """Everything a step may use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rules: Rules = rules(settings)
        self.store = JobStore(
            connect(settings),
            Keys(settings.namespace),
            job_ttl=settings.job_ttl,
            rate_window=settings.submit_rate[1],
        )
        self.gate = Gate(self.store, settings)
        self.estimates = Estimates(self.store, settings)
        # Workers of other queues, or of a sandbox, may share the folder.
        self.journal = Journal(settings.data_dir / "journal" / f"{settings.namespace}@{vendor_host(settings)}")
        self.beat = Beat(self.store, settings.data_dir)
        self.leases = Leases(self.store, settings.step_lease)
        self.meter = Meter()
        self.reports = Reports(self.meter, self.store)
        self.tallies = Tallies(self.store)

    @cached_property
    def kie(self) -> KieClient:
        """The vendor."""
        return KieClient(account(self.settings), self.meter)

    @cached_property
    def prober(self) -> Prober:
        """The eye on a closed gate."""
        key = self.settings.kie_api_key
        return Prober(self.store, self.kie, fingerprint(key.get_secret_value()) if key else "")

    @cached_property
    def balance(self) -> Balance:
        """The look at what the account has left."""
        return Balance(self.store, self.kie)

    @cached_property
    def sweeper(self) -> Sweeper:
        """Who removes staged files that no job needs."""
        return Sweeper(self.store, self.settings.staging, self.settings.staging_ttl)

    @cached_property
    def poller(self) -> Poller:
        """The window through which waiting tasks are read."""
        return Poller(account(self.settings), meter=self.meter)

    @cached_property
    def uploads(self) -> Uploads:
        """Files on their way to the vendor."""
        return Uploads(
            self.store,
            Staging(self.settings.staging),
            self.kie,
            self._fetching,
            ttl=self.settings.upload_ttl,
            lease=self.settings.step_lease,
            meter=self.meter,
        )

    @cached_property
    def delivery(self) -> Delivery:
        """Videos on their way back."""
        return Delivery(self.settings.results, self._fetching)

    @property
    def _fetching(self) -> Fetching:
        return Fetching(
            exempt=exempt_hosts(self.settings),
            connect_timeout=self.settings.connect_timeout,
            read_timeout=self.settings.read_timeout,
        )

    def close(self) -> None:
        """Ends threads and connections."""
        self.leases.close()
        for name in ("sweeper", "prober", "balance", "poller", "kie"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
        with contextlib.suppress(MotionQueueError, RedisError):
            self.reports.send()
        self.store.redis.close()
