"""A cluster's way to the other clusters: what the gateway pod and its companions on other nodes run.

    python3 -m chaos.kube.gateway --config /etc/faultline/gateway/gateway.json

Runs inside the lab image with the network of its node, and needs nothing but Python's own library.
The gateway keeps the WireGuard interface, routes and translation of its node as its configuration says
and looks every second whether they still are: a pod that replaces a killed one, or a node that was
restarted, needs nobody's help. A companion (on a node that is not the gateway) keeps the routes to
the gateway.

Pods keep their own addresses on the way to other clusters. With overlapping ranges (`nat`) the
gateway gives them the addresses under which others know them (NETMAP, one to one); Services have
such addresses of their own (`externalIPs`), which kube-proxy serves.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LOOK = 1.0
"""Seconds between two looks at interface, routes and rules."""

WIREGUARD_SOCKETS = Path("/run/wireguard")
LAST_RESORT_METRIC = 4000
"""Of the routes that swallow packets while there is no way: they must not leave by the default route."""

POSTROUTING, PREROUTING, FORWARD = "FAULTLINE-POST", "FAULTLINE-PRE", "FAULTLINE-MSS"
HEADERS = 40
"""Bytes of IPv4 and TCP headers: a segment must be so much shorter than the MTU."""


@dataclass(frozen=True)
class Peer:
    """The gateway of another site.

    Attributes:
        site: its name.
        public: its public key.
        endpoint: `address:port` on the wide-area network.
        ranges: addresses that lie behind it.
    """

    site: str
    public: str
    endpoint: str
    ranges: tuple[str, ...]


@dataclass(frozen=True)
class Configuration:
    """What a gateway, or a companion, keeps.

    Attributes:
        site: whose cluster.
        own: ranges of the own pods, as the cluster has them.
        remote: ranges of all other sites, as they are seen here.
        interface: of WireGuard; empty without.
        address: of the interface.
        port: of WireGuard.
        mtu: of the interface.
        peers: other gateways.
        direct: ranges that are reached without VPN.
        device: the wide-area network, for these.
        source: own address there.
        translations: own range and how others see it, where that differs.
        gateway: host name of the gateway's node, for companions; empty on the gateway itself.
        members: addresses and ports of Services of single pods that their peers know them by.
    """

    site: str
    own: tuple[str, ...]
    remote: tuple[str, ...]
    interface: str = ""
    address: str = ""
    port: int = 51820
    mtu: int = 1420
    peers: tuple[Peer, ...] = ()
    direct: tuple[str, ...] = ()
    device: str = "wan0"
    source: str = ""
    translations: tuple[tuple[str, str], ...] = ()
    gateway: str = ""
    members: tuple[tuple[str, int], ...] = ()

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def read(cls, text: str) -> Configuration:
        """The way back from `text`."""
        data: dict[str, Any] = json.loads(text)
        peers = tuple(Peer(**{**one, "ranges": tuple(one["ranges"])}) for one in data.pop("peers"))
        pairs = tuple((inside, outside) for inside, outside in data.pop("translations"))
        members = tuple((address, port) for address, port in data.pop("members"))
        lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
        return cls(**{**data, **lists}, peers=peers, translations=pairs, members=members)


def wireguard_configuration(configuration: Configuration, private: str) -> str:
    """The `wg setconf` file."""
    lines = ["[Interface]", f"PrivateKey = {private}", f"ListenPort = {configuration.port}"]
    for peer in configuration.peers:
        lines += [
            "",
            f"# {configuration.site} - {peer.site}",
            "[Peer]",
            f"PublicKey = {peer.public}",
            f"AllowedIPs = {', '.join(peer.ranges)}",
            f"Endpoint = {peer.endpoint}",
        ]
    return "\n".join(lines) + "\n"


def nat_rules(configuration: Configuration) -> list[str]:
    """Rules of the table `nat`, for `iptables-restore`.

    The network plugin would hide pods behind their node on the way out of the cluster, and kube-proxy
    hides who comes from outside and asks for a Service: between sites everybody keeps his address.
    """
    rules = []
    if not configuration.gateway:
        ways = [configuration.interface, configuration.device if configuration.direct else ""]
        for inside, outside in configuration.translations:
            for way in filter(None, ways):
                rules.append(f"-A {PREROUTING} -i {way} -d {outside} -j NETMAP --to {inside}")
                rules.append(f"-A {POSTROUTING} -o {way} -s {inside} -j NETMAP --to {outside}")
    for own in configuration.own:
        for remote in configuration.remote:
            rules.append(f"-A {POSTROUTING} -s {own} -d {remote} -j ACCEPT")
            rules.append(f"-A {POSTROUTING} -s {remote} -d {own} -j ACCEPT")
    return rules


def member_rules(configuration: Configuration, found: Sequence[str]) -> list[str]:
    """Rules by which a member comes to its peers from the address that they know it by.

    Galera takes the sender's address for the member's own. Two members that dial each other at the same
    moment would else see one member under two addresses, and the younger one gives up for good
    (`gcomm/src/gmcast.cpp`, is_not_own_and_duplicate_exists). Which pod stands behind an address is read
    from the rules that kube-proxy has written (`found`, as `iptables -S` prints them).
    """
    rules = []
    for address, port in configuration.members:
        wanted = ("KUBE-SERVICES", f"-d {address}/32 ", f"--dport {port} ")
        chains = [
            _target(line) for line in found if line.startswith(f"-A {wanted[0]} ") and _has(line, wanted)
        ]
        for _ in range(3):  # KUBE-EXT, KUBE-SVC, KUBE-SEP
            following = [
                _target(line)
                for line in found
                if line.startswith(tuple(f"-A {chain} " for chain in chains))
                and _target(line).startswith("KUBE-S")
            ]
            chains = following or chains
        pods = {
            match[1]
            for line in found
            if chains
            and line.startswith(tuple(f"-A {chain} " for chain in chains))
            and (match := re.search(r"--to-destination ([0-9.]+):", line))
        }
        if len(pods) == 1:
            rules.append(
                f"-A {POSTROUTING} -s {pods.pop()} -p tcp --dport {port} -j SNAT --to-source {address}"
            )
    return rules


def _has(line: str, words: Sequence[str]) -> bool:
    return all(word in line + " " for word in words)


def _target(line: str) -> str:
    match = re.search(r"-j (\S+)", line)
    return match[1] if match else ""


def mangle_rules(configuration: Configuration) -> list[str]:
    """Rules of the table `mangle`: both ends of a connection are told what fits into the tunnel."""
    if not configuration.interface:
        return []
    size = configuration.mtu - HEADERS
    return [
        f"-A {FORWARD} {way} {configuration.interface} -p tcp --tcp-flags SYN,RST SYN "
        f"-m tcpmss --mss {size + 1}:65535 -j TCPMSS --set-mss {size}"
        for way in ("-o", "-i")
    ]


class Failed(Exception):
    """A command did not do what it should."""


def run(argv: Sequence[str], stdin: str | None = None) -> str:
    """What a command prints.

    Raises:
        Failed: it ended with an error, or not at all.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, input=stdin, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether a command ends without an error."""
    try:
        run(argv)
    except Failed:
        return False
    return True


class Rules:
    """The lab's own chains, and the jumps to them that must come first."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._tables = {
            "nat": ({"POSTROUTING": POSTROUTING, "PREROUTING": PREROUTING}, nat_rules(configuration)),
            "mangle": ({"FORWARD": FORWARD}, mangle_rules(configuration)),
        }
        self._written: dict[str, list[str]] = {}

    def ensure(self) -> None:
        """Put in place what is missing, has changed, or is no longer the first."""
        for table, (jumps, fixed) in self._tables.items():
            found = run(["iptables", "-w", "5", "-t", table, "-S"]).splitlines()
            moving = member_rules(self._configuration, found) if table == "nat" else []
            rules = [*moving, *fixed]
            present = sum(line.startswith(tuple(f"-A {own}" for own in jumps.values())) for line in found)
            if present != len(rules) or self._written.get(table) != rules:
                chains = "".join(f":{own} - [0:0]\n" for own in jumps.values())
                text = f"*{table}\n{chains}" + "".join(f"{rule}\n" for rule in rules) + "COMMIT\n"
                run(["iptables-restore", "-w", "5", "--noflush"], stdin=text)
                self._written[table] = rules
            for chain, own in jumps.items():
                entries = [line for line in found if line.startswith(f"-A {chain} ")]
                if entries[:1] == [f"-A {chain} -j {own}"]:
                    continue
                if f"-A {chain} -j {own}" in entries:
                    run(["iptables", "-w", "5", "-t", table, "-D", chain, "-j", own])
                run(["iptables", "-w", "5", "-t", table, "-I", chain, "1", "-j", own])


