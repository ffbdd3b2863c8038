"""A connection to a port inside a pod, through the API server: for clusters whose network is not ours.

The library's own port forwarding waits with `select` for bytes that TLS has decrypted already. An API
server may send the answer of the handshake and the pod's first words in one record: the words of a
server that speaks first, as databases do, are then never heard. So this reads the frames itself, in the
thread of whoever reads.
"""

from __future__ import annotations

import io
import json
import ssl
from typing import Any

import pymysql
from kubernetes.client import Configuration
from kubernetes.stream.ws_client import websocket_proxycare
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from chaos.errors import LabError
from chaos.kube.api import Cluster, Refused, Unreachable, path_of

DATA, ERRORS = 0, 1
"""Channels of the only forwarded port. The first message of each repeats the port's number."""

PROTOCOL = "v4.channel.k8s.io"
"""Channels by the first byte of each message, binary (k8s.io/kubelet, streaming/portforward)."""


class Tunnel(io.RawIOBase):
    """A port of a pod, as far as a socket as a client of a database needs one.

    Args:
        channel: a WebSocket to the API server, just opened.
    """

    def __init__(self, channel: Any) -> None:
        super().__init__()
        self._channel = channel
        self._announced: set[int] = set()
        self._unread = b""
        self._ended = False

    # ---------------------------------------------------------------- as a socket

    def settimeout(self, seconds: float | None) -> None:
        """Wait so long for each piece."""
        self._channel.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """Send bytes to the port.

        Raises:
            OSError: the connection is gone.
        """
        try:
            self._channel.send(bytes([DATA]) + data, ABNF.OPCODE_BINARY)
        except WebSocketException as error:
            raise ConnectionResetError(f"the API server gave the connection up: {error}") from error

    def makefile(self, mode: str) -> io.BufferedReader:
        """What the port says, as a file to read."""
        assert mode == "rb"
        return io.BufferedReader(self)

    # ---------------------------------------------------------------- as a file

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at least a byte; 0 at the end.

        Raises:
            OSError: nothing came in time, the connection broke, or the pod has no such port.
        """
        while not self._unread and not self._ended:
            try:
                opcode, frame = self._channel.recv_data_frame()
            except WebSocketTimeoutException as error:
                raise TimeoutError("no answer through the API server") from error
            except WebSocketException as error:
                raise ConnectionResetError(f"the API server gave the connection up: {error}") from error
            if opcode == ABNF.OPCODE_CLOSE:
                self._ended = True
            else:
                self._take(bytes(frame.data))
        view = memoryview(buffer).cast("B")
        piece, self._unread = self._unread[: len(view)], self._unread[len(view) :]
        view[: len(piece)] = piece
        return len(piece)

    def _take(self, message: bytes) -> None:
        if not message:
            return
        number, content = message[0], message[1:]
        if number not in self._announced:
            self._announced.add(number)
        elif number == ERRORS:
            raise ConnectionRefusedError(content.decode(errors="replace").strip())
        else:
            self._unread += content

    def close(self) -> None:
        """Let go of the connection; harmless when it is closed."""
        if not self.closed:
            # The server learns it from the connection's end: its answer to a farewell is not waited for.
            self._channel.shutdown()
        super().close()


def connect(cluster: Cluster, namespace: str, pod: str, port: int, timeout: float) -> Tunnel:
    """Open a connection to ``port`` of a pod.

    Whether something listens there shows only when it is read from.

    Args:
        timeout: seconds for each step.

    Raises:
        Refused: the API server refuses.
        Unreachable: it does not answer.
        LabError: it does not speak this protocol.
    """
    client = cluster.client
    path = path_of("v1", "Pod", namespace, pod) + "/portforward"
    _, url, headers, *_ = client.param_serialize(
        "GET", path, query_params=[("ports", str(port))], header_params={}, auth_settings=["BearerToken"]
    )
    where = f"{cluster.site}: no connection to port {port} of {pod}"
    try:
        return Tunnel(_open(client.configuration, url.replace("http", "ws", 1), headers, timeout))
    except WebSocketBadStatusException as error:
        raise Refused(f"{where}: {_said(error)}", error.status_code) from error
    except WebSocketTimeoutException as error:
        raise Unreachable(f"{where}: no answer within {timeout:g} s") from error
    except (WebSocketException, ValueError) as error:
        raise LabError(f"{where}: {error}") from error
    except OSError as error:
        raise Unreachable(f"{where}: {error}") from error


def _open(settings: Configuration, url: str, headers: dict[str, str], timeout: float) -> Any:
    """A connection as the settings of the library's client say."""
    secured: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if settings.verify_ssl else ssl.CERT_NONE}
    options = {
        "ca_certs": settings.ssl_ca_cert if settings.verify_ssl else None,
        "certfile": settings.cert_file,
        "keyfile": settings.key_file,
        "server_hostname": settings.tls_server_name,
        "check_hostname": settings.assert_hostname if settings.verify_ssl else False,
    }
    secured |= {name: value for name, value in options.items() if value is not None}
    said = [f"sec-websocket-protocol: {PROTOCOL}"]
    if "authorization" in headers:
        said.append(f"authorization: {headers['authorization']}")
    how: dict[str, Any] = {"header": said, "timeout": timeout}
    if settings.proxy or settings.proxy_headers:
        how = websocket_proxycare(how, settings, url, headers)  # type: ignore[no-untyped-call]
    channel: Any = WebSocket(sslopt=secured)
    channel.connect(url, **how)
    return channel


def _said(error: WebSocketBadStatusException) -> str:
    """The API server's own words, if it has any."""
    try:
        return str(json.loads(error.resp_body or b"")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error).partition(" -+-+- ")[0]


def database(
    cluster: Cluster,
    namespace: str,
    pod: str,
    port: int,
    *,
    user: str,
    password: str,
    name: str,
    timeout: float = 30.0,
) -> Any:
    """A connection to the database server in a pod.

    Raises:
        LabError: there is no way to it.
        pymysql.err.MySQLError: the server refuses, or is not there.
    """
    connection = pymysql.connect(
        host=pod,
        user=user,
        password=password,
        database=name,
        charset="latin1",
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
        defer_connect=True,
        ssl_disabled=True,  # the tunnel is TLS already, and nothing that TLS can be put around again
    )
    tunnel: Any = connect(cluster, namespace, pod, port, timeout)
    connection.connect(tunnel)
    return connection
