"""The images of the lab on kind: what they are made from, and that building goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from chaos.errors import LabError, MissingCapability
from chaos.kube import image, requirements
from chaos.kube.image import archive, binaries, engine, lab, node, steps, versions
from chaos.kube.image.store import KEPT, Store, fingerprint

ROOT = Path(__file__).parents[2]


def _say(line: str) -> None:
    """Nobody listens."""


class TestFingerprint:
    """What counts as a change."""

    def test_contents_names_and_modes_count(self, tmp_path: Path) -> None:
        """A changed byte, a renamed file and a file made a program each give another fingerprint."""
        file = tmp_path / "a"
        file.write_text("one")
        seen = [fingerprint(tmp_path)]
        file.write_text("two")
        seen.append(fingerprint(tmp_path))
        file.chmod(0o755)
        seen.append(fingerprint(tmp_path))
        file.rename(tmp_path / "b")
        seen.append(fingerprint(tmp_path))
        assert len(set(seen)) == len(seen)

    def test_times_and_by_products_do_not_count(self, tmp_path: Path) -> None:
        """Touching a file, running Python and adding a Go test change nothing."""
        (tmp_path / "a").write_text("one")
        before = fingerprint(tmp_path)
        os.utime(tmp_path / "a", (0, 0))
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__" / "a.pyc").write_text("x")
        (tmp_path / "a_test.go").write_text("package a")
        assert fingerprint(tmp_path) == before

    def test_parts_do_not_run_together(self) -> None:
        """Moving a letter from one text to the next is a change."""
        assert fingerprint("ab", "c") != fingerprint("a", "bc")


class TestStore:
    """Pieces appear whole, and stay."""

    def test_a_piece_is_made_once(self, tmp_path: Path) -> None:
        """The second caller gets what the first one made."""
        store, made = Store(tmp_path), []

        def make(work: Path) -> None:
            made.append(work)
            (work / "file").write_text("x")

        first = store.piece("thing", "1", make)
        assert store.piece("thing", "1", make) == first
        assert (first / "file").read_text() == "x"
        assert len(made) == 1

    def test_a_failed_piece_leaves_nothing(self, tmp_path: Path) -> None:
        """After an error there is no piece and no rest of it, and the next try makes it."""
        store = Store(tmp_path)

        def fail(work: Path) -> None:
            (work / "half").write_text("x")
            raise LabError("no")

        with pytest.raises(LabError):
            store.piece("thing", "1", fail)
        assert list(tmp_path.iterdir()) == []
        assert store.piece("thing", "1", lambda work: None).exists()

    def test_only_the_latest_generations_are_kept(self, tmp_path: Path) -> None:
        """Old keys of a piece go; pieces whose names begin alike stay."""
        store = Store(tmp_path)
        store.piece("thing-base", "0", lambda work: None)
        for number in range(4):
            place = store.piece("thing", str(number), lambda work: None)
            os.utime(place, (number, number))
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == ["thing-2", "thing-3", "thing-base-0"]
        assert KEPT == 2

    def test_a_killed_build_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        """After SIGKILL in the second piece, the first is found and the second is made anew."""
        program = f"""
import os, signal
from pathlib import Path
from chaos.kube.image.store import Store
store = Store(Path({str(tmp_path)!r}))
with store.locked(print):
    store.piece("first", "1", lambda work: (work / "file").write_text("kept"))
    def die(work):
        (work / "half").write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
    store.piece("second", "1", die)
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(list(tmp_path.glob("making-*"))) == 1
        store = Store(tmp_path)

        def never(work: Path) -> None:
            raise AssertionError("made again")

        with store.locked(_say):
            assert not list(tmp_path.glob("making-*"))
            assert (store.piece("first", "1", never) / "file").read_text() == "kept"
            assert list(store.piece("second", "1", lambda work: None).iterdir()) == []

    def test_a_second_builder_says_whom_it_waits_for(self, tmp_path: Path) -> None:
        """It names the other's pid, and begins when that has ended."""
        program = f"""
import sys, time
from pathlib import Path
from chaos.kube.image.store import Store
with Store(Path({str(tmp_path)!r})).locked(print):
    print("in", flush=True)
    sys.stdin.readline()
"""
        with subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            assert other.stdout.readline() == "in\n"
            heard: list[str] = []

            def hear(line: str) -> None:
                heard.append(line)
                assert other.stdin is not None
                other.stdin.write("\n")
                other.stdin.flush()

            with Store(tmp_path).locked(hear):
                assert other.wait(timeout=10) == 0
        assert heard == [f"another build (pid {other.pid}) is running: waiting for it"]


