"""A local lab that stays up from one run to the next: bringing it up takes longer than a plain cell."""

from __future__ import annotations

import time
from dataclasses import replace

from chaos.errors import LabError
from chaos.lab.local import LocalLab
from chaos.lab.state import Running
from chaos.services import deployment, mariadb
from topologies.model import Galera, Topology

TOKENS = (
    "access_token",
    "access_token_permissions",
    "authentication_holder",
    "authentication_holder_authority",
    "authentication_holder_extension",
    "authentication_holder_request_parameter",
    "authentication_holder_resource_id",
    "authentication_holder_response_type",
    "authentication_holder_scope",
    "refresh_token",
    "saved_user_auth",
    "saved_user_auth_authority",
    "saved_user_auth_info",
    "token_scope",
)
"""Tables that hold nothing when a lab comes up, and that every load fills (chaos/iam/schema.sql)."""

REST = 2.0
"""Seconds in which connections get used to changed round trips."""

PATIENCE = 30.0
"""Seconds for a deployment to settle after a fault."""


class StandingLab(LocalLab):
    """A lab whose `down` does nothing until `close`, and whose second `up` refits what is there."""

    slowness = 0.75
    """Generators start sooner than usual: their modules are in memory, another load has just used them."""

    deployed: Topology | None = None

    def up(self, topology: Topology) -> None:
        """Bring the lab up, or make the one that is up as if it had just come up with ``topology``.

        Raises:
            LabError: as `LocalLab.up`, or what is up cannot become ``topology``.
        """
        if self.deployed is None:
            super().up(topology)
        else:
            self._refit(topology)
        self.deployed = topology

    def down(self, *, keep_logs: bool = False) -> None:
        """Leave the lab up; remove what a first `up` could not finish."""
        if self.deployed is None:
            super().down(keep_logs=keep_logs)

    def close(self) -> None:
        """Take the lab down for good; safe to call again."""
        self.deployed = None
        super().down()

    def _refit(self, topology: Topology) -> None:
        before = self._required().topology
        without_links = [one.model_copy(update={"links": []}) for one in (before, topology)]
        if without_links[0] != without_links[1]:
            raise LabError("what is up differs in more than its links: close it first")
        for link in topology.links:
            self._wan.relink(link)
        self._file.update(lambda state: replace(state, topology=topology, load=None, windows=()))
        self._settle()
        self._empty()
        if before.links != topology.links:
            self.clock.sleep(REST)

    def _settle(self) -> None:
        state = self._required()
        deadline = time.monotonic() + PATIENCE
        waiting = list(state.daemons)
        while waiting:
            waiting = [one for one in waiting if not deployment.is_settled(state.topology, one.daemon())]
            if waiting and time.monotonic() > deadline:
                raise LabError(f"{waiting[0].component} did not settle within {PATIENCE:g} s")
            if waiting:
                time.sleep(0.2)

    def _empty(self) -> None:
        """Forget all tokens: a scan of a full table would take longer than one of an empty table."""
        state = self._required()
        for service in state.topology.services_of(Galera):
            member: Running = next(one for one in state.daemons if one.service == service)
            connection = mariadb.connect(member.daemon(), mariadb.DATABASE, timeout=PATIENCE)
            with connection, connection.cursor() as cursor:
                cursor.execute("SET SESSION foreign_key_checks = 0")
                for table in TOKENS:
                    cursor.execute(f"TRUNCATE TABLE {table}")
