"""What every face of recsvc promises: one suite, run against each of them.

``Behaviour`` holds the tests, by subject. A face is an adapter that makes sources and recorders whose calls are
awaited: ``test_behaviour_sync.py`` and ``test_behaviour_aio.py`` each bring one, and a service elsewhere would be a
third. The tests are coroutine functions; a subclass turns each into an ordinary one, which runs it to its end
(``Suite``). The synchronous face does the opposite: it makes ordinary calls look like awaited ones (``Awaited``).

Frames are pushed with capture times of their own, so that minutes of media take no minute; where real time matters,
it is used and bounded from both sides. ``Captured`` runs some of the tests once more, with tracks that are captured.
"""

from .calls import Calls
from .captured import Captured
from .ending import Ending
from .listeners import Listeners
from .options import Options
from .pieces import Pieces
from .sequence import Sequence
from .studio import Studio, until
from .tracks import Tracks

__all__ = ["Behaviour", "Captured", "Studio", "until"]


class Behaviour(Calls, Options, Pieces, Tracks, Sequence, Listeners, Ending):
    """All of them."""
