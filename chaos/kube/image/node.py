"""The image of a cluster's nodes, made without a registry, out of packages and modules.

A node is a Debian tree with systemd, containerd and kind's own files in it. The images that a cluster
starts from (its control plane, name service, pod network) are in the node's image store already, as
layers that were unpacked here and not at the start of every node. So is the image that the lab's own
stands on: what is left to load into a running node is our own code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaos.errors import LabError
from chaos.kube.image import archive, binaries, engine, lab, rootfs, versions
from chaos.kube.image.archive import ImageArchive, feed
from chaos.kube.image.steps import execute
from chaos.kube.image.store import Progress, Store, fingerprint

REPOSITORY = "faultline.local/node"
OWN_IMAGE = "faultline.local/kubebox:1"
"""Name under which the manifests of the node image ask for its own helpers."""

_PROGRAMS_OF_NODE = ("kubelet", "kubeadm", "kubectl", "crictl")
_PROGRAMS_OF_PODS = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    *("etcd", "kubectl", "podlink", "poddir"),
)
_NETFILTER = ("xtables-nft-multi", "nft", "conntrack", "ipset")
_EXTENSIONS = ("addrtype", "comment", "conntrack", "mark", "multiport", "recent", "statistic")
"""iptables extensions that kube-proxy's rules use."""

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STOCK_UNITS = (
    "lib/systemd/system/multi-user.target.wants/*",
    "lib/systemd/system/local-fs.target.wants/*",
    "lib/systemd/system/basic.target.wants/*",
    "lib/systemd/system/sockets.target.wants/*udev*",
    "lib/systemd/system/sockets.target.wants/*initctl*",
    "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "etc/systemd/system/*.wants/*",
)
"""What Debian's systemd would start and a node, which is a container, has no use for."""


def key() -> str:
    """Fingerprint of everything the node image is made from."""
    return fingerprint(
        Path(__file__),
        archive.RECIPE,
        versions.MANIFESTS,
        versions.SUITE,
        rootfs.RECIPE,
        *versions.names(versions.NODE_PACKAGES),
        binaries.kind_key(),
        lab.base_key(),
        *(program.key for program in binaries.PROGRAMS),
    )


def name() -> str:
    """Name of the current node image, whether or not it is there."""
    return f"{REPOSITORY}:{key()}"


def ensure(store: Store, progress: Progress) -> str:
    """Name of the node image, which the engine has when this returns. Needs the lock.

    Raises:
        MissingCapability: a program that building needs is not installed.
        LabError: it cannot be built.
    """
    wanted = name()
    if engine.has(wanted):
        return wanted
    programs = {one.name: binaries.build(store, one.name, progress) for one in binaries.PROGRAMS}
    base = _debian(store, progress)
    lab_base = lab.base(store, progress)

    def make(work: Path) -> None:
        tree = work / "tree"
        execute(["cp", "-a", "--reflink=auto", str(base), str(tree)])
        progress("assembling the node image (a minute)")
        _assemble(tree, work, programs, lab_base)
        packed = work / "image"
        packed.mkdir()
        made = ImageArchive(packed)
        made.image(
            [wanted],
            [made.layer(tree)],
            Env=["container=docker", _PATH],
            Entrypoint=["/usr/local/bin/entrypoint", "/sbin/init"],
            StopSignal="SIGRTMIN+3",  # systemd's for an orderly halt
            Labels={"io.faultline.kubernetes": versions.KUBERNETES, "io.faultline.policies": "enforced"},
        )
        execute(["rm", "-rf", "--one-file-system", str(tree)])

    piece = store.piece("node", key(), make)
    progress(f"loading {wanted} into the Docker engine")
    engine.load(piece / "image")
    engine.forget_old(REPOSITORY, keep=wanted)
    return wanted


def _debian(store: Store, progress: Progress) -> Path:
    packages = versions.names(versions.NODE_PACKAGES)

    def make(work: Path) -> None:
        progress("installing the Debian packages of the node image (half a minute)")
        rootfs.build(packages, work / "tree")

    return store.piece("node-base", fingerprint(*packages, versions.SUITE, rootfs.RECIPE), make) / "tree"


def _assemble(tree: Path, work: Path, programs: dict[str, Path], lab_base: Path) -> None:
    images = _images(programs["kubebox"])
    _kind_files(tree, pause=images["pause"])
    _install(tree, programs)
    _units(tree)
    _container_settings(tree)
    (tree / "kind/version").write_text(f"v{versions.KUBERNETES}")
    shutil.copytree(versions.MANIFESTS, tree / "kind/manifests", dirs_exist_ok=True)
    packed = work / "preloaded"
    packed.mkdir()
    _component_images(tree, packed, work, programs, images)
    _preload(tree, [packed, lab_base], [*images.values(), OWN_IMAGE, lab.base_name()])
    shutil.rmtree(packed)
    _share_kubebox(tree)


def _images(kubebox: Path) -> dict[str, str]:
    """Component -> the image name that kubeadm of this version will ask for; it is asked itself."""
    said = execute(
        [
            str(kubebox),
            "kubeadm",
            "config",
            "images",
            "list",
            "--kubernetes-version",
            f"v{versions.KUBERNETES}",
        ]
    )
    return {line.rpartition("/")[2].partition(":")[0]: line for line in said.split()}


def _kind_files(tree: Path, *, pause: str) -> None:
    """What every node image of kind has, from kind's own sources."""
    source = binaries.kind_sources() / "images" / "base" / "files"
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        target = tree / inside
        if path.is_dir():
            target.mkdir(exist_ok=True)
            continue
        if "fuse-overlayfs" in path.name:
            continue  # for engines without root
        shutil.copyfile(path, target)
        target.chmod(0o755 if inside.parent.name == "bin" else 0o644)
    config = tree / "etc/containerd/config.toml"
    config.write_text(runtime_settings(config.read_text(), pause))


def runtime_settings(text: str, pause: str) -> str:
    """What kind sets for containerd, fit for this image: its sandbox image, and no plugin that it lacks."""
    kept = []
    within = False
    for line in text.splitlines():
        if line.startswith("["):
            within = line.startswith("[proxy_plugins")
        if within:
            continue  # containerd would wait for the daemon of fuse-overlayfs
        if line.strip().startswith("sandbox_image"):
            line = f'  sandbox_image = "{pause}"'
        kept.append(line)
    return "\n".join(kept) + "\n"


def _install(tree: Path, programs: dict[str, Path]) -> None:
    local = tree / "usr/local"
    shutil.copy2(programs["kubebox"], local / "bin/kubebox")
    for name in _PROGRAMS_OF_NODE:
        _link(tree / "usr/bin" / name, "/usr/local/bin/kubebox")
    # Units and shims of kind look in /usr/local; its sbin comes first in every PATH, so that
    # containerd's shim finds the wrapper and not Debian's runc.
    for name in ("containerd", "containerd-shim-runc-v2", "ctr"):
        _link(local / "bin" / name, f"/usr/bin/{name}")
    shutil.copy2(programs["capfit"], local / "sbin/runc")
    (tree / "opt/cni").mkdir(parents=True, exist_ok=True)
    _link(tree / "opt/cni/bin", "/usr/lib/cni")
    (tree / "etc/kubernetes/manifests").mkdir(parents=True, exist_ok=True)
    network = tree / "etc/cni/net.d"
    network.mkdir(parents=True, exist_ok=True)
    for path in network.iterdir():
        path.unlink()  # no network but podlink's


def _link(place: Path, target: str) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _units(tree: Path) -> None:
    for pattern in _STOCK_UNITS:
        for path in tree.glob(pattern):
            path.unlink()
    with (tree / "etc/systemd/journald.conf").open("a") as journal:
        journal.write("ReadKMsg=no\n")  # the machine's kernel messages are none of a node's business
    _link(tree / "sbin/init", "/lib/systemd/systemd")
    for arguments in (
        ["enable", "kubelet.service", "containerd.service", "undo-mount-hacks.service"],
        ["mask", "systemd-binfmt.service"],
    ):
        execute(["chroot", str(tree), "systemctl", "--quiet", *arguments])


def _container_settings(tree: Path) -> None:
    """What every container of a node starts from: no limits of its own, kind's hook at the end."""
    settings = json.loads(execute(["chroot", str(tree), "ctr", "oci", "spec"]))
    settings["process"].pop("rlimits", None)
    hooks = settings.setdefault("hooks", {}).setdefault("createContainer", [])
    hooks.append({"path": "/kind/bin/mount-product-files.sh"})
    (tree / "etc/containerd/cri-base.json").write_text(json.dumps(settings))


def _component_images(
    tree: Path, packed: Path, work: Path, programs: dict[str, Path], images: dict[str, str]
) -> None:
    made = ImageArchive(packed)
    for name, command in (("pause", ["/pause"]), ("coredns", ["/coredns"])):
        alone = work / name
        alone.mkdir()
        shutil.copy2(programs[name], alone / name)
        made.image([images[name]], [made.layer(alone)], Entrypoint=command, Env=[_PATH])
        shutil.rmtree(alone)
    shared = work / "kubebox"
    _kubebox_tree(tree, shared, programs["kubebox"])
    layer = made.layer(shared)
    shutil.rmtree(shared)
    others = [tag for name, tag in images.items() if name not in ("pause", "coredns")]
    made.image([OWN_IMAGE, *others], [layer], Env=[_PATH])


def _kubebox_tree(tree: Path, shared: Path, kubebox: Path) -> None:
    """What control plane and network run from: kubebox, netfilter's tools, and their libraries."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (shared / "usr" / name).mkdir(parents=True, exist_ok=True)
        (shared / name).symlink_to(f"usr/{name}")
    for name in ("etc", "run", "tmp", "var", "usr/local/bin"):
        (shared / name).mkdir(parents=True)
    shutil.copy2(kubebox, shared / "usr/local/bin/kubebox")
    for name in _PROGRAMS_OF_PODS:
        _link(shared / "usr/local/bin" / name, "kubebox")
    extensions = next(tree.glob("usr/lib/*/xtables"))
    tools = [f"/usr/sbin/{name}" for name in _NETFILTER]
    loaded = [f"/{path.relative_to(tree)}" for path in sorted(extensions.glob("*.so"))]
    wanted = {*tools, *loaded, *_libraries(tree, [*tools, *loaded])}
    wanted |= {f"/etc/{name}" for name in ("passwd", "group", "nsswitch.conf", "protocols", "services")}
    for path in sorted(wanted):
        _copy(tree, path, shared)
    for family in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            _link(shared / "usr/sbin" / f"{family}{suffix}", "xtables-nft-multi")
    for extension in _EXTENSIONS:
        # Without one of them kube-proxy writes no rule at all, and says so in its log only.
        execute(["chroot", str(shared), "/usr/sbin/iptables", "-m", extension, "--help"])
    for tool in ("nft", "conntrack"):
        execute(["chroot", str(shared), f"/usr/sbin/{tool}", "--version"])


def _libraries(tree: Path, files: Sequence[str]) -> set[str]:
    """Paths of the shared libraries that programs and plugins load, and their loader."""
    said = execute(["chroot", str(tree), "ldd", *files])
    words = (word for line in said.splitlines() for word in line.split())
    return {word for word in words if word.startswith("/") and not word.endswith(":")}


def _copy(tree: Path, path: str, target: Path) -> None:
    """Copy a file that a path in ``tree`` leads to, to the same path in ``target``."""
    real = execute(["chroot", str(tree), "realpath", path]).strip()
    place = target / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / real.lstrip("/"), place)


