"""Says over HTTP whether the database server of this pod serves: a TCP probe would not see a lost quorum.

* `/ready`: 200 when it serves; a Galera member outside of the primary component does not.
* `/live`: 200 while the server is not given up, also when it does not serve.
* `/state`: JSON for the other members and for whoever measures: role, position, status variables.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET
from typing import Any

import pymysql

ANSWER_WITHIN = 1.0


def ask(socket: Path, *statements: str) -> list[list[dict[str, Any]]]:
    """The rows of each statement, asked as the administrator over the server's socket file.

    Raises:
        pymysql.err.MySQLError: no answer.
    """
    connection = pymysql.connect(
        unix_socket=str(socket),
        user="root",
        connect_timeout=ANSWER_WITHIN,
        read_timeout=ANSWER_WITHIN,
        write_timeout=ANSWER_WITHIN,
        cursorclass=pymysql.cursors.DictCursor,
    )
    try:
        found = []
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                found.append(list(cursor.fetchall()))
        return found
    finally:
        connection.close()


class Health:
    """What this pod answers.

    Args:
        socket: of the server.
        clustered: whether it is a Galera member.
    """

    def __init__(self, socket: Path, clustered: bool) -> None:
        self._socket = socket
        self._clustered = clustered
        self.looking: str | None = "" if clustered else None
        """The member's position, as far as known, until it starts its server; None from then on. Others
        must not take a member for running that has not made up its mind: they would join each other."""

    def is_ready(self) -> bool:
        """Whether the server serves."""
        if self.looking is not None:
            return False
        question = "SHOW GLOBAL STATUS LIKE 'wsrep_ready'" if self._clustered else "SELECT 'ON' AS Value"
        try:
            [[answer]] = ask(self._socket, question)
        except (pymysql.err.MySQLError, OSError, ValueError):
            return False
        return str(answer["Value"]) == "ON"

    def state(self) -> dict[str, Any]:
        """What other members and observers want to know."""
        found: dict[str, Any] = {"looking": self.looking is not None, "position": self.looking}
        if self.looking is None:
            try:
                status, replica = ask(
                    self._socket,
                    "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep\\_%' OR Variable_name = 'Uptime'",
                    "SHOW SLAVE STATUS",
                )
            except (pymysql.err.MySQLError, OSError) as error:
                return {**found, "error": str(error)}
            found["status"] = {str(row["Variable_name"]).lower(): str(row["Value"]) for row in status}
            found["replica"] = (
                {key: replica[0][key] for key in _REPLICA if key in replica[0]} if replica else {}
            )
        return found

    def answer(self, path: str) -> tuple[int, str]:
        """Status and body for a path."""
        if path == "/live":
            return 200, "{}"
        if path == "/ready":
            return (200, "{}") if self.is_ready() else (503, "{}")
        if path == "/state":
            return 200, json.dumps(self.state())
        return 404, "{}"


_REPLICA = ("Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master", "Master_Host")


def serve(health: Health, port: int) -> ThreadingHTTPServer:
    """Answer on ``port`` from now on, in the background."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            status, text = health.answer(self.path)
            body = text.encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a probe every other second is no news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def server_bind(self) -> None:
            # HTTPServer's own looks up the host's name, which may wait for a DNS server that is away.
            self.socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = "", self.server_address[1]

    server = Server(("0.0.0.0", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
