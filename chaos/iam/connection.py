"""A lean MariaDB connection: PyMySQL connects and authenticates, this class sends and reads.

A token request is 90-160 tiny statements whose column names the service knows, so most of a
general-purpose driver's work (column metadata, type conversion, cursors) is waste. This class
skips the metadata packets unread and hands out raw bytes. It speaks the text protocol, as
Connector/J does by default, so the server sees the statements it would see from INDIGO IAM.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pymysql
from pymysql.constants import CLIENT

from chaos.iam.errors import DatabaseError

Row = Sequence[bytes | None]
Value = str | int | bool | None

SESSION_CHECK = "SELECT @@session.auto_increment_increment, @@session.tx_isolation, @@session.autocommit"
"""Connector/J reads session variables on connect: one round trip.

It touches no table, so a Galera node outside of the primary component answers it, and the
pool goes on making connections on which every real statement fails with 1047.
"""


@dataclass(frozen=True)
class DatabaseAddress:
    """Where the database is and who we are there.

    Attributes:
        host: name or address of the one endpoint (facts/iam.md 6: IAM knows no second one).
        port: TCP port.
        user: account name.
        password: its password.
        name: schema.
        connect_timeout: seconds for connect and handshake (HikariCP passes its connection-timeout on).
    """

    host: str
    port: int
    user: str
    password: str
    name: str
    connect_timeout: float = 30.0


class Statements(Protocol):
    """What a unit needs of a connection; `Connection` and the tests' recorders offer it."""

    def select(self, sql: str, *values: Value, columns: int = ...) -> list[Row]:
        """Rows of a SELECT, the first ``columns`` columns of each."""

    def execute(self, sql: str, *values: Value) -> int:
        """Run anything else; return the number of affected rows."""


def quote(value: Value) -> str:
    """Write ``value`` as an SQL literal, escaping what the text protocol needs escaped."""
    if value is None:
        return "NULL"
    if isinstance(value, int):  # bool included
        return str(int(value))
    return "'" + pymysql.converters.escape_string(value) + "'"


class Connection:
    """One session, in autocommit mode until a transaction says otherwise."""

    def __init__(self, address: DatabaseAddress) -> None:
        try:
            self._raw = pymysql.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password,
                database=address.name,
                connect_timeout=max(1, int(address.connect_timeout)),
                charset="utf8mb4",
                autocommit=True,
                # An UPDATE that finds its row reports it even when nothing changed, as JPA expects.
                client_flag=CLIENT.FOUND_ROWS,
            )
        except pymysql.err.MySQLError as error:
            raise _translate(error) from error
        self._socket: socket.socket = self._raw._sock  # type: ignore[attr-defined]
        self._buffer = b""
        self._position = 0
        self.execute("SET time_zone = '+00:00'")
        self.select(SESSION_CHECK)

    def select(self, sql: str, *values: Value, columns: int = 255) -> list[Row]:
        """Run one SELECT.

        Args:
            sql: text with a `%s` for every value.
            values: literals to insert, quoted.
            columns: how many leading columns of each row to decode.

        Raises:
            DatabaseError: the server refused, or the connection is gone.
        """
        self._send(sql % tuple(map(quote, values)) if values else sql)
        start, end = self._packet()
        count = self._buffer[start]
        if count == 0xFF:
            raise self._error(start, end)
        if count == 0:
            return []
        if count >= 0xFB:  # more than 250 columns: no statement of ours
            raise DatabaseError(2027, "HY000", "malformed packet")
        packet = self._packet
        for _ in range(count + 1):  # column definitions and their EOF: known, so unread
            packet()
        rows: list[Row] = []
        while True:
            start, end = packet()
            head = self._buffer[start]
            if head == 0xFE and end - start < 9:
                return rows
            if head == 0xFF:
                raise self._error(start, end)
            rows.append(_row(self._buffer, start, end, columns))

    def execute(self, sql: str, *values: Value) -> int:
        """Run a statement that returns no rows; return how many rows it affected.

        Raises:
            DatabaseError: the server refused, or the connection is gone.
        """
        self._send(sql % tuple(map(quote, values)) if values else sql)
        start, end = self._packet()
        if self._buffer[start] == 0xFF:
            raise self._error(start, end)
        affected = self._buffer[start + 1]
        if affected < 0xFB:
            return affected
        width = {0xFC: 2, 0xFD: 3}.get(affected, 8)
        return int.from_bytes(self._buffer[start + 2 : start + 2 + width], "little")

    def alive(self, timeout: float) -> bool:
        """Whether `SELECT 1` answers within ``timeout`` seconds (HikariCP connection-test-query)."""
        try:
            self._socket.settimeout(timeout)
            self.select("SELECT 1")
            self._socket.settimeout(None)
        except (DatabaseError, OSError):
            return False
        return True

    def close(self) -> None:
        """Drop the connection without ceremony."""
        self._raw._force_close()  # type: ignore[attr-defined]

    def _send(self, sql: str) -> None:
        body = sql.encode()
        self._buffer = b""
        self._position = 0
        try:
            self._socket.sendall(struct.pack("<IB", len(body) + 1, 3) + body)
        except OSError as error:
            raise DatabaseError(2006, "08S01", f"connection lost while sending: {error}") from error

    def _packet(self) -> tuple[int, int]:
        """Take the next packet off the wire; return where its payload starts and ends in the buffer."""
        position = self._position
        while len(self._buffer) < position + 4:
            self._fill()
        buffer = self._buffer
        end = position + 4 + (buffer[position] | buffer[position + 1] << 8 | buffer[position + 2] << 16)
        while len(self._buffer) < end:
            self._fill()
        self._position = end
        return position + 4, end

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise DatabaseError(2013, "08S01", f"connection lost while waiting: {error}") from error
        if not data:
            raise DatabaseError(2013, "08S01", "the server closed the connection")
        self._buffer += data

    def _error(self, start: int, end: int) -> DatabaseError:
        packet = self._buffer[start:end]
        number = packet[1] | packet[2] << 8
        if packet[3:4] == b"#":
            return DatabaseError(
                number, packet[4:9].decode("ascii", "replace"), packet[9:].decode("utf-8", "replace")
            )
        return DatabaseError(number, "HY000", packet[3:].decode("utf-8", "replace"))


def _row(buffer: bytes, position: int, end: int, columns: int) -> Row:
    """Decode the first ``columns`` length-encoded strings of a row packet."""
    row: list[bytes | None] = []
    while position < end and columns:
        columns -= 1
        length = buffer[position]
        position += 1
        if length == 0xFB:
            row.append(None)
            continue
        if length > 0xFB:
            width = {0xFC: 2, 0xFD: 3, 0xFE: 8}[length]
            length = int.from_bytes(buffer[position : position + width], "little")
            position += width
        row.append(buffer[position : position + length])
        position += length
    return row


def _translate(error: pymysql.err.MySQLError) -> DatabaseError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 2003
    return DatabaseError(number, "08001", str(error.args[-1]) if error.args else "no connection")
