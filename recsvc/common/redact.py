"""What of a source may be shown: never a password or a token. Pure."""

import re

HIDDEN = "***"

_ADDRESS = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"<>]*)")
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
LOCAL_SCHEMES = ("camera", "file", "mic", "screen", "test")
"""Of sources on this machine: a path may hold any character, and parameters of ours are no secrets."""


def redacted(text: str) -> str:
    """Returns ``text``, a source string or a message with addresses in it, without credentials: user, password, and
    the values of all parameters. Rather too much is hidden than too little; but a path stays, so an address whose
    *path* is the secret is shown.
    """
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() in LOCAL_SCHEMES:
        return text
    if "://" not in text and "@" in text:  # mistyped, as in rtsp:user:secret@host or user:secret@host
        return f"{HIDDEN}@{text.rpartition('@')[2]}"
    return _ADDRESS.sub(lambda found: f"{found[1]}://{_address(found[1].lower(), found[2])}", text)


def _address(scheme: str, rest: str) -> str:
    if scheme in LOCAL_SCHEMES:
        return rest
    host, _, path = rest.partition("/")
    user_ends = 0
    if "@" in host:  # the last one: passwords with an @, a ? or a # in them are common
        user_ends = host.rindex("@") + 1
    elif "@" in path and ":" in host.rpartition("]")[2]:  # or with a slash: it makes user:… look like host:port
        user_ends = rest.rindex("@") + 1
    user, rest = HIDDEN + "@" if user_ends else "", rest[user_ends:]
    place, *parameters = re.split("([?#&;])", rest)
    return user + place + "".join(part if part in "?#&;" else _parameter(part) for part in parameters)


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    return name + equals + HIDDEN if equals else HIDDEN