class TestSteps:
    """Commands of a build."""

    def test_a_failure_repeats_the_last_words(self) -> None:
        """The error has the command, its status, and what it said."""
        with pytest.raises(LabError, match=r"(?s)`sh -c .*failed \(7\):\n  one\n  two"):
            steps.execute(["sh", "-c", "echo one >&2; echo two >&2; exit 7"])

    def test_being_killed_is_said(self) -> None:
        """A command that a signal ended is told from one that failed."""
        with pytest.raises(LabError, match="was ended by SIGKILL"):
            steps.execute(["sh", "-c", "kill -9 $$"])

    def test_missing_programs_are_named_with_their_remedy(self) -> None:
        """All of them at once."""
        with pytest.raises(MissingCapability, match=r"(?s)no-such-a: get a.*no-such-b: get b"):
            steps.require(("no-such-a", "get a"), ("sh", "get sh"), ("no-such-b", "get b"))


class TestVersions:
    """One place says what the images are made of."""

    def test_go_modules_have_the_same_versions(self) -> None:
        """Kubernetes, its parts, etcd and CoreDNS in go.mod are those of versions.py."""
        modules = (versions.GO / "node" / "go.mod").read_text()
        assert f"k8s.io/kubernetes v{versions.KUBERNETES}\n" in modules
        assert f"go.etcd.io/etcd/server/v3 v{versions.ETCD}\n" in modules
        staging = "v0." + versions.KUBERNETES.partition(".")[2]
        replaced = re.findall(r"^replace (\S+) => (\S+) (\S+)$", modules, re.MULTILINE)
        assert len(replaced) > 20
        assert {(there, version) for _, there, version in replaced} == {
            (here, staging) for here, _, _ in replaced
        }
        names = (versions.GO / "dns" / "go.mod").read_text()
        assert f"github.com/coredns/coredns v{versions.COREDNS}\n" in names

    def test_kubernetes_is_told_its_version(self) -> None:
        """Both packages that report a version get all five values."""
        stamp = versions.kubernetes_stamp()
        assert stamp.count("-X ") == 10
        assert stamp.count(f"gitVersion=v{versions.KUBERNETES}") == 2

    def test_no_source_names_a_place_to_download_from(self) -> None:
        """No registry and no address stands in what the images are built from; sums are hashes."""
        pattern = re.compile(r"://|registry\.\w|quay\.\w|gcr\.\w|ghcr\.\w", re.IGNORECASE)
        found = [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for path in sorted(versions.HERE.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if pattern.search(line) and "unix://" not in line
        ]
        assert found == []
        for sums in versions.GO.glob("*/go.sum"):
            assert all(re.fullmatch(r"\S+ \S+ h1:\S+", line) for line in sums.read_text().splitlines())

    def test_lists_of_packages_are_read_without_their_remarks(self, tmp_path: Path) -> None:
        """Remarks and empty lines are no packages."""
        file = tmp_path / "list"
        file.write_text("# list\none   # what for\n\ntwo\n")
        assert versions.names(file) == ("one", "two")
        assert "mariadb-server" in versions.names(versions.LAB_PACKAGES)


class TestArchive:
    """Image archives that engines accept."""

    def test_the_same_tree_gives_the_same_layer(self, tmp_path: Path) -> None:
        """Times do not show; the name is the hash of the layer's bytes."""
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "file").write_text("x")
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        first = archive.ImageArchive(tmp_path / "a").layer(tree)
        os.utime(tree / "file", (0, 0))
        assert archive.ImageArchive(tmp_path / "b").layer(tree) == first
        packed = (tmp_path / "a" / f"{first}.tar").read_bytes()
        assert hashlib.sha256(packed).hexdigest() == first

    def test_images_name_their_layers_and_settings(self, tmp_path: Path) -> None:
        """The manifest leads to each image's settings and layers."""
        tree, packed = tmp_path / "tree", tmp_path / "packed"
        tree.mkdir()
        packed.mkdir()
        made = archive.ImageArchive(packed)
        layer = made.layer(tree)
        made.image(["x:1", "y:1"], [layer], Env=["A=b"])
        (entry,) = json.loads((packed / "manifest.json").read_text())
        assert entry["RepoTags"] == ["x:1", "y:1"]
        config = json.loads((packed / entry["Config"]).read_text())
        assert config["config"] == {"Env": ["A=b"]}
        assert config["rootfs"]["diff_ids"] == [f"sha256:{layer}"]
        assert all((packed / name).exists() for name in entry["Layers"])

    def test_a_refusal_is_passed_on(self, tmp_path: Path) -> None:
        """What takes the archive says why it does not."""
        (tmp_path / "file").write_text("x")
        with pytest.raises(LabError, match="not for me"):
            archive.feed(tmp_path, ["sh", "-c", "echo not for me >&2; exit 1"])


