"""Networks that are not a mesh, and how a network comes up and goes down, on a real kernel."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from lab_fixtures import leftovers, machine, ping
from wan_topologies import line, topology, triangle

from chaos.errors import LabError
from chaos.wan.links import Wan

pytestmark = pytest.mark.lab


class TestRoutes:
    """Topologies that are not a mesh."""

    @pytest.mark.parametrize("vpn", ["wireguard", "none"])
    def test_sites_in_a_row_reach_each_other(self, tmp_path: Path, vpn: str) -> None:
        """The middle site forwards, encrypted or not; a cut of either link parts the ends."""
        with machine(tmp_path) as groups:
            network = Wan(line(vpn=vpn, loss="0%"), tmp_path, groups)
            network.up()
            assert statistics.median(ping("fl-ral", "198.19.3.1", 5)) == pytest.approx(0.03, abs=0.003)
            assert statistics.median(ping("fl-ral", "198.18.3.1", 5)) == pytest.approx(0.03, abs=0.003)
            assert len(ping("fl-ral", "198.19.2.1", 3)) == 3
            network.cut("t", [("cam", "edi"), ("edi", "cam")], "vpn")
            assert ping("fl-ral", "198.19.3.1", 2, 0.2) == []
            assert len(ping("fl-ral", "198.19.2.1", 3)) == 3
            implementation = network.facts()["wireguard"]["implementation"]
            assert (implementation == "none") is (vpn == "none")

    def test_links_with_and_without_vpn_can_be_mixed(self, tmp_path: Path) -> None:
        """What is encrypted depends on the link alone."""
        mixed = topology(
            ["ral", "cam", "edi"],
            [
                {"between": ["ral", "cam"], "rtt": "4ms", "vpn": "none"},
                {"between": ["cam", "edi"], "rtt": "4ms", "vpn": "wireguard"},
            ],
        )
        with machine(tmp_path) as groups:
            network = Wan(mixed, tmp_path, groups)
            network.up()
            for namespace, address in (
                ("fl-ral", "198.19.2.1"),
                ("fl-ral", "198.19.3.1"),
                ("fl-edi", "198.19.1.1"),
                ("fl-edi", "198.19.2.1"),
                ("fl-cam", "198.19.1.1"),
            ):
                assert len(ping(namespace, address, 3)) == 3, (namespace, address)

    def test_a_single_site_needs_no_tunnel(self, tmp_path: Path) -> None:
        """Its VPN address is there all the same, for the services to listen on."""
        with machine(tmp_path) as groups:
            network = Wan(topology(["ral"], []), tmp_path, groups)
            network.up()
            assert len(ping("fl-ral", "198.19.1.1", 2)) == 2
            assert len(ping("fl-ral-u", "198.18.1.1", 2)) == 2


def test_down_leaves_nothing(tmp_path: Path) -> None:
    """Also when it is called twice."""
    with machine(tmp_path) as groups:
        network = Wan(triangle(), tmp_path, groups)
        network.up()
        network.down()
        network.down()
        assert [line for line in leftovers() if "control group" not in line] == []
        assert groups.children() == []


def test_a_relay_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    """Here its control socket's path is a directory."""
    with machine(tmp_path) as groups:
        network = Wan(triangle(), tmp_path, groups)
        network.socket.mkdir(parents=True)
        with pytest.raises(LabError, match=r"relay does not start: see .*relay\.log"):
            network.up()
        assert json.loads((tmp_path / "wan" / "plan.json").read_text())["seed"] == 0
        network.socket.rmdir()
