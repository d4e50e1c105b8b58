"""The settings of ``recsvc serve``: flags, else the environment, else files, else defaults."""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ..common.service import ServiceOptions, check_http
from ..errors import RecorderError
from ..process.runtime import checked_endpoint
from ..process.services import FILE_NAME
from . import values

PREFIX = "RECSVC_"


class SettingsError(Exception):
    """A setting is wrong; the text is one line that says which one, and where it was set."""


Seconds = Annotated[float, Field(ge=0), BeforeValidator(values.seconds)]
Place = Annotated[str, BeforeValidator(values.directory)]


class Settings(BaseSettings):
    """Each with its meaning. The names are those in files; ``--free-space-min`` and ``RECSVC_FREE_SPACE_MIN`` are the
    same."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    spool: Place = Field(
        default_factory=values.default_spool,
        description="The directory of the recordings. One service at a time has it.",
    )
    directory: Place = Field(
        default_factory=values.default_directory,
        description="The directory of the sockets and the connection file; made for this user alone.",
    )
    endpoint: Annotated[str, BeforeValidator(values.endpoint)] = Field(
        default="", description='Where programs of this machine connect, as ipc://PATH. "": `control` in `directory`.'
    )
    connection_file: Place = Field(
        default="",
        description=f'What programs of this machine find the service by. "": `{FILE_NAME}` in `directory`.',
    )
    tcp: Annotated[str, BeforeValidator(values.tcp)] = Field(
        default="",
        description="Where other machines connect: tcp://ADDRESS:PORT, the first of a few ports in a row (control, "
        'events, catalog, then one for each worker); such as tcp://*:7700. "": they do not.',
    )
    insecure: bool = Field(
        default=False,
        description="Serve other machines without keys: everybody may record, read, and listen on the wire.",
    )
    keys: Place = Field(
        default_factory=values.default_keys,
        description="The folder of the public keys that may connect from other machines.",
    )
    key_file: Place = Field(default_factory=values.default_key_file, description="The service's own pair of keys.")
    workers: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="How many encoder workers run. 0: one per core."
    )
    admission: bool = Field(
        default=True,
        description="Refuse a recording that the machine could not make in real time beside those that run, instead of "
        "beginning it and dropping frames of all.",
    )
    recordings_per_client: Annotated[int, Field(ge=0)] = Field(
        default=0, description="How many recordings one client may have at a time. 0: no limit."
    )
    bytes_per_client: ByteSize = Field(
        default=ByteSize(0),
        description="How much the recordings of one client that go on may take; one that takes too much ends. 0: no "
        "limit.",
    )
    finish_limit: Seconds = Field(
        default=10.0,
        description="How long recordings may take to be finished when the service ends; what is not encoded by then is "
        "cut. In seconds, or with a unit: s, m, h, d.",
    )
    retention_age: Seconds = Field(
        default=0.0, description="Finished recordings are deleted at this age, such as 30d. 0: never for their age."
    )
    retention_size: ByteSize = Field(
        default=ByteSize(0),
        description="The oldest finished recordings are deleted while all take more, such as 100GB. 0: never.",
    )
    retention_free: ByteSize = Field(
        default=ByteSize(0),
        description="The oldest finished recordings are deleted while less than this is free in the spool. 0: never.",
    )
    http_host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1", description="The address of the HTTP side. Another than this machine's needs `http_token`."
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=0, description="Its port. 0: no HTTP side.")
    http_token: SecretStr = Field(
        default=SecretStr(""), description='What its clients show as "Authorization: Bearer TOKEN". "": nothing.'
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="How log lines look on standard error. auto: console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severity that is logged."
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """They are merged in ``load``, which remembers where each came from."""
        return (init_settings,)

    def options(self) -> ServiceOptions:
        """What the controller gets of them. ``ValueError`` where they do not go together."""
        if self.http_port:
            check_http(self.http_host, self.http_token.get_secret_value())
        return ServiceOptions(
            endpoint=self.endpoint or checked_endpoint(f"ipc://{self.directory}/control"),
            tcp=self.tcp,
            insecure=self.insecure,
            keys=self.keys,
            key_file=self.key_file,
            spool=self.spool,
            keeps=True,
            workers=self.workers,
            finish_limit_s=self.finish_limit,
            admission=self.admission,
            recordings_per_client_max=self.recordings_per_client,
            bytes_per_client_max=self.bytes_per_client,
            retention_age_s=self.retention_age,
            retention_bytes=self.retention_size,
            retention_free_bytes=self.retention_free,
            http_host=self.http_host,
            http_port=self.http_port,
            http_token=self.http_token.get_secret_value(),
        )


@dataclass(frozen=True)
class Loaded:
    """``origins``: where each setting came from, that is no default."""

    settings: Settings
    origins: Mapping[str, str]
    print_config: bool

    def as_toml(self) -> str:
        """All settings as a file of them, each with its meaning and where it came from."""
        return "\n".join(
            f"# {field.description}\n# from {self.origins.get(name, 'default')}\n"
            f"{_line(name, getattr(self.settings, name))}\n"
            for name, field in Settings.model_fields.items()
        )


def _line(name: str, value: Any) -> str:
    if isinstance(value, SecretStr):
        return f'# {name} = "(hidden)"' if value.get_secret_value() else f'{name} = ""'
    if isinstance(value, bool):
        return f"{name} = {str(value).lower()}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{name} = "{escaped}"'
    return f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {int(value)}"


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none, each in words. Others of ours are none, and no mistake either."""
    settings = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    found = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in settings:
            close = difflib.get_close_matches(name, settings, 1, 0.85)
            found += [f"the environment has {name}, which is no setting: is {close[0]} meant?"] if close else []
    return found


