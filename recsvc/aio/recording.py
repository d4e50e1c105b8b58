"""As ``recsvc.recording``, awaited."""

from __future__ import annotations

import asyncio
import builtins
import os

from ..caller import kept as _kept

__all__ = ["Recording", "get", "list"]


class Recording(_kept.KeptRecording):
    """As ``recsvc.recording.Recording``, with all that asks the service awaited."""

    async def update(self) -> None:
        """As the synchronous ``update``."""
        await asyncio.to_thread(self._update)

    async def rename(self, name: str) -> None:
        """As the synchronous ``rename``."""
        await asyncio.to_thread(self._rename, name)

    async def delete(self) -> None:
        """As the synchronous ``delete``."""
        await asyncio.to_thread(self._delete)

    async def stop(self) -> None:
        """As the synchronous ``stop``."""
        await asyncio.to_thread(self._control, "stop")

    async def pause(self) -> None:
        """As the synchronous ``pause``."""
        await asyncio.to_thread(self._control, "pause")

    async def resume(self) -> None:
        """As the synchronous ``resume``."""
        await asyncio.to_thread(self._control, "resume")


async def list(*, service: str | os.PathLike[str] | None = None, limit: int | None = 100) -> builtins.list[Recording]:
    """As ``recsvc.recording.list``."""
    client, found = await asyncio.to_thread(_kept.find, service, limit)
    return [Recording(client, info) for info in found]


async def get(id: str, *, service: str | os.PathLike[str] | None = None) -> Recording:
    """As ``recsvc.recording.get``."""
    client, info = await asyncio.to_thread(_kept.look_up, service, id)
    return Recording(client, info)
