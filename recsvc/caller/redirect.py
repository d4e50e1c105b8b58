"""Where a service that gives a recording to another one sends its client. Pure."""

from __future__ import annotations

from .. import errors
from ..common.service import ServiceAddress
from ..common.service_limits import HOPS_MAX
from ..process.services import address_of


def target(redirect: errors.RedirectError, been: list[ServiceAddress]) -> ServiceAddress:
    """The service that the last of ``been`` names. Its public key is that of the answer alone, the client's own pair
    goes with it. ``RedirectError``: it cannot be followed there, and why. What was encrypted stays so, and a service
    over a network names no socket of the client's machine."""
    sender = been[-1]
    try:
        endpoint = address_of(redirect.endpoint).endpoint if "://" in redirect.endpoint else ""
    except (ValueError, errors.ServiceError):
        endpoint = ""
    if not endpoint:
        raise _refused(sender, redirect, "expected an endpoint such as tcp://recorder.example:7700")
    if endpoint.startswith("ipc://"):
        if sender.is_remote:
            raise _refused(sender, redirect, "that is a socket of this machine, which another machine cannot know")
        found = ServiceAddress(endpoint)
    elif redirect.key:
        if not sender.secret_key:
            raise _refused(sender, redirect, "it wants keys: name a connection file that has some (recsvc keygen)")
        found = ServiceAddress(endpoint, redirect.key, sender.public_key, sender.secret_key)
    else:
        if sender.server_key:
            raise _refused(sender, redirect, "it names no key, and what is encrypted is not sent openly")
        found = ServiceAddress(endpoint)
    if any(one.endpoint == found.endpoint for one in been):
        raise _refused(sender, redirect, "which had sent it on: they send it round in a circle")
    if len(been) > HOPS_MAX:
        raise _refused(sender, redirect, f"after {HOPS_MAX} others: it was sent on too often")
    return found


def _refused(sender: ServiceAddress, redirect: errors.RedirectError, why: str) -> errors.RedirectError:
    where = redirect.endpoint[:200]
    refused = errors.RedirectError(f"the service at {sender} sends the recording to {where!r}: {why}")
    refused.endpoint, refused.key = redirect.endpoint, redirect.key
    return refused
