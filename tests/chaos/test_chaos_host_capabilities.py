"""What the machine is found to have, and what gets the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chaos.errors import MissingCapability
from chaos.host import capabilities


class TestCapabilities:
    """What is missing comes with the command that gets it."""

    def test_a_missing_program_names_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As an apt command, through sudo for everybody but root."""
        monkeypatch.setattr(capabilities, "search_path", lambda: "/nonexistent")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        found = {one.name: one for one in capabilities.missing()}
        assert found["mariadbd"].remedy == "`sudo apt-get install --no-install-recommends mariadb-server`"
        with pytest.raises(MissingCapability, match="haproxy is missing: `sudo apt-get install"):
            capabilities.require()

    def test_root_means_the_two_capabilities(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A root without them (in a container) is told so; others are told to use sudo."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert capabilities._root("CapEff:\t000001ffffffffff\n").present
        lacking = capabilities._root("CapEff:\t00000000a80425fb\n")
        assert not lacking.present
        assert "--privileged" in lacking.remedy
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "sudo -E" in capabilities._root("CapEff:\t0000000000000000\n").remedy

    @pytest.mark.parametrize(
        ("listing", "text", "expected"),
        [
            ("modules.builtin", "kernel/drivers/net/wireguard/fl_dummy.ko\n", True),
            ("modules.dep", "kernel/net/fl_dummy.ko.zst: kernel/lib/x.ko.zst\n", True),
            ("modules.dep", "kernel/net/other.ko: kernel/net/fl_dummy2.ko\n", False),
        ],
    )
    def test_kernel_modules_are_found_without_loading_them(
        self, tmp_path: Path, listing: str, text: str, expected: bool
    ) -> None:
        """Built in or on disk, compressed or not."""
        (tmp_path / "6.1").mkdir()
        (tmp_path / "6.1" / listing).write_text(text)
        assert capabilities.has_module("fl_dummy", "6.1", tmp_path) is expected

    def test_wireguard_is_there_in_the_kernel_or_beside_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without either, the package of the user-space one is named."""
        monkeypatch.setattr(capabilities, "has_module", lambda name: True)
        assert "in the kernel" in capabilities._wireguard(versions=False).detail
        monkeypatch.setattr(capabilities, "has_module", lambda name: False)
        monkeypatch.setattr(capabilities, "search_path", lambda: "/nonexistent")
        found = capabilities._wireguard(versions=False)
        assert not found.present
        assert "install --no-install-recommends wireguard-go" in found.remedy

    def test_python_packages_are_those_of_the_project_s_own_metadata(self) -> None:
        """Every requirement of the `lab` extra, none of the others."""
        found = {one.name for one in capabilities._python()}
        assert "python package pymysql" in found
        assert not found & {"python package simpy", "python package hypothesis"}
        assert capabilities._python("no-such-extra") == []

    @pytest.mark.lab
    def test_this_machine_can_run_the_lab_and_says_with_what(self) -> None:
        """Where lab tests run nothing is missing, and every daemon tells its version."""
        found = {one.name: one for one in capabilities.survey()}
        for name in ("mariadbd", "redis-server", "haproxy", "nginx", "gdnsd"):
            assert found[name].present
            assert found[name].detail[0].isdigit(), name
        capabilities.require()
