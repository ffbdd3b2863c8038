"""Serving a replica: one gunicorn worker with threads, the shape of an embedded Tomcat."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication

from chaos.iam.app import Application, create
from chaos.iam.config import Config

KEEP_ALIVE = 60
"""Seconds an idle client connection stays open (Tomcat's connection timeout in Spring Boot)."""

MAX_CONNECTIONS = 8192
"""Open client connections (Tomcat maxConnections)."""

GRACE = 5
"""Seconds for requests under way after SIGTERM."""


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured from a replica's configuration instead of its own command line."""

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        settings: dict[str, Any] = {
            "bind": self._config.listen,
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._config.threads,
            "worker_connections": MAX_CONNECTIONS,
            "backlog": self._config.backlog,
            "keepalive": KEEP_ALIVE,
            # A stopped worker must stay stopped until somebody continues it: no watchdog.
            "timeout": 0,
            "graceful_timeout": GRACE,
            "loglevel": "error",
            "proc_name": f"iam-{self._config.instance}",
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Application:
        """Build the application; called in the worker, after the fork, because it starts threads."""
        return create(self._config)
