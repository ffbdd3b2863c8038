"""Login sessions in Redis behind Sentinel, laid out as Spring Session does it.

Only requests that carry a SESSION cookie read Redis (one HGETALL, from the primary); only logins
write it, six commands one after the other (facts/iam.md section 5).
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Protocol

import redis
from redis.sentinel import Sentinel

from chaos.iam.config import RedisConfig

PREFIX = "iam:session:"
TIMEOUT = 1800
"""Seconds of inactivity a session survives (INDIGO's default)."""

GRACE = 300
"""Seconds the hash outlives its shadow key, so that expiry events still find it."""


class SessionStoreError(Exception):
    """Redis did not answer; the request fails with 500 after the command timeout."""


class Sessions(Protocol):
    """Where sessions are kept."""

    def create(self, username: str) -> str:
        """Store a new session and return its id."""

    def read(self, session_id: str) -> str | None:
        """User name of a session, None when there is no such session."""


class RedisSessions:
    """Sessions on the primary that the sentinels name at the moment of each connection."""

    def __init__(self, config: RedisConfig) -> None:
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            config.sentinels,
            # Asking a sentinel must fail over to the next one long before the command times out.
            sentinel_kwargs={"socket_timeout": min(1.0, config.timeout)},
            socket_timeout=config.timeout,
            socket_connect_timeout=min(10.0, config.timeout),
        )
        self._primary: Any = sentinel.master_for(config.master)

    def create(self, username: str) -> str:
        """Store a session: six write commands in sequence.

        Raises:
            SessionStoreError: no primary, or it did not answer.
        """
        session_id = str(uuid.uuid4())
        now = int(time.time())
        hash_key = f"{PREFIX}sessions:{session_id}"
        minute = (now + TIMEOUT) // 60 * 60 + 60
        fields = {
            "creationTime": now * 1000,
            "lastAccessedTime": now * 1000,
            "maxInactiveInterval": TIMEOUT,
            "sessionAttr:username": username,
        }
        try:
            self._primary.hset(hash_key, mapping=fields)
            self._primary.sadd(f"{PREFIX}expirations:{minute}", f"expires:{session_id}")
            self._primary.expire(f"{PREFIX}expirations:{minute}", TIMEOUT + GRACE)
            self._primary.set(f"{PREFIX}sessions:expires:{session_id}", "", ex=TIMEOUT)
            self._primary.expire(hash_key, TIMEOUT + GRACE)
            self._primary.sadd(f"{PREFIX}index:{username}", session_id)
        except redis.RedisError as error:
            raise SessionStoreError(str(error)) from error
        return session_id

    def read(self, session_id: str) -> str | None:
        """Read a session: one HGETALL.

        Raises:
            SessionStoreError: no primary, or it did not answer.
        """
        try:
            fields = self._primary.hgetall(f"{PREFIX}sessions:{session_id}")
        except redis.RedisError as error:
            raise SessionStoreError(str(error)) from error
        username = fields.get(b"sessionAttr:username")
        last_access = int(fields.get(b"lastAccessedTime", 0)) / 1000
        if username is None or last_access + TIMEOUT < time.time():
            return None
        return str(username.decode())
