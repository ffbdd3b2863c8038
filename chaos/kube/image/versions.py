"""What the images are made of, and at which versions: the one place to change for a newer Kubernetes.

Versions that fit together. Kubernetes 1.34 is the last minor that runs on cgroup v1 without being
told to. Debian 12 brings systemd 252 and containerd 1.6, which are at home there as well, and the
Python, MariaDB and Redis that the lab runs on bare namespaces. CoreDNS and etcd are those that kubeadm
of this Kubernetes asks for. The Go modules (`go/*/go.mod`) hold the same versions.
"""

from __future__ import annotations

from pathlib import Path

KUBERNETES = "1.34.4"
ETCD = "3.6.5"
COREDNS = "1.12.1"
KIND = "0.30.0"
SUITE = "bookworm"
"""Debian release that both images are based on."""

PYTHON = "3.11"
"""Python of that release: the version that packages for the lab image are chosen for."""

KIND_MODULE = "sigs.k8s.io/kind"
"""Go module of kind: its program, and the files that every node image of kind has."""

HERE = Path(__file__).parent
GO = HERE / "go"
"""Go sources of the node image: modules `node`, `dns` and `capfit`."""

LAB_PACKAGES = HERE / "packages.txt"
NODE_PACKAGES = HERE / "packages-node.txt"
LAB_PYTHON = HERE / "packages-python.txt"
DOCKERFILE = HERE / "Dockerfile"
MANIFESTS = HERE / "manifests"


def names(path: Path) -> tuple[str, ...]:
    """The names in a list of packages: one per line, a remark behind `#`."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return tuple(line for line in lines if line)


def kubernetes_stamp() -> str:
    """Linker flags that tell Kubernetes' programs their version; kubeadm refuses to work without one."""
    major, minor, _ = KUBERNETES.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": f"v{KUBERNETES}",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())
