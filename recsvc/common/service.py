"""What a service is: how its controller is set up, and by what a client reaches it. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace

from ..errors import ServiceError

CONTROL_PORT, EVENTS_PORT, CATALOG_PORT, WORKERS_PORT = range(4)
"""A service's sockets have ports that follow each other, from the base on; a worker has ``WORKERS_PORT`` and its number
more."""


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """What a controller needs to know. The defaults are those of a private one.

    Numbers that bound something: 0 is no bound. ``""``: there is none.
    """

    endpoint: str = ""
    """Where programs of this machine reach it (``ipc://…``); ``""``: in its runtime directory."""
    tcp: str = ""
    """The base of its endpoints for other machines, such as ``tcp://*:7700``; with ``*`` as port, any free ones."""
    insecure: bool = False
    """Whether ``tcp`` is served without keys, to everybody."""
    keys: str = ""
    """A folder with the public keys that may connect by ``tcp``."""
    key_file: str = ""
    """The service's own key pair."""
    spool: str = ""
    """Where recordings are written."""
    keeps: bool = False
    """Whether recordings belong to the service, which has a catalog of them, and not to their callers."""
    workers: int = 0
    """How many encoder workers; 0: one per core."""
    finish_limit_s: float = 10.0
    """How long running recordings may take to be finished when the service ends; what is left then is cut."""
    admission: bool = False
    """Whether a recording that could not be made in real time is refused, instead of being begun and dropping
    frames."""
    recordings_per_client_max: int = 0
    bytes_per_client_max: int = 0
    retention_age_s: float = 0.0
    """Finished recordings that are older are deleted."""
    retention_bytes: int = 0
    """The oldest finished ones are deleted while all together are larger."""
    retention_free_bytes: int = 0
    """The oldest finished ones are deleted while less is free where the spool is."""
    http_host: str = "127.0.0.1"
    http_port: int = 0
    """0: no HTTP."""
    http_token: str = field(default="", repr=False)
    """What clients of HTTP show; needed where ``http_host`` is more than this machine."""

    def network_arguments(self, offset: int) -> tuple[str, ...]:
        """For a process that others reach by the port that is so many behind the base; none without ``tcp``."""
        if not self.tcp:
            return ()
        keys = () if self.insecure else ("--keys", self.keys, "--key-file", self.key_file)
        return "--tcp", self.tcp_endpoint(offset), *keys

    def tcp_endpoint(self, offset: int) -> str:
        """Of the socket that is so many ports behind the base; ``""`` without ``tcp``."""
        host, _, port = self.tcp.rpartition(":")
        return self.tcp if not port.isdecimal() or port == "0" else f"{host}:{int(port) + offset}"


@dataclass(frozen=True)
class ServiceAddress:
    """By what a client reaches a service: an endpoint of it, and over tcp the service's public key and the client's own
    pair of keys (Z85, as ``recsvc keygen`` makes them); without them nothing is encrypted."""

    endpoint: str
    server_key: str = ""
    public_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)

    def at(self, endpoint: str) -> ServiceAddress:
        """Another endpoint of the same service."""
        return replace(self, endpoint=endpoint)

    @property
    def is_remote(self) -> bool:
        """Whether it is reached over a network, which may be cut."""
        return self.endpoint.startswith("tcp://")

    def __str__(self) -> str:
        return self.endpoint


def reachable(endpoints: tuple[str, ...], by: ServiceAddress) -> ServiceAddress:
    """Of the endpoints of one socket of a service, the one with the transport of ``by``, by which the service was
    reached; a host ``*`` is its host. ``ServiceError``: there is none. Pure."""
    transport, _, address = by.endpoint.partition("://")
    for endpoint in endpoints:
        if endpoint.startswith(f"{transport}://"):
            return by.at(endpoint.replace("://*:", f"://{address.rpartition(':')[0]}:"))
    raise ServiceError(
        f"the service at {by} names no endpoint that is reached so, but {', '.join(endpoints) or 'none'}"
    )


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_http(host: str, token: str) -> None:
    """Raises ``ValueError`` where an address must not be served without a token."""
    if not token and not is_loopback(host):
        raise ValueError(
            f"HTTP at {host} is reached by other machines: set a token (http_token), or serve at 127.0.0.1 only"
        )
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("the token for HTTP must be printable ASCII without spaces")


def http_url(options: ServiceOptions) -> str:
    """Where HTTP is served, for programs of this machine; ``""``: it is not."""
    if not options.http_port:
        return ""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.http_host, options.http_host)
    return f"http://[{host}]:{options.http_port}" if ":" in host else f"http://{host}:{options.http_port}"
