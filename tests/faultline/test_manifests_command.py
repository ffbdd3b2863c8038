"""`faultline manifests`: YAML for kubectl, one cluster per site, mistakes told."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner, Result

from faultline.cli import app
from faultline.guard import run_guarded
from topologies.errors import InputError

TWO_DATABASES = """\
topology: two
sites: {a: {}}
services:
  db: {kind: galera, members: {a: 1}}
  more: {kind: galera, members: {a: 1}}
clients: {users: {site: a}}
"""


def call(*words: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["manifests", *words])


def test_one_site_is_a_stream_that_kubectl_can_apply() -> None:
    """Nothing but YAML documents on standard output, the namespace first."""
    result = call("iris-2site-galera", "--site", "cam")
    assert result.exit_code == 0
    objects = list(yaml.safe_load_all(result.stdout))
    assert objects[0]["kind"] == "Namespace"
    sites = {one["metadata"]["labels"].get("faultline.io/site") for one in objects}
    assert sites <= {"cam", None} and "cam" in sites


def test_all_sites_are_told_apart() -> None:
    """Each site's part begins with a comment that names it."""
    result = call("iris-2site-galera")
    assert [line for line in result.stdout.splitlines() if line.startswith("# site")] == [
        "# site ral: for its own cluster",
        "# site cam: for its own cluster",
    ]


def test_files_are_written_for_nobody_else_to_read(tmp_path: Path) -> None:
    """One file per site and one for CoreDNS; they may hold secrets."""
    result = call("iris-2site-galera", "--with-secrets", "--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["cam.yaml", "coredns-names.txt", "ral.yaml"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "out").iterdir())
    assert "BEGIN PRIVATE KEY" in (tmp_path / "out" / "ral.yaml").read_text()
    assert "db-0.cam.faultline.test" in (tmp_path / "out" / "coredns-names.txt").read_text()


def test_secrets_are_made_only_when_asked_for() -> None:
    """What is printed by default can be pasted anywhere."""
    assert "BEGIN PRIVATE KEY" not in call("iris-1site").stdout
    assert call("iris-1site", "--with-secrets").stdout != call("iris-1site", "--with-secrets").stdout


def test_values_and_image_can_be_changed() -> None:
    """`--set` reaches the topology, `--image` the pods, `--host-names` their hosts files."""
    result = call("iris-1site", "--set", "sites.ral.cpu=0.25", "--image", "mine:2", "--host-names")
    stateful = [one for one in yaml.safe_load_all(result.stdout) if one["kind"] == "StatefulSet"]
    spec = next(one for one in stateful if one["metadata"]["name"] == "db")["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "mine:2"
    assert spec["containers"][0]["resources"]["limits"]["cpu"] == "250m"
    assert {"ip": "10.201.0.32", "hostnames": ["iam.ral.faultline.test"]} in spec["hostAliases"]


def test_clusters_that_exist_keep_their_ranges_and_ports() -> None:
    """Addresses, policies and the front end's port are those of the clusters that are there."""
    result = call(
        *("iris-2site-galera", "--site", "cam", "--node-port", "30080"),
        *("--ranges", "ral=10.1.0.0/16,10.2.0.0/16", "--ranges", "cam=10.3.0.0/16,10.4.0.0/20"),
    )
    assert result.exit_code == 0, result.output
    services = {
        one["metadata"]["name"]: one["spec"]
        for one in yaml.safe_load_all(result.stdout)
        if one["kind"] == "Service"
    }
    assert services["db-0"]["clusterIP"] == "10.4.0.33"
    assert services["frontend"]["ports"][0]["nodePort"] == 30080
    assert "gcomm://10.2.0.33" in result.stdout and "cidr: 10.1.0.0/16" in result.stdout
    assert "10.201." not in result.stdout
    # Such clusters have links of their own.
    assert "WireGuard" not in result.stdout and "name: gateway" not in result.stdout


def test_gateways_are_shown_with_keys_that_fit(tmp_path: Path) -> None:
    """Each site's gateway holds the private half of the key that its peers know."""
    result = call("iris-2site-galera", "--with-secrets", "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    private, known = {}, {}
    for site in ("ral", "cam"):
        objects = list(yaml.safe_load_all((tmp_path / f"{site}.yaml").read_text()))
        gateway = {one["kind"]: one for one in objects if one["metadata"]["name"] == "gateway"}
        private[site] = base64.b64decode(base64.b64decode(gateway["Secret"]["data"]["private"]))
        [peer] = json.loads(gateway["ConfigMap"]["data"]["gateway.json"])["peers"]
        known[peer["site"]] = base64.b64decode(peer["public"])
    for site, key in private.items():
        assert X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw() == known[site]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("iris-2site-galera", "--ranges", "ral=10.1.0.0/16,10.2.0.0/16"), "nothing is said of cam"),
        (("iris-1site", "--ranges", "rai=10.1.0.0/16,10.2.0.0/16"), "did you mean 'ral'"),
        (("iris-1site", "--ranges", "ral=10.1.0.0/16"), "SITE=PODS,SERVICES"),
        (("iris-1site", "--ranges", "ral=10.1.0.0/16,10.2.0.0/28"), "no room for"),
        (("iris-1site", "--node-port", "0"), "--node-port"),
        (("iris-2site-galera", "--site", "can"), "did you mean 'cam'"),
        (("iris-9site",), "iris-9site"),
        (("two.yaml",), "remove the others"),
        (("iris-1site", "--output", "/dev/null/x"), "--output"),
        (("iris-1site", "--set", "sites.xyz.cpu=1"), "xyz"),
    ],
)
def test_mistakes_are_told(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 64 and one message that says what to write instead."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(TWO_DATABASES)
    result = call(*words)
    assert result.exit_code == 64 and told in result.stderr and "Traceback" not in result.output


def test_a_lab_that_does_not_fit_is_wrong_input(tmp_path: Path) -> None:
    """What cannot be rendered is a mistake in a file, not a failure of a lab."""
    from faultline.manifests import manifests

    path = tmp_path / "two.yaml"
    path.write_text(TWO_DATABASES)
    with pytest.raises(InputError, match=r"two\.yaml"):
        manifests(str(path))
    assert run_guarded(lambda: manifests(str(path))) == 64