class Keeper:
    """Keeps a node's part of the links.

    Args:
        configuration: what to keep.
        key: file with WireGuard's private key.
    """

    def __init__(self, configuration: Configuration, key: Path) -> None:
        self._wanted = configuration
        self._key = key
        self._rules = Rules(configuration)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._said = ""

    def ensure(self) -> None:
        """Put right whatever is not.

        Raises:
            Failed: something cannot be put right now; the next look tries again.
        """
        wanted = self._wanted
        for remote in wanted.remote:
            route("blackhole", remote, "metric", str(LAST_RESORT_METRIC))
        self._rules.ensure()
        if wanted.gateway:
            try:
                address = socket.gethostbyname(wanted.gateway)
            except OSError as error:
                raise Failed(f"cannot find {wanted.gateway}: {error}") from error
            for remote in wanted.remote:
                route(remote, "via", address)
            return
        if wanted.interface:
            self._ensure_interface()
            for peer in wanted.peers:
                for remote in peer.ranges:
                    route(remote, "dev", wanted.interface, "src", wanted.address)
        for remote in wanted.direct:
            route(remote, "dev", wanted.device, "src", wanted.source)

    def _ensure_interface(self) -> None:
        wanted = self._wanted
        if self._daemon is not None and self._daemon.poll() is not None:
            raise SystemExit(f"wireguard-go ended with {self._daemon.returncode}")
        if succeeds(["ip", "link", "show", "dev", wanted.interface]) and succeeds(
            ["wg", "show", wanted.interface]
        ):
            if "UP" in run(["ip", "-oneline", "link", "show", "dev", wanted.interface]).partition(">")[0]:
                return
        else:
            self._create()
        path = Path("/tmp", f"{wanted.interface}.conf")
        path.touch(mode=0o600)
        path.write_text(wireguard_configuration(wanted, self._key.read_text().strip()))
        run(["wg", "setconf", wanted.interface, str(path)])
        path.unlink()
        run(["ip", "address", "replace", f"{wanted.address}/32", "dev", wanted.interface])
        run(["ip", "link", "set", wanted.interface, "mtu", str(wanted.mtu), "up"])
        print(f"{wanted.interface} is up, {self.implementation}", flush=True)

    @property
    def implementation(self) -> str:
        """Which WireGuard it is."""
        return "kernel" if self._daemon is None else "wireguard-go"

    def _create(self) -> None:
        name = self._wanted.interface
        if succeeds(["ip", "link", "add", name, "type", "wireguard"]):
            return
        WIREGUARD_SOCKETS.mkdir(parents=True, exist_ok=True)
        (WIREGUARD_SOCKETS / f"{name}.sock").unlink(missing_ok=True)
        environment = {
            **os.environ,
            "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1",
            "LOG_LEVEL": "error",
        }
        self._daemon = subprocess.Popen(["wireguard-go", "--foreground", name], env=environment)
        for _ in range(200):
            if succeeds(["wg", "show", name]):
                return
            if self._daemon.poll() is not None:
                raise SystemExit(f"wireguard-go ended with {self._daemon.returncode}")
            time.sleep(0.05)
        raise Failed(f"wireguard-go does not open {name}")

    def close(self) -> None:
        """Take the interface away: the routes over it go with it."""
        if self._wanted.interface:
            succeeds(["ip", "link", "delete", self._wanted.interface])
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()

    def keep(self) -> None:
        """Look and put right until the process is told to end."""
        while True:
            try:
                self.ensure()
                self._say("")
            except Failed as error:
                self._say(str(error))
            time.sleep(LOOK)

    def _say(self, text: str) -> None:
        if text != self._said:
            print(text or "all is in place again", flush=True)
            self._said = text


def route(*words: str) -> None:
    """Put a route in place; harmless when it is."""
    run(["ip", "route", "replace", *words])


def main() -> None:
    """Keep the links until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python3 -m chaos.kube.gateway", description="Keep a node's links.")
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--key", type=Path, default=Path("/etc/faultline/key/private"))
    given = parser.parse_args()
    keeper = Keeper(Configuration.read(given.config.read_text()), given.key)

    def end(number: int, frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        keeper.keep()
    finally:
        keeper.close()


if __name__ == "__main__":
    main()
