"""A client's view of the DNS balancer: an answer kept for a fixed time, whatever its TTL.

Runtimes cache like this (JVM `networkaddress.cache.ttl`, components.md 5.5), and it is what
makes a DNS failover take longer than its TTL.
"""

from __future__ import annotations

from collections.abc import Sequence

import dns.exception
import dns.message
import dns.rdatatype

QUERY_TIMEOUT = 2.0
"""Seconds to wait for an answer before the query counts as failed."""


class CachedAnswer:
    """The addresses one client knows, and until when it believes them.

    Args:
        name: host name to ask for.
        keep: seconds an answer is kept.
    """

    def __init__(self, name: str, keep: float) -> None:
        self.name = name
        self._keep = keep
        self._until = float("-inf")
        self.addresses: Sequence[str] = ()

    def is_fresh(self, now: float) -> bool:
        """Whether the client still believes its answer at ``now`` (seconds, any fixed origin)."""
        return now < self._until and bool(self.addresses)

    def query(self) -> dns.message.QueryMessage:
        """The question to send."""
        return dns.message.make_query(self.name, dns.rdatatype.A)

    def accept(self, response: dns.message.Message, now: float) -> None:
        """Take an answer; an empty one is not kept, so the next request asks again."""
        self.addresses = sorted(
            record.address for rrset in response.answer if rrset.rdtype == dns.rdatatype.A for record in rrset
        )
        self._until = now + self._keep if self.addresses else float("-inf")
