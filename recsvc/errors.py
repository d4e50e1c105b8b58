"""The exceptions of recsvc.

Each class carries in ``name`` the DOMException name that a browser would report
(W3C MediaStream Recording, "Exception summary"; Media Capture and Streams, "getUserMedia()").
Wrong types and out-of-range numbers raise the built-in ``TypeError`` and ``ValueError``.
"""

CONSTRAINTS = ("sample_rate", "channel_count", "sample_size", "width", "height", "frame_rate", "encoded", "preroll")


class RecorderError(Exception):
    """Base of every error that recsvc raises by itself."""

    name = "UnknownError"


class InvalidStateError(RecorderError):
    """The call is not allowed in the present state."""

    name = "InvalidStateError"


class NotSupportedError(RecorderError):
    """The type, option or track cannot be recorded; the text names which and why."""

    name = "NotSupportedError"


class SecurityError(RecorderError):
    """The media may not be read."""

    name = "SecurityError"


class NotAllowedError(RecorderError):
    """The service does not permit this to the key by which one came; the text names the permission that is missing."""

    name = "NotAllowedError"


class InvalidModificationError(RecorderError):
    """A track was added to or removed from the stream while it was recorded."""

    name = "InvalidModificationError"


class UnknownError(RecorderError):
    """The recording could not continue for a reason that has no name of its own."""

    name = "UnknownError"


class NotFoundError(RecorderError):
    """The device, file or address does not exist."""

    name = "NotFoundError"


class NotReadableError(RecorderError):
    """The device, file or address exists and cannot be read."""

    name = "NotReadableError"


class OverconstrainedError(RecorderError):
    """The source cannot deliver what the constraints ask for. The text begins with the constraint's name, if any."""

    name = "OverconstrainedError"

    @property
    def constraint(self) -> str:
        """The name of the constraint that cannot be met; ``""`` where it is the media that cannot be had."""
        name = str(self).partition(":")[0]
        return name if name in CONSTRAINTS else ""


class EncodingError(RecorderError):
    """An encoder refused its settings or failed on a frame."""

    name = "EncodingError"


class QuotaExceededError(RecorderError):
    """The disk is full or a stated bound is reached."""

    name = "QuotaExceededError"


class BusyError(QuotaExceededError):
    """The service cannot take this recording in real time beside those that it has.

    ``needed`` and ``free`` are in cores: what it would take of the processors' time, and what is left of it. A service
    may also have no core that is free enough, while all together would be. Stop a recording, wait for one to end, or
    record less: fewer pixels, fewer pictures per second, VP8 instead of VP9.
    """

    needed: float = 0.0
    free: float = 0.0


class ServiceError(RecorderError):
    """There is no service at the endpoint, or it went away."""

    name = "ServiceError"


class RedirectError(ServiceError):
    """The service gives the recording to another one, which cannot be followed there; the text says why.

    Recorders follow by themselves where they can. ``endpoint`` and ``key`` (public, Z85) are the other service's.
    """

    endpoint: str = ""
    key: str = ""


BY_NAME = {cls.name: cls for cls in RecorderError.__subclasses__()}


BUSY = "busy"
"""The code of a ``BusyError`` in a reply; browsers know no such error."""

REDIRECT = "redirect"
"""The code of a ``RedirectError`` in a reply."""


def from_name(name: str, text: str, details: object = None) -> Exception:
    """The exception that another process sent by its name; ``UnknownError`` where the name is not known. ``details``:
    the reply's result."""
    if name == "TypeError":
        return TypeError(text)
    if name == "ValueError":
        return ValueError(text)
    if name == BUSY:
        busy = BusyError(text)
        given = details if isinstance(details, dict) else {}
        cores = [given.get(key, 0.0) for key in ("needed", "free")]
        busy.needed, busy.free = (float(one) if isinstance(one, int | float) else 0.0 for one in cores)
        return busy
    if name == REDIRECT:
        where = details if isinstance(details, dict) else {}
        endpoint, key = (str(where.get(one, "")) for one in ("endpoint", "key"))
        redirect = RedirectError(f"{text}: {endpoint or 'without an endpoint'}")
        redirect.endpoint, redirect.key = endpoint, key
        return redirect
    return event_error(name, text)


def event_error(name: str, text: str) -> RecorderError:
    """The exception of an error event. It is one of this module, whatever has failed."""
    cls = BY_NAME.get(name)
    return cls(text) if cls is not None else UnknownError(f"{name}: {text}")


def name_of(error: BaseException) -> str:
    """The name under which an exception travels to another process."""
    if isinstance(error, BusyError):
        return BUSY
    if isinstance(error, RecorderError):
        return error.name
    if isinstance(error, (TypeError, ValueError)):
        return type(error).__name__ if type(error) in (TypeError, ValueError) else "ValueError"
    return "UnknownError"


def details_of(error: BaseException) -> dict[str, float] | None:
    """What travels with it, as a reply's result."""
    return {"needed": error.needed, "free": error.free} if isinstance(error, BusyError) else None
