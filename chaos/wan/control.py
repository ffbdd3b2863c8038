"""Talking to the relay over its control socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from chaos.errors import LabError

PATIENCE = 5.0


def request(relay: Path, operation: str, *, timeout: float = PATIENCE, **values: Any) -> dict[str, Any]:
    """Send one request to the relay that listens at ``relay`` and return its answer.

    Raises:
        LabError: it does not answer within ``timeout`` seconds, or refuses.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(relay))
            connection.sendall(json.dumps({"op": operation, **values}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except OSError as error:
        raise LabError(f"the WAN relay at {relay} does not answer ({error.strerror or error})") from error
    if not line:
        raise LabError(f"the WAN relay at {relay} ended while it was asked to {operation}")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise LabError(f"the WAN relay refused to {operation}: {answer.get('error')}")
    return answer
