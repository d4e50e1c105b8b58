"""Whether a recording may begin: whether the machine can take it in real time, and its client's bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ..common.limits import S
from ..common.mime import Format
from ..common.service import ServiceOptions
from ..common.service_limits import CORES_SHARE, COST_DECAY, LOAD_REPORT_NS
from ..common.state import Phase
from ..errors import BusyError, QuotaExceededError
from ..wire import messages
from . import placement
from .recording import Recording
from .supervisor import Child
from .workers import Workers

_FULL = 1000.0
_SMALL = 0.001  # cores: what costs nothing by itself still counts where it is placed


class _Seen:
    """What a worker's newest reports have; the last one may still be incomplete."""

    def __init__(self) -> None:
        self.at_ns = self.cpu_ns = 0
        self.load = 0.0
        self.done: dict[str, float] = {}  # default ns of work since the report before


class _Captures:
    """What capture processes take: what it costs to decode a stream is not known before."""

    def __init__(self) -> None:
        self._seen: dict[Any, tuple[int, int]] = {}
        self._cores: dict[Any, float] = {}

    def look(self, children: set[Any], now_ns: int) -> None:
        """Once a second at most, and cheap: the system is asked for one number of each."""
        if any(now_ns - at_ns < LOAD_REPORT_NS for at_ns, _ in self._seen.values()):
            return
        seen: dict[Any, tuple[int, int]] = {}
        for child in children:
            with suppress(OSError):  # it has ended
                seen[child] = now_ns, time.clock_gettime_ns(~child.process.pid << 3 | 2)  # clock_getcpuclockid(3)
        for child, (_, cpu_ns) in seen.items():
            if child in self._seen:
                before_ns, cpu_before_ns = self._seen[child]
                taken = (cpu_ns - cpu_before_ns) / (now_ns - before_ns)
                self._cores[child] = max(taken, COST_DECAY * self._cores.get(child, 0.0))
        self._seen = seen
        self._cores = {child: cores for child, cores in self._cores.items() if child in seen}

    def cores(self, costs: Iterable[tuple[Recording, placement.Cost]]) -> float:
        """Of all that feed these recordings; what is not measured yet counts as declared."""
        measured: set[Any] = set()
        declared = 0.0
        for recording, cost in costs:
            children = set(recording.feeders.values())
            if children <= self._cores.keys():
                measured |= children
            else:
                declared += cost.demand.captured
        return declared + sum(self._cores[child] for child in measured)