class TestNode:
    """What nodes are made from."""

    def test_the_runtime_asks_for_the_image_that_is_there(self) -> None:
        """The sandbox image is kubeadm's, and no plugin is waited for that the node lacks."""
        before = (
            'version = 2\n[proxy_plugins]\n# one\n[proxy_plugins."x"]\n  type = "snapshot"\n'
            '[plugins."cri"]\n  sandbox_image = "somewhere/pause:3.10"\n  other = true\n'
        )
        after = node.runtime_settings(before, "here/pause:3.11")
        assert after == (
            'version = 2\n[plugins."cri"]\n  sandbox_image = "here/pause:3.11"\n  other = true\n'
        )

    def test_helpers_of_the_node_run_from_its_own_image(self) -> None:
        """The manifests ask for the image that the builder preloads; kind fills in the pod range."""
        sentence = "would you kindly template this file"
        assert sentence in (versions.MANIFESTS / "default-cni.yaml").read_text()
        for path in versions.MANIFESTS.glob("*.yaml"):
            objects = list(yaml.safe_load_all(path.read_text()))
            (helper,) = [one for one in objects if one["kind"] == "DaemonSet"]
            (container,) = helper["spec"]["template"]["spec"]["containers"]
            assert container["image"] == node.OWN_IMAGE
            assert container["imagePullPolicy"] == "Never"
            assert container["command"][0] in node._PROGRAMS_OF_PODS

    def test_a_changed_program_is_another_node_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The node image's name follows what it is made from."""
        before = node.key()
        monkeypatch.setattr(versions, "SUITE", "trixie")
        assert node.key() != before


