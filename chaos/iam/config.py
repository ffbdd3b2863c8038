"""The configuration file of one replica."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from topologies.quantities import Duration


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, place and expectation."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseConfig(_Model):
    """The one database endpoint of this replica."""

    host: str
    port: int = Field(3306, ge=1, le=65535)
    user: str
    password: str = ""
    name: str = "iam"


class RedisConfig(_Model):
    """Sessions behind Redis Sentinel.

    Attributes:
        sentinels: addresses as [host, port].
        master: the name the sentinels know the primary by.
        timeout: seconds per command (Lettuce default 60 s, facts/iam.md section 5).
    """

    sentinels: list[tuple[str, int]] = Field(min_length=1)
    master: str = "sessions"
    timeout: Duration = 60.0


class Config(_Model):
    """One replica.

    Attributes:
        listen: `address:port` to serve on.
        site: where the replica is; shown in the `X-Iam-Site` header.
        instance: its name; shown in the `X-Iam-Instance` header and in the log.
        issuer: base URL in tokens and discovery; all replicas name the same one.
        database: where the data is.
        redis: where the sessions are; null switches login sessions off.
        pool: most database connections (HikariCP maximum-pool-size 50).
        pool_timeout: seconds to wait for one (HikariCP connection-timeout 30 s).
        minimum_idle: connections kept ready (INDIGO sets 8).
        threads: requests served at once (Tomcat 200).
        backlog: pending connections (Tomcat acceptCount 100).
        key_file: PEM of the signing key, made when missing; one file for all replicas.
        bcrypt_cost: cost of the hash compared when the user does not exist (Spring does so too, against
            timing probes); real users carry their cost in their hash.
    """

    listen: str
    site: str = "local"
    instance: str = "iam"
    issuer: str = "http://iam.faultline.test/"
    database: DatabaseConfig
    redis: RedisConfig | None = None
    pool: int = Field(50, ge=1, le=1000)
    pool_timeout: Duration = 30.0
    minimum_idle: int = Field(8, ge=0)
    threads: int = Field(200, ge=1, le=2000)
    backlog: int = Field(100, ge=1)
    key_file: Path = Path("signing-key.pem")
    bcrypt_cost: int = Field(10, ge=4, le=14)

    @field_validator("listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("expected address:port, for example 127.0.0.1:8001")
        return value


def load(path: Path) -> Config:
    """Read ``path``; a relative `key_file` is taken from the file's directory.

    Raises:
        ConfigError: the file is missing, is not JSON, or says something this version does not know.
    """
    try:
        config = Config.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a JSON file with --config") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "top level"
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error
    return config.model_copy(update={"key_file": path.parent / config.key_file})