def files() -> list[Path]:
    """Where settings are looked for, from the weakest on."""
    return [values.SYSTEM_FILE, values.configuration() / "service.toml"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="recsvc serve",
        description="Run a service that many programs record with, on this machine and others.",
        epilog="Each setting is also RECSVC_NAME in the environment and a line in a settings file. A flag goes before "
        f"the environment, that before --config or {' and '.join(map(str, reversed(files())))}. SIGTERM ends the "
        "service: recordings are finished first. Keys that are added count at once. Exit codes: 0 ended; 1 it cannot "
        "serve, and one line says why; 2 a setting is wrong.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE", help="the settings file, in TOML, in place of the usual ones")
    parser.add_argument(
        "--print-config", action="store_true", help="print all settings with their meaning and origin, and end"
    )
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        text = (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(flag, dest=name, metavar="VALUE", help=text)
    return parser


def load(arguments: Sequence[str]) -> Loaded:
    """``SettingsError``: which setting is wrong, and where it was set."""
    given = vars(_parser().parse_args(arguments))
    config, print_config = given.pop("config", None), given.pop("print_config", False)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources = [(str(path), _from_file(path)) for path in files() if config is None and path.is_file()]
    if config is not None:
        sources.append((config, _from_file(Path(config))))
    sources.append(("the environment", EnvSettingsSource(Settings)()))
    sources.append(("a flag", given))
    for origin, found in sources:
        merged |= found
        origins |= {name: f"{PREFIX}{name.upper()}" if origin == "the environment" else origin for name in found}
    origins |= {name: f"--{name.replace('_', '-')}" for name in given}
    try:
        settings = Settings(**merged)
    except RecorderError as error:  # of a default
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(one, origins) for one in error.errors())) from None
    return Loaded(settings, origins, print_config)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"there is no settings file {path}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _problem(error: Any, origins: Mapping[str, str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    where = f"{name} ({origins.get(name, 'default')})"
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting; see recsvc serve --print-config"
    text = error["msg"].removeprefix("Value error, ")
    shown = "" if name == "http_token" else f", got {error['input']!r}"
    return f"{where}: {text}{shown}"
