"""What ``recsvc keygen`` makes: the key of a service, and those of its clients."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from .. import errors
from ..common.permissions import PERMISSIONS
from ..common.service import ServiceOptions
from ..process.services import address_of
from ..serve.settings import load
from ..serve.values import DEFAULT_TCP_PORT
from ..wire import curve


def make_service() -> list[str]:
    """Those of the service, where there are none yet. What is to be done next, in lines."""
    options = _options()
    path = Path(options.key_file)
    there = path.exists()
    keys = curve.make_service_keys(path)
    return [
        f"The key of the service is in {path}{' already' if there else ''}; keep that file secret.",
        f"Its public key, which clients need: {keys.public}",
        "Next: recsvc keygen NAME --authorize, for each client.",
    ]


def make_client(
    name: str, permissions: str, service: str, server_key: str, directory: Path, *, authorize: bool
) -> list[str]:
    """Keys of a client: its connection file, for it alone, and what the service is to have. What is to be done next, in
    lines."""
    if not curve.NAME.match(name):
        raise ValueError(f"a client is called by letters, digits and _.- (its files are), not {name!r}")
    granted = tuple(dict.fromkeys(filter(None, (one.strip() for one in permissions.split(",")))))
    if not granted or not set(granted) <= set(PERMISSIONS):
        raise ValueError(f"permissions are some of {','.join(PERMISSIONS)}, not {permissions!r}")
    if server_key and authorize:
        raise ValueError("--authorize is for the service's own machine, where its key is known: omit --server-key")
    options = _options()
    if server_key:
        public = curve.checked_key(server_key, "--server-key")
    else:
        public = curve.make_service_keys(Path(options.key_file)).public
    endpoint = address_of(service or _endpoint(options)).endpoint
    if not endpoint.startswith("tcp://"):
        raise ValueError(f"keys are for services on other machines (tcp://HOST:PORT), not {endpoint!r}")
    keys = curve.make_keys()
    private, shown = directory / f"{name}.json", _shown(name, directory, options, authorize=authorize)
    for path in (private, shown):
        if path.exists():
            raise errors.InvalidStateError(f"{path} is there already; remove it first, or choose another name")
    content = {
        "endpoint": endpoint,
        "server_key": public,
        "public_key": keys.public,
        "secret_key": keys.secret,
    }
    curve.write_secret(private, f"{json.dumps(content, indent=2)}\n")
    curve.write_secret(shown, curve.authorized_text(keys.public, granted))
    lines = [f"{private} is what {name} connects with: bring it there by a safe way, and keep it secret."]
    if authorize:
        lines.append(f"{shown} lets it in, from now on, to {', '.join(granted)}. Remove it to shut it out.")
    else:
        lines.append(
            f"{shown} is for the service's machine, into its folder of keys ({options.keys}): that lets it in."
        )
    example = "recsvc record" if "record" in granted else "recsvc list"
    return [*lines, f"Then, over there: {example} --service {private.name}, or RECSVC_SERVICE={private.name}"]


def _shown(name: str, directory: Path, options: ServiceOptions, *, authorize: bool) -> Path:
    """Where the file with the public key is put."""
    if not authorize:
        return directory / f"{name}.toml"
    keys = Path(options.keys)
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    return keys / f"{name}.toml"


def _options() -> ServiceOptions:
    """Of the service of this machine, as ``recsvc serve`` would take them here."""
    return load([]).settings.options()


def _endpoint(options: ServiceOptions) -> str:
    """Where others reach the service of this machine, by its name."""
    host, _, port = options.tcp.removeprefix("tcp://").rpartition(":")
    name = socket.gethostname() if host in ("", "*", "0.0.0.0", "[::]") else host
    return f"tcp://{name}:{port if port.isdecimal() and int(port) else DEFAULT_TCP_PORT}"