class Admission:
    """Keeps what each recording costs. Not thread-safe: the controller's loop calls it."""

    def __init__(
        self, options: ServiceOptions, cores: float, on_too_large: Callable[[Recording, str, str], None]
    ) -> None:
        """``on_too_large(recording, error, text)``: its client's recordings have more bytes than they may."""
        self._options = options
        self._cores = cores
        self._on_too_large = on_too_large
        self._factors = placement.Factors()
        self._recordings: dict[str, tuple[Recording, placement.Cost]] = {}
        self._newest: dict[str, messages.RecordingLoad] = {}
        self._seen: dict[Any, _Seen] = {}
        self._captures = _Captures()

    # --- may it begin? ----------------------------------------------------------------------------

    def place(
        self, request: messages.Start, chosen: Format, whose: str, workers: Workers
    ) -> tuple[Child, placement.Cost]:
        """Its worker, and what it is going to cost. ``QuotaExceededError`` where its client (``whose``) has all that it
        may have; ``BusyError`` where there is no room."""
        self._check_client(whose)
        demand = placement.demand(request.tracks, chosen, request.options.overload)
        threads = placement.threads_needed(demand, self._factors, self._cores)
        if threads > 1:
            held = self._captures.cores(self._recordings.values())
            held += sum(cost.held(self._factors) for _, cost in self._recordings.values())
            threads = placement.threads_found(threads, demand, held, self._cores)
        cost = placement.Cost(demand, threads)
        if demand.elastic:
            return workers.choose(self.load), cost
        most = placement.most_of_worker(self._cores) - cost.cores(self._factors) / cost.threads

        def load(worker: Child) -> float:
            """A worker where it does not fit comes after all where it does."""
            used = self._used(worker)
            return used if used <= most else used + _FULL

        worker = workers.choose(load)
        if self._options.admission:
            loops = [self._used(one) for one in workers.pool]
            taken = self._captures.cores(self._keeping_up())
            taken += sum(one.cores(self._factors) for _, one in self._keeping_up())
            room = placement.room(demand, self._factors, loops, taken, self._cores, cost.threads)
            if not room.fits:
                raise _busy(room)
        return worker, cost

    def _check_client(self, whose: str) -> None:
        most, bytes_most = self._options.recordings_per_client_max, self._options.bytes_per_client_max
        if not whose or not (most or bytes_most):
            return
        names = [name for name, (recording, _) in self._recordings.items() if recording.whose == whose]
        if most and len(names) >= most:
            raise QuotaExceededError(f"this client has {len(names)} recordings, and may have {most} at once: stop one")
        size = self._size(names)
        if bytes_most and size >= bytes_most:
            raise QuotaExceededError(
                f"the recordings of this client that go on have {size} bytes, and may have {bytes_most}: stop one"
            )

    def _size(self, names: Iterable[str]) -> int:
        return sum(self._newest[name].size_bytes for name in names if name in self._newest)

    # --- what goes on -----------------------------------------------------------------------------

    def began(self, recording: Recording, cost: placement.Cost) -> None:
        recording.encoder_threads = cost.threads
        self._recordings[recording.name] = recording, cost

    def ended(self, recording: Recording) -> None:
        self._recordings.pop(recording.name, None)
        self._newest.pop(recording.name, None)

    def worker_ended(self, worker: Any) -> None:
        self._seen.pop(worker, None)

    def took(self, worker: Any, report: messages.Load) -> None:
        """A worker has reported. What its reports say together is learned with the last of them."""
        seen = self._seen.setdefault(worker, _Seen())
        period_ns = report.at_ns - seen.at_ns
        for load in report.recordings:
            if load.recording in self._recordings:
                work = self._work(load)
                for key, ns in work.items():
                    seen.done[key] = seen.done.get(key, 0.0) + ns
                recording, cost = self._recordings[load.recording]
                cost.threads = load.encoder_threads or cost.threads
                if seen.at_ns and period_ns > 0 and recording.phase is Phase.RECORDING:
                    cost.brought({key: ns * S / period_ns for key, ns in work.items()})
                self._newest[load.recording] = load
        if report.goes_on:
            return
        if seen.at_ns and period_ns > 0:
            used_ns = report.cpu_ns - seen.cpu_ns
            seen.load = used_ns / period_ns if report.recordings else 0.0
            self._factors.learn(used_ns, seen.done)
        seen.at_ns, seen.cpu_ns, seen.done = report.at_ns if report.recordings else 0, report.cpu_ns, {}
        feeders = {child for recording, _ in self._keeping_up() for child in recording.feeders.values()}
        self._captures.look(feeders, time.monotonic_ns())
        self._end_too_large()

    def _keeping_up(self) -> list[tuple[Recording, placement.Cost]]:
        return [one for one in self._recordings.values() if not one[1].demand.elastic]

    def _work(self, load: messages.RecordingLoad) -> dict[str, float]:
        """What of a recording was done since the report before."""
        recording, _ = self._recordings[load.recording]
        before = self._newest.get(load.recording) or messages.RecordingLoad(recording=load.recording, size_bytes=0)
        codec = "vp9" if "vp9" in recording.mime_type else "vp8"
        pictures, pixels = max(load.pictures - before.pictures, 0), max(load.pixels - before.pixels, 0)
        work = dict(placement.picture_work(codec, pictures, pixels))
        if load.sound_ns > before.sound_ns:
            work |= placement.sound_work((load.sound_ns - before.sound_ns) / S, load.channel_count)
        work |= placement.copied_work(load.copied - before.copied)
        return work

    def _end_too_large(self) -> None:
        """The largest recording of a client that has more than it may; the others go on."""
        most = self._options.bytes_per_client_max
        by_client: dict[str, list[str]] = {}
        for name, (recording, _) in self._recordings.items() if most else ():
            if recording.whose and recording.phase is not Phase.STOPPING and name in self._newest:
                by_client.setdefault(recording.whose, []).append(name)
        for names in by_client.values():
            size = self._size(names)
            if size >= most:
                largest = max(names, key=lambda name: self._newest[name].size_bytes)
                why = f"the recordings of this client that go on have {size} bytes, and may have {most}"
                self._on_too_large(self._recordings[largest][0], QuotaExceededError.name, why)

    # --- what it costs ----------------------------------------------------------------------------

    def load(self, worker: Any) -> float:
        """By which the next recording is placed: the cores that those on it take, with those that may be late."""
        return sum(
            max(cost.cores(self._factors) / cost.threads, _SMALL)
            for recording, cost in self._recordings.values()
            if recording.worker is worker
        )

    def _used(self, worker: Any) -> float:
        """Of its loop's core, by those that must keep up."""
        return sum(
            cost.cores(self._factors) / cost.threads
            for recording, cost in self._keeping_up()
            if recording.worker is worker
        )

    def cost(self, recording: Recording) -> float:
        found = self._recordings.get(recording.name)
        return 0.0 if found is None else found[1].cores(self._factors)

    def measured(self, worker: Any) -> float:
        """The share of a core that a worker took lately."""
        return self._seen[worker].load if worker in self._seen else 0.0

    @property
    def most(self) -> float:
        """What all recordings together may cost; 0: nothing is refused."""
        return self._cores * CORES_SHARE if self._options.admission else 0.0


def _busy(room: placement.Room) -> BusyError:
    error = BusyError(
        f"this recording needs {room.needed:.2f} cores to be encoded in real time, and {room.free:.2f} are free: stop "
        f"another one, or record fewer pixels or pictures"
    )
    error.needed, error.free = round(room.needed, 4), round(room.free, 4)
    return error
