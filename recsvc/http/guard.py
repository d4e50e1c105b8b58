"""Who may do what over HTTP. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ..common.service import is_loopback

OPEN_PATHS = ("/healthz", "/readyz")
"""What everybody may ask, since it says nothing of any recording: whoever watches over a service has no token."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Refusal(NamedTuple):
    status: int
    error: str
    text: str


class Guard:
    """Decides for each request by its method, path and headers (of lower case)."""

    def __init__(self, host: str, token: str) -> None:
        """``host``: the address at which is served."""
        self._token = token.encode()
        self._host = host
        self._is_local = is_loopback(host)

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request is refused; ``None``: it is not."""
        named = _host_of(headers.get("host", ""))
        if self._is_local and not (is_loopback(named) or named == self._host):
            # A page of another site, whose name was made to lead here (DNS rebinding), must not read recordings.
            return Refusal(421, "SecurityError", f"this is served to this machine as localhost, not as {named!r:.80}")
        if method not in _SAFE_METHODS and self._is_foreign(headers):
            return Refusal(403, "SecurityError", "pages of other sites change nothing here")
        if self._token and path not in OPEN_PATHS and not self._is_shown(headers.get("authorization", "")):
            return Refusal(401, "NotAllowedError", "a token is needed: Authorization: Bearer TOKEN")
        return None

    def _is_foreign(self, headers: Mapping[str, str]) -> bool:
        """Whether a browser says that the request was made by a page of another site."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        try:
            return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        except ValueError:  # it is no address
            return True

    def _is_shown(self, authorization: str) -> bool:
        scheme, _, shown = authorization.partition(" ")
        is_right = hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), self._token)
        return is_right and scheme.lower() == "bearer"


def _host_of(header: str) -> str:
    """Of ``Host``, without the port."""
    if header.startswith("["):
        return header.partition("]")[0].lstrip("[")
    return header.partition(":")[0]