class TestLab:
    """What the pods' image is made from."""

    def test_packages_come_with_all_they_need_and_their_hashes(self) -> None:
        """The dependencies of a dependency are there; the simulation's libraries are not."""
        text = lab.requirements()
        names = re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)
        assert {"cryptography", "cffi", "pycparser", "pydantic-core"} <= set(names)
        assert not {"pandas", "scipy", "locust"} & set(names)
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(names)

    def test_a_package_that_is_not_locked_is_an_error(self) -> None:
        """It says which one and what to run."""
        with pytest.raises(LabError, match=r"has no pymysql.*make lock"):
            lab.locked(("pymysql",), "redis==1 \\\n    --hash=sha256:00\n")

    def test_the_code_of_pods_is_that_of_the_rooms_they_use(self) -> None:
        """The identity service is in it; simulation, command line and the builder of images are not."""
        inside = {name for name, _ in lab.code()}
        assert {"chaos/iam/app.py", "topologies/model.py", "chaos/iam/schema.sql"} <= inside
        assert not [name for name in inside if name.startswith(("sim/", "faultline/", "chaos/kube/image/"))]
        assert not [name for name in inside if name.endswith(".pyc")]

    def test_a_changed_module_is_another_image(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A byte more in one module of ours gives another name."""
        before = lab.name()
        changed = tmp_path / "app.py"
        changed.write_text("pass\n")
        everything = [(name, changed if name == "chaos/iam/app.py" else path) for name, path in lab.code()]
        monkeypatch.setattr(lab, "code", lambda: iter(everything))
        assert lab.name() != before


class TestPublished:
    """Where a registry answers."""

    def test_the_published_node_is_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """It is pulled, the lab image starts from the published Debian, and the next call finds both."""
        published, there = "somebody/node:v1", set[str]()
        bases = []

        def pull(name: str, *, patience: float) -> bool:
            there.add(name)
            return True

        def lab_image(store: Store, progress: object, *, published: bool) -> str:
            bases.append(published)
            there.add("lab:1")
            return "lab:1"

        def program(store: Store, *_: object) -> Path:
            return store.piece("kind", binaries.kind_key(), lambda work: (work / "kind").touch()) / "kind"

        def kubectl(store: Store, *_: object) -> Path:
            place = image._kubectl_place(store)
            place.mkdir()
            (place / "kubectl").touch()
            return place / "kubectl"

        monkeypatch.setattr(engine, "version", lambda: "1")
        monkeypatch.setattr(engine, "has", there.__contains__)
        monkeypatch.setattr(engine, "pull", pull)
        monkeypatch.setattr(image, "default_node_image", lambda: published)
        monkeypatch.setattr(lab, "ensure", lab_image)
        monkeypatch.setattr(lab, "name", lambda: "lab:1")
        monkeypatch.setattr(binaries, "kind", program)
        monkeypatch.setattr(image, "_kubectl", kubectl)
        store = Store(tmp_path)
        images = image.ensure(_say, store)
        assert (images.node, images.lab, bases) == (published, "lab:1", [True])
        assert image.current(store) == images
        assert image.policy_enforcer(images.node) == "kindnet"
        assert image.policy_enforcer(node.name()).startswith("podlink")


class TestWithoutWhatIsNeeded:
    """What a machine without Docker is told."""

    def test_no_engine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Both ways to get one are named, before anything is built."""
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
        with pytest.raises(MissingCapability, match=r"systemctl start docker.*apt-get install"):
            image.ensure(_say, Store(tmp_path / "store"))
        assert not (tmp_path / "store").exists()
        assert image.current(Store(tmp_path / "store")) is None
        lacking = requirements.missing()
        assert [one.name for one in lacking] == ["Docker engine", "kind node image"]
        assert "make kind-image" in str(lacking[1])

    def test_the_survey_gives_a_command_for_each_thing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing that is missing is left without a remedy."""
        monkeypatch.setattr(engine, "version", lambda: None)
        for one in requirements.survey():
            assert one.present or one.remedy, one

    def test_memory_is_read_in_gibibytes(self) -> None:
        """MemAvailable, which the kernel gives in KiB."""
        text = "MemTotal:  9 kB\nMemAvailable:    2097152 kB\n"
        assert requirements.available_memory(text) == 2.0


@pytest.mark.kind
class TestBuilt:
    """The images of this machine."""

    def test_a_warm_call_is_quick_and_true(self) -> None:
        """What `ensure` names is there; asked again it builds nothing."""
        image.ensure()
        heard: list[str] = []
        began = time.monotonic()
        images = image.ensure(heard.append)
        assert heard == []
        assert time.monotonic() - began < 10
        assert engine.has(images.node)
        assert engine.has(images.lab)
        said = steps.execute([str(images.kind), "version"])
        assert f"v{versions.KIND}" in said
        said = steps.execute([str(images.kubectl), "version", "--client"])
        assert f"v{versions.KUBERNETES}" in said or "Client Version" in said

    def test_the_lab_image_runs_without_root_and_without_writing(self) -> None:
        """Daemons and identity service start as an ordinary user on a read-only file system."""
        images = image.ensure()
        check = (
            "import os, chaos.iam.server, chaos.kube.entry; "
            "print(os.getuid(), os.access('/opt/faultline/code', os.W_OK))"
        )
        command = ["docker", "run", "--rm", "--read-only", "--network", "none", images.lab]
        assert steps.execute([*command, "python3", "-c", check]).split() == ["10001", "False"]
        for daemon in ("mariadbd --version", "redis-server --version", "haproxy -v", "nginx -v"):
            steps.execute([*command, *daemon.split()])

    def test_the_go_sources_pass_their_own_tests(self) -> None:
        """Network policies become the right rules; the wrapper of runc cuts the right settings."""
        for module, package in (("capfit", "./..."), ("node", "./policy")):
            steps.execute(
                ["go", "test", "-timeout", "90s", package],
                cwd=versions.GO / module,
                env=binaries._environment(),
            )
