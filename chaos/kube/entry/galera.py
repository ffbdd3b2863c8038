"""How a Galera member starts: where it stands, and whether it joins the others or founds the cluster.

The rules, in order (components.md 1.11, 1.12):

1. A member without others may always found the cluster: nobody can have newer data.
2. `safe_to_bootstrap: 1` in `grastate.dat`: it was the last to leave in an orderly stop of all.
3. A saved view (`gvwstate.dat`): the whole cluster died at once. Galera forms the primary component
   again by itself as soon as all members of that view are back; until then this one waits. The same
   file takes a single member back into the cluster, once the others have noticed that it was gone.
4. Else, or when the last start came to nothing, it asks the others, again and again, how they are. If
   one of them runs, it joins. If all of them are looking for somebody to join as it is, the one that is
   farthest founds the cluster: that is so when all were stopped at the same time.

No rule lets a member found a cluster while another one may still serve: rule 4 needs the answer of all.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NOWHERE = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Position:
    """How far a member's data is.

    Attributes:
        uuid: of the history of changes; NOWHERE when it has none.
        seqno: of the last change; -1 when it is not known.
    """

    uuid: str
    seqno: int

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Read `uuid:seqno`; None for a position that says nothing."""
        match = re.fullmatch(r"\s*([0-9a-f-]{36}):(-?\d+)(?:,.*)?\s*", text)
        if match is None or match[1] == NOWHERE:
            return None
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.uuid}:{self.seqno}"


def saved_position(state: str) -> Position | None:
    """The position that a `grastate.dat` names, if it names one."""
    uuid = re.search(r"^uuid:\s*(\S+)", state, re.MULTILINE)
    seqno = re.search(r"^seqno:\s*(-?\d+)", state, re.MULTILINE)
    if uuid is None or seqno is None:
        return None
    return Position.parse(f"{uuid[1]}:{seqno[1]}")


def may_found(state: str) -> bool:
    """Whether a `grastate.dat` says that its member was the last to leave."""
    return re.search(r"^safe_to_bootstrap:\s*1\s*$", state, re.MULTILINE) is not None


def with_permission(state: str, to_found: bool) -> str:
    """A `grastate.dat` with which Galera agrees to found a cluster, or does not."""
    return re.sub(r"^safe_to_bootstrap:.*$", f"safe_to_bootstrap: {int(to_found)}", state, flags=re.MULTILINE)


def founder(positions: Mapping[int, Position | None], members: int) -> int | None:
    """Which member founds the cluster when all are looking for somebody to join.

    Args:
        positions: number of a member (from 1) -> its position, of those that are looking.
        members: of the cluster altogether.

    Returns:
        The one that is farthest, of equal ones the first; None unless all have answered, with one history.
    """
    if len(positions) < members or any(one is None for one in positions.values()):
        return None
    known = {number: one for number, one in positions.items() if one is not None}
    if len({one.uuid for one in known.values()}) != 1 or min(one.seqno for one in known.values()) < 0:
        return None
    return min(known, key=lambda number: (-known[number].seqno, number))


def counts(status: Mapping[str, str], address: str) -> bool:
    """Whether a member with this status counts the one at ``address`` among its component."""
    known = str(status.get("wsrep_incoming_addresses", "")).split(",")
    return any(one.rpartition(":")[0] == address for one in known if one)


def recover(options: Path, home: Path) -> Position | None:
    """Ask the storage engine how far it is, as galera_recovery does under systemd.

    A member that was killed has no seqno in `grastate.dat` and would otherwise copy everything from
    another one (components.md 1.12).
    """
    log = home / "recover.log"
    log.unlink(missing_ok=True)
    subprocess.run(
        [
            "mariadbd",
            f"--defaults-file={options}",
            "--wsrep-recover",
            "--skip-networking",
            f"--log-error={log}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    text = log.read_text(errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    found = re.findall(r"WSREP: Recovered position: *(\S+)", text)
    return Position.parse(found[-1]) if found else None


def arguments(position: Position | None, found_cluster: bool) -> Sequence[str]:
    """What is added to the member's command line."""
    added = [f"--wsrep-start-position={position}"] if position is not None else []
    return [*added, "--wsrep-new-cluster"] if found_cluster else added