def _preload(tree: Path, archives: Sequence[Path], tags: Sequence[str]) -> None:
    """Put images into the node's image store, with the node's own containerd working in its tree."""
    with _containerd(tree) as ctr:
        for one in archives:
            options = ["--compress-blobs", "--digests=false", "--snapshotter=overlayfs"]
            feed(one, [*ctr, "images", "import", *options, "-"])
        for tag in tags:
            if " true" not in execute([*ctr, "images", "check", f"name=={tag}"]):
                raise LabError(f"the node's image store has no {tag}")


@contextmanager
def _containerd(tree: Path) -> Iterator[list[str]]:
    """A containerd in ``tree``; gives the command line of its client."""
    (tree / "build.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    log = tree / "build.log"
    options = "--config /build.toml --address /build.sock --state /build"
    start = f"mount -t proc proc proc && exec chroot . containerd {options}"
    with log.open("wb") as file:
        # Each program of this chain becomes the next one, so that in the end the daemon is containerd.
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "sh", "-c", start],
            cwd=tree,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    ctr = ["chroot", str(tree), "ctr", "--address", "/build.sock", "--namespace", "k8s.io"]
    try:
        deadline = time.monotonic() + 30
        while subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode != 0:
            if daemon.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()
                raise LabError(
                    f"containerd did not start in the node's tree: {said[-1] if said else 'no log'}"
                )
            time.sleep(0.1)
        yield ctr
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        for name in ("build.toml", "build.log", "build.sock", "build.sock.ttrpc"):
            (tree / name).unlink(missing_ok=True)
        for path in (tree / "build", tree / "var/lib/containerd/tmpmounts"):
            execute(["rm", "-rf", "--one-file-system", str(path)])


def _share_kubebox(tree: Path) -> None:
    """Make the node's kubebox and the one in its image store one file: once in the image, once in memory."""
    own = tree / "usr/local/bin/kubebox"
    stored = next((tree / "var/lib/containerd").glob("**/fs/usr/local/bin/kubebox"), None)
    if stored is None or stored.stat().st_size != own.stat().st_size:
        raise LabError("the node's image store has no kubebox, or another one")
    own.unlink()
    own.hardlink_to(stored)
