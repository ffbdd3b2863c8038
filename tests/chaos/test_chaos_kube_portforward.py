"""Connections into pods through an API server, against one that does what real ones were seen to do."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chaos.errors import LabError
from chaos.kube import portforward
from chaos.kube.api import Cluster, Refused, Unreachable

PORT = 3306
ANNOUNCED = b"".join(bytes([0x82, 3, channel]) + struct.pack("<H", PORT) for channel in (0, 1))
"""What a kubelet says first: the port's number on both channels."""

Peer = Callable[["Server", ssl.SSLSocket], None]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "api.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return file


class Server:
    """An API server that knows one pod."""

    def __init__(self, certificate: Path, peer: Peer) -> None:
        self.asked = ""
        self._peer = peer
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            plain, _ = self._listening.accept()
            plain.settimeout(5.0)
            with self._context.wrap_socket(plain, server_side=True) as client:
                while not self.asked.endswith("\r\n\r\n"):
                    self.asked += client.recv(4096).decode()
                self._peer(self, client)

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who waits for a client
        self._listening.close()
        self._thread.join(5.0)

    def welcome(self) -> bytes:
        """The answer to the handshake."""
        found = re.search(r"(?i)sec-websocket-key: (\S+)", self.asked)
        assert found is not None
        accepted = hashlib.sha1(f"{found[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {base64.b64encode(accepted).decode()}"]
        lines += ["Sec-WebSocket-Protocol: v4.channel.k8s.io", "", ""]
        return "\r\n".join(lines).encode()


def message(channel: int, content: bytes) -> bytes:
    """A frame of the server's."""
    body = bytes([channel]) + content
    size = bytes([len(body)]) if len(body) < 126 else b"\x7e" + struct.pack(">H", len(body))
    return b"\x82" + size + body


def heard(client: ssl.SSLSocket) -> bytes:
    """The content of a frame of the client's."""
    stream = b""
    while len(stream) < 6 or len(stream) < 6 + (stream[1] & 0x7F):
        stream += client.recv(4096)
    assert stream[:1] == b"\x82"
    mask = stream[2:6]
    return bytes(byte ^ mask[number % 4] for number, byte in enumerate(stream[6:]))


@contextmanager
def reached(certificate: Path, directory: Path, peer: Peer) -> Iterator[tuple[Server, Cluster]]:
    """A server and the cluster that it is, by kubeconfig."""
    server = Server(certificate, peer)
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": f"https://127.0.0.1:{server.port}",
                    "certificate-authority": str(certificate),
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    file = directory / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    try:
        yield server, Cluster("ral", file)
    finally:
        server.close()


def test_a_server_that_speaks_first_is_heard(certificate: Path, tmp_path: Path) -> None:
    """Handshake, announcements and greeting come in one record; then it waits for an answer."""

    def peer(server: Server, client: ssl.SSLSocket) -> None:
        client.sendall(server.welcome() + ANNOUNCED + message(0, b"5.5.5-10.11 MariaDB"))
        client.sendall(message(0, b"heard " + heard(client)[1:]))

    with reached(certificate, tmp_path, peer) as (server, cluster):
        tunnel = portforward.connect(cluster, "faultline", "db-0", PORT, 5.0)
        file = tunnel.makefile("rb")
        assert file.read(19) == b"5.5.5-10.11 MariaDB"
        tunnel.sendall(b"hello")
        assert file.read(11) == b"heard hello"
        assert server.asked.startswith(
            "GET /api/v1/namespaces/faultline/pods/db-0/portforward?ports=3306 HTTP/1.1"
        )
        assert "Bearer secret" in server.asked
        file.close()


def test_what_comes_in_pieces_is_put_together(certificate: Path, tmp_path: Path) -> None:
    """Frames, records and reads need not agree; the end of the stream is the end of the file."""
    whole = bytes(range(256)) * 40

    def peer(server: Server, client: ssl.SSLSocket) -> None:
        client.sendall(server.welcome())
        sent = ANNOUNCED + b"".join(message(0, whole[at : at + 1000]) for at in range(0, len(whole), 1000))
        sent += b"\x88\x00"
        for at in range(0, len(sent), 777):
            client.sendall(sent[at : at + 777])

    with reached(certificate, tmp_path, peer) as (_, cluster):
        file = portforward.connect(cluster, "faultline", "db-0", PORT, 5.0).makefile("rb")
        assert file.read(4) == whole[:4]
        assert file.read() == whole[4:]
        assert file.read(1) == b""


def test_a_port_that_nobody_listens_at_is_named_by_the_kubelet(certificate: Path, tmp_path: Path) -> None:
    """What comes on the channel of errors is the error."""

    def peer(server: Server, client: ssl.SSLSocket) -> None:
        client.sendall(server.welcome() + ANNOUNCED + message(1, b"connect: connection refused"))

    with reached(certificate, tmp_path, peer) as (_, cluster):
        tunnel = portforward.connect(cluster, "faultline", "db-0", PORT, 5.0)
        with pytest.raises(ConnectionRefusedError, match="connection refused"):
            tunnel.makefile("rb").read(1)
        tunnel.close()


def test_a_refusal_is_told_in_the_api_servers_words(certificate: Path, tmp_path: Path) -> None:
    """With its status: a right that is missing is another thing than a server that is away."""
    body = json.dumps({"message": 'pods "db-0" is forbidden'}).encode()

    def peer(server: Server, client: ssl.SSLSocket) -> None:
        head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)

    with (
        reached(certificate, tmp_path, peer) as (_, cluster),
        pytest.raises(Refused, match='port 3306 of db-0: pods "db-0" is forbidden') as caught,
    ):
        portforward.connect(cluster, "faultline", "db-0", PORT, 5.0)
    assert caught.value.status == 403


def test_silence_ends_in_time(certificate: Path, tmp_path: Path) -> None:
    """Of an API server, and of a database behind one: it is an error, and nobody waits for ever."""

    def mute(server: Server, client: ssl.SSLSocket) -> None:
        client.recv(1)

    def halfway(server: Server, client: ssl.SSLSocket) -> None:
        client.sendall(server.welcome() + ANNOUNCED)
        client.recv(1)

    with (
        reached(certificate, tmp_path, mute) as (_, cluster),
        pytest.raises(Unreachable, match=r"no answer within 0\.3 s"),
    ):
        portforward.connect(cluster, "faultline", "db-0", PORT, 0.3)
    with reached(certificate, tmp_path, halfway) as (_, cluster):
        tunnel = portforward.connect(cluster, "faultline", "db-0", PORT, 0.3)
        with pytest.raises(TimeoutError):
            tunnel.makefile("rb").read(1)
        tunnel.close()


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path, certificate: Path) -> None:
    """As for every other question to an API server."""
    with reached(certificate, tmp_path, lambda server, client: None) as (server, cluster):
        server.close()
        with pytest.raises(LabError, match="no connection to port 3306 of db-0"):
            portforward.connect(cluster, "faultline", "db-0", PORT, 1.0)
