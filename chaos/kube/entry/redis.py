"""A Redis server in its pod: it asks the sentinels which role it has before it starts.

Its configuration file is made anew for each pod. Sentinel corrects a server that comes back in a wrong
role only after some ten seconds, in which clients could write to two primaries; asking first avoids that.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

ANSWER_WITHIN = 1.0
CONFIGURATION = "redis.conf"


@dataclass(frozen=True)
class Opinion:
    """What a sentinel holds for the primary.

    Attributes:
        epoch: of the configuration; each failover has a higher one.
        address, port: of the primary.
    """

    epoch: int
    address: str
    port: int


def run(settings: Mapping[str, Any]) -> int:
    """Write the configuration and become the server; returns only when it cannot.

    Args:
        settings: `home`, `template` (path of the configuration without a role), `address` (own),
            `master` (name that the sentinels use), `sentinels` ([host, port] each), `primary` (address
            at the first start of all) and `port`.
    """
    home = Path(settings["home"])
    (home / "data").mkdir(parents=True, exist_ok=True)
    path = home / CONFIGURATION
    opinions = ask(settings["sentinels"], str(settings["master"]))
    chosen = latest(opinions)
    if chosen is None and path.exists():
        # Nobody answers, but this pod has run before: Sentinel has kept the file up to date.
        print("faultline: no sentinel answers, keeping the role of the last start", file=sys.stderr)
    else:
        primary = chosen or Opinion(0, str(settings["primary"]), int(settings["port"]))
        path.write_text(Path(settings["template"]).read_text() + role(primary, str(settings["address"])))
        who = "itself" if primary.address == settings["address"] else f"{primary.address}:{primary.port}"
        print(
            f"faultline: primary is {who}, as {len(opinions)} sentinels say"
            if opinions
            else f"faultline: no sentinel answers, primary is {who} as at the first start",
            file=sys.stderr,
            flush=True,
        )
    try:
        os.execvp("redis-server", ["redis-server", str(path)])
    except OSError as error:
        print(f"redis-server: {error}", file=sys.stderr)
    return 127


def role(primary: Opinion, own: str) -> str:
    """The line of the configuration that makes a server follow ``primary``; none if it is that itself."""
    return "" if primary.address == own else f"replicaof {primary.address} {primary.port}\n"


def latest(opinions: Iterable[Opinion]) -> Opinion | None:
    """The opinion of the highest epoch; of equally recent ones any, as they agree."""
    return max(opinions, key=lambda one: (one.epoch, one.address), default=None)


def ask(sentinels: Sequence[tuple[str, int]], master: str) -> list[Opinion]:
    """The opinions of all sentinels that answer in time."""
    if not sentinels:
        return []
    with ThreadPoolExecutor(len(sentinels)) as pool:
        found = pool.map(lambda one: _opinion(one[0], one[1], master), sentinels)
        return [one for one in found if one is not None]


def _opinion(host: str, port: int, master: str) -> Opinion | None:
    try:
        with socket.create_connection((host, port), ANSWER_WITHIN) as connection:
            connection.sendall(command("SENTINEL", "MASTER", master))
            answer = reply(connection.makefile("rb"))
    except (OSError, ValueError):
        return None
    if not isinstance(answer, list) or len(answer) % 2:
        return None
    fields = dict(zip(answer[::2], answer[1::2], strict=True))
    try:
        return Opinion(int(fields["config-epoch"]), str(fields["ip"]), int(fields["port"]))
    except (KeyError, ValueError, TypeError):
        return None


def command(*words: str) -> bytes:
    """A command in the Redis protocol."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def reply(stream: BinaryIO) -> Any:
    """Read one reply of the Redis protocol: text, number, list or None.

    Raises:
        ValueError: it is an error, or no reply.
    """
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ValueError("cut off")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        length = int(rest)
        if length < 0:
            return None
        text = stream.read(length + 2)
        if len(text) != length + 2:
            raise ValueError("cut off")
        return text[:-2].decode()
    if kind == b"*":
        count = int(rest)
        return None if count < 0 else [reply(stream) for _ in range(count)]
    raise ValueError(line.decode(errors="replace").strip())
