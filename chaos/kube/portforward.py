"""A connection to a port inside a pod, through the API server: for clusters whose network is not ours."""

from __future__ import annotations

import socket
from typing import Any

import pymysql

from chaos.errors import LabError
from chaos.kube.api import Cluster


def connect(cluster: Cluster, namespace: str, pod: str, port: int) -> socket.socket:
    """Open a connection to ``port`` of a pod.

    Raises:
        LabError: the API server refuses, or does not answer.
    """
    from kubernetes.client import CoreV1Api
    from kubernetes.client.exceptions import ApiException
    from kubernetes.stream import portforward

    try:
        api = CoreV1Api(cluster.client)
        forward = portforward(api.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
        found: socket.socket = forward.socket(port)
    except (ApiException, OSError, ValueError) as error:
        raise LabError(f"{cluster.site}: no connection to port {port} of {pod}: {error}") from error
    return found


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
        pymysql.err.MySQLError: the server refuses.
    """
    connection = pymysql.connect(
        host="pod",
        user=user,
        password=password,
        database=name,
        charset="latin1",
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
        defer_connect=True,
    )
    connection.connect(connect(cluster, namespace, pod, port))
    return connection
