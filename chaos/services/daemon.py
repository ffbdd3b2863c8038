"""One daemon of the lab as plain data: what is written, what is run, where and as whom."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["mariadb", "redis", "sentinel", "haproxy", "nginx", "gdnsd", "iam"]
State = Literal["up", "down", "unknown"]


@dataclass(frozen=True)
class Condition:
    """What a daemon says about itself when asked.

    Attributes:
        state: `up` only when it serves; `unknown` when it gives no answer that can be read.
        detail: for people.
    """

    state: State
    detail: str = ""


@dataclass(frozen=True)
class Daemon:
    """A daemon and everything needed to start it.

    Attributes:
        component: `service@site`, with `/index` where a site can have several.
        role: which program it is.
        service: name of the topology's service it belongs to.
        site: where it runs; `dns` for the DNS balancer, which stands outside the sites.
        namespace: network namespace.
        group: control group below `faultline`.
        home: directory of its configuration, log and data.
        argv: command line; the process stays in the foreground.
        files: path relative to `home` -> content.
        user: account it runs as; root when not given.
        env: variables on top of the lab's environment.
        address, port: where it serves.
        index: number among the service's daemons at the site.
        cpu: the only CPU it runs on; None: any.
    """

    component: str
    role: Role
    service: str
    site: str
    namespace: str
    group: str
    home: Path
    argv: tuple[str, ...]
    files: Mapping[str, str]
    address: str
    port: int
    user: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    index: int = 0
    cpu: int | None = None

    @property
    def log(self) -> Path:
        """File that gets the daemon's standard output and error."""
        return self.home / "log"

    def prepare(self) -> None:
        """Write the daemon's files; what a previous start left in them is replaced."""
        self.home.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if self.user is not None:
            shutil.chown(self.home, self.user, self.user)
            for name in self.files:
                for path in [self.home / name, *(self.home / name).parents]:
                    if self.home in path.parents:
                        shutil.chown(path, self.user, self.user)
            self._let_in()

    def _let_in(self) -> None:
        """Let the daemon's account pass through the directories above its own, and no more."""
        for parent in self.home.parents:
            mode = parent.stat().st_mode & 0o777
            if mode & 0o001:
                break
            if parent.stat().st_uid == os.geteuid():
                parent.chmod(mode | 0o001)

    def digest(self) -> str:
        """SHA-256 of the configuration files, for the run record."""
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(name.encode() + b"\0" + self.files[name].encode() + b"\0")
        return total.hexdigest()


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one: daemons read 0 as `no limit`."""
    return max(1, round(seconds * 1000))
