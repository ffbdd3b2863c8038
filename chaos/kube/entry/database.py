"""A database server in its pod: its data, how it joins, and its health; ends when the server ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from chaos.kube.entry import galera
from chaos.kube.entry.galera import Position
from chaos.kube.entry.health import Health, serve
from chaos.kube.entry.install import InstallError, install

CONFIG = 78
"""EX_CONFIG: the pod cannot start, whatever it waits for."""

LOOK_EVERY = 0.5
ANSWER_WITHIN = 2.0
FORGOTTEN_WITHIN = 60.0
"""Seconds to wait for others to notice that this member was gone: several times their longest timer."""

UNJOINED = "unjoined"
"""File that is there while a member has started but has not served yet since."""


def run(settings: Mapping[str, Any]) -> int:
    """Start the server and stay until it ends; return its exit code as a shell would.

    Args:
        settings: `home`, `options` (file), `health_port`, `install` (see `install`), and `galera`: null
            or `number` (of this member, from 1), `address` (by which others know it) and `peers` (member's
            number -> its `host:port` of health).
    """
    _heed_termination()
    home, options = Path(settings["home"]), Path(settings["options"])
    (home / "tmp").mkdir(exist_ok=True)
    cluster = settings["galera"]
    unjoined = home / UNJOINED
    try:
        began = time.monotonic()
        if install(home, settings["install"]):
            unjoined.unlink(missing_ok=True)
            _say(f"data directory made in {time.monotonic() - began:.1f} s")
    except InstallError as error:
        _say(str(error))
        return CONFIG
    health = Health(home / "mariadb.sock", cluster is not None)
    server = serve(health, settings["health_port"])
    added: Sequence[str] = ()
    if cluster is not None:
        added = _prepare_member(home, options, cluster, health)
        threading.Thread(target=_note_joining, args=(health, unjoined), daemon=True).start()
    process = subprocess.Popen(["mariadbd", f"--defaults-file={options}", *added])
    try:
        return _wait_for(process)
    finally:
        server.server_close()


def _prepare_member(home: Path, options: Path, cluster: Mapping[str, Any], health: Health) -> Sequence[str]:
    state_file, view = home / "data" / "grastate.dat", home / "data" / "gvwstate.dat"
    state = state_file.read_text() if state_file.exists() else ""
    position = galera.recover(options, home) or galera.saved_position(state)
    unjoined = home / UNJOINED
    peers = {int(number): str(address) for number, address in cluster["peers"].items()}
    found = not peers or galera.may_found(state)
    if not found and (unjoined.exists() or not view.exists()):
        found = _look_for_others(position, int(cluster["number"]), peers, health)
    if found:
        view.unlink(missing_ok=True)
        state_file.write_text(galera.with_permission(state, True))
    else:
        unjoined.touch()
    if not found and view.exists():
        _wait_until_forgotten(str(cluster["address"]), tuple(peers.values()))
    how = "founds the cluster" if found else "restores its last view" if view.exists() else "joins the others"
    _say(f"member {cluster['number']} {how} from {position or 'an unknown position'}")
    health.looking = None
    return galera.arguments(position, found)


def _look_for_others(
    position: Position | None, number: int, peers: Mapping[int, str], health: Health
) -> bool:
    """Wait until somebody can be joined (False) or it is this member that founds the cluster (True)."""
    health.looking = str(position or "")
    _say("asking the other members for their positions")
    with ThreadPoolExecutor(max(1, len(peers))) as pool:
        while True:
            answers = dict(zip(peers, pool.map(_state_of, peers.values()), strict=True))
            if any(answer is not None and not answer["looking"] for answer in answers.values()):
                return False
            looking = {
                other: Position.parse(str(answer["position"]))
                for other, answer in answers.items()
                if answer is not None
            }
            if galera.founder({**looking, number: position}, len(peers) + 1) == number:
                return True
            time.sleep(LOOK_EVERY)


def _wait_until_forgotten(address: str, peers: Sequence[str]) -> None:
    """Wait until no other member counts the former self of this one.

    A member comes back under the name of its saved view. While the others have not noticed yet that it
    was gone (evs.suspect_timeout), Galera refuses that name, gives up the view, and with it the way back
    of a cluster that has lost its majority meanwhile.
    """
    deadline = time.monotonic() + FORGOTTEN_WITHIN
    with ThreadPoolExecutor(max(1, len(peers))) as pool:
        while time.monotonic() < deadline:
            answers = [answer for answer in pool.map(_state_of, peers) if answer is not None]
            if not any(galera.counts(answer.get("status", {}), address) for answer in answers):
                return
            time.sleep(LOOK_EVERY)


def _note_joining(health: Health, unjoined: Path) -> None:
    while not health.is_ready():
        time.sleep(LOOK_EVERY)
    unjoined.unlink(missing_ok=True)


def _state_of(address: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        with urllib.request.urlopen(f"http://{address}/state", timeout=ANSWER_WITHIN) as response:
            answer = json.load(response)
        if isinstance(answer, dict) and "looking" in answer:
            return answer
    return None


class _Termination:
    """The server that a signal to this process is meant for."""

    process: subprocess.Popen[bytes] | None = None


def _heed_termination() -> None:
    """The first process of a container ignores signals that it has no handler for."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if _Termination.process is None:
            sys.exit(128 + number)
        _Termination.process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, handle)


def _wait_for(process: subprocess.Popen[bytes]) -> int:
    """Wait for the server, and take in what its scripts leave behind: orphans become our children."""
    _Termination.process = process
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == process.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _say(text: str) -> None:
    print(f"faultline: {text}", file=sys.stderr, flush=True)
