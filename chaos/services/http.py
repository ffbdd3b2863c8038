"""One HTTP request inside a namespace of the lab, for status and readiness."""

from __future__ import annotations

import http.client
import socket

from chaos.errors import LabError
from chaos.host.namespaces import entered
from chaos.services.daemon import Condition


def connect(namespace: str, address: str, port: int, timeout: float) -> socket.socket:
    """A connection that lives in ``namespace``, for use from anywhere.

    A socket stays in the network it was made in, so only the calling thread's making of it happens
    inside.

    Raises:
        OSError: nobody accepts within ``timeout`` seconds.
    """
    with entered(namespace):
        return socket.create_connection((address, port), timeout=timeout)


def get(namespace: str, address: str, port: int, path: str, timeout: float = 2.0) -> tuple[int, bytes]:
    """Status and body of a GET request.

    Raises:
        OSError, http.client.HTTPException: no answer that can be read.
    """
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    connection.sock = connect(namespace, address, port, timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def condition(
    namespace: str, address: str, port: int, path: str, *, expected: int = 200, timeout: float = 2.0
) -> Condition:
    """Whether ``path`` is answered with ``expected``."""
    try:
        status, _ = get(namespace, address, port, path, timeout)
    except TimeoutError:
        return Condition("unknown", f"no answer within {timeout:g} s")
    except (OSError, LabError, http.client.HTTPException) as error:
        return Condition("down", str(error)[:120] or type(error).__name__)
    return Condition("up" if status == expected else "down", f"HTTP {status}")
