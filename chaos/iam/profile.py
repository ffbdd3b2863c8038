"""CPU per request of the service and of its database, one client, nothing else on the machine.

`python -m chaos.iam.profile` runs a sandbox and prints one row per request type. Other work on the machine
distorts wall times much and CPU times little.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chaos.errors import LabError
from chaos.iam.sandbox import database, replica
from chaos.iam.schema import LOADTEST, PASSWORD, TOKEN_EXCHANGE, Seed

TICKS = os.sysconf("SC_CLK_TCK")
WARM_UP = 20
USER_SCOPES = "openid profile email offline_access"


def cpu_seconds(process: int) -> float:
    """User and system time a process and its threads have used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def only_child(process: int) -> int:
    """The one child of ``process``: gunicorn's worker."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


class Client:
    """A keep-alive HTTP client that costs little itself."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port)
        credentials = base64.b64encode(f"{LOADTEST.client_id}:{LOADTEST.secret}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    def post(self, path: str, **form: str) -> dict[str, Any]:
        """Send a form; return the JSON answer.

        Raises:
            LabError: the answer was not 200.
        """
        self._http.request("POST", path, urlencode(form), self._headers)
        return self._read()

    def get(self, path: str, bearer: str = "") -> dict[str, Any]:
        """Ask for a page; return the JSON answer."""
        self._http.request("GET", path, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
        return self._read()

    def _read(self) -> dict[str, Any]:
        response = self._http.getresponse()
        body = response.read()
        if response.status != 200:
            raise LabError(f"HTTP {response.status}: {body.decode(errors='replace')}")
        return dict(json.loads(body)) if body else {}


def requests(client: Client) -> dict[str, Callable[[], object]]:
    """One function per request type."""

    def password() -> dict[str, Any]:
        return client.post(
            "/token", grant_type="password", username="test1", password=PASSWORD, scope=USER_SCOPES
        )

    tokens = password()
    access, refresh_token = tokens["access_token"], tokens["refresh_token"]
    subject = password()["access_token"]
    return {
        "health": lambda: client.get("/actuator/health"),
        "client_credentials": lambda: client.post(
            "/token", grant_type="client_credentials", scope="scim:read scim:write"
        ),
        "introspect": lambda: client.post("/introspect", token=access),
        "userinfo": lambda: client.get("/userinfo", bearer=access),
        "token exchange": lambda: client.post(
            "/token", grant_type=TOKEN_EXCHANGE, subject_token=subject, scope="profile email"
        ),
        "refresh, reuse and clear": lambda: client.post(
            "/token", grant_type="refresh_token", refresh_token=refresh_token
        ),
        "password": password,
    }


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m chaos.iam.profile", description="CPU per request.")
    parser.add_argument("--requests", type=int, default=200, help="per type (default %(default)s)")
    parser.add_argument("--bcrypt-cost", type=int, default=10, help="default %(default)s")
    arguments = parser.parse_args()
    seed = Seed(users=3, bcrypt_cost=arguments.bcrypt_cost)
    try:
        with database(seed) as db, replica(db.directory, db.port) as iam:
            client = Client(int(iam.config["listen"].rpartition(":")[2]))
            worker = only_child(iam.process.pid)
            print("request                    IAM CPU ms   DB CPU ms   wall ms")
            for name, send in requests(client).items():
                for _ in range(WARM_UP):
                    send()
                before = cpu_seconds(worker), cpu_seconds(db.process.pid), time.monotonic()
                for _ in range(arguments.requests):
                    send()
                after = cpu_seconds(worker), cpu_seconds(db.process.pid), time.monotonic()
                cost = [(b - a) * 1000 / arguments.requests for a, b in zip(before, after, strict=True)]
                print(f"{name:26} {cost[0]:10.1f} {cost[1]:11.1f} {cost[2]:9.1f}", flush=True)
    except (LabError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())
