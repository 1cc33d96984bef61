"""Which models answer: the first, and a second with a share of the requests or in the shadow; replaced while they run.

A model's folder is looked at from time to time. Another model there is loaded beside the old one, in a thread of its
own, and takes its place at one moment once it is verified; one that is damaged is refused, and the old one stays.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tsirius.errors import UserError
from tsirius.models.classifier import find
from tsirius.serve import served
from tsirius.serve.served import Served
from tsirius.store import verify

Tell = Callable[..., None]


class Deployment:
    """See the module.

    Args:
        first: the first model's path.
        second: the second's, or None.
        share: the share of requests that the second one answers.
        tell: writes to the log: an event's name and what is known of it.
    """

    def __init__(self, first: Path, second: Path | None, *, share: float, tell: Tell) -> None:
        self.paths = [first] if second is None else [first, second]
        self.share, self._tell = share, tell
        self.models: list[Served] = []
        self._seen: list[Any] = []
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._reloading = asyncio.Lock()

    def load(self) -> None:
        """Load the models for the first time.

        Raises:
            UserError: one cannot be loaded, or their categories differ.
        """
        self._seen = [served.state(path) for path in self.paths]
        self.models = [served.load(path) for path in self.paths]
        for other in self.models[1:]:
            _check_categories(other, self.models[0])

    @property
    def first(self) -> Served:
        """The first model."""
        return self.models[0]

    @property
    def second(self) -> Served | None:
        """The second model, where there is one."""
        return self.models[1] if len(self.models) > 1 else None

    def choose(self, request_id: str) -> Served:
        """The model that answers a request: by a hash of its id, so that a repeated request gets the same."""
        if self.second is None or not self.share:
            return self.first
        digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
        return self.second if int.from_bytes(digest, "big") < self.share * 2**64 else self.first

    async def reload(self, *, force: bool) -> list[str]:
        """Load what was put in the place of a model, and let it answer from now on once it is verified.

        Args:
            force: also look at what was looked at before.

        Returns:
            What became of each model: ``same``, ``loaded`` or ``refused``.
        """
        async with self._reloading:
            return [await self._renew(number, force=force) for number in range(len(self.paths))]

    async def _renew(self, number: int, *, force: bool) -> str:
        path, loop = self.paths[number], asyncio.get_running_loop()
        now = await loop.run_in_executor(self._loader, served.state, path)
        if now is None or (now == self._seen[number] and not force):
            return "same"
        try:
            new = await loop.run_in_executor(self._loader, _load_another, path)
            if new.fingerprint == self.models[number].fingerprint:
                self._seen[number] = now
                return "same"
        except Exception as error:  # whatever is wrong with it, the old one stays
            self._seen[number] = now
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._tell("model refused", path=str(path), reason=reason, kept=self.models[number].version)
            return "refused"
        old, self.models[number] = self.models[number], new
        self._seen[number] = now
        changed = sorted(set(new.names) ^ set(old.names))
        self._tell("model loaded", path=str(path), version=new.version, before=old.version, probes=new.probed,
                   categories_changed=changed)  # fmt: skip
        return "loaded"

    async def watch(self, seconds: float, then: Callable[[list[str]], None]) -> None:
        """Reload every ``seconds`` what has changed; ``then`` is told what became of it."""
        while True:
            await asyncio.sleep(seconds)
            then(await self.reload(force=False))

    def close(self) -> None:
        """End the loader's thread."""
        self._loader.shutdown(wait=False)


def _load_another(path: Path) -> Served:
    """Load what takes the place of a model that answers. Of a folder that is still being copied there may be a part
    that loads; the checksums, which name every file, tell."""
    if not verify(find(path)):
        raise UserError("has no checksums", where=find(path), remedy="Copy the whole folder, or train the model again.")
    return served.load(path)


def _check_categories(second: Served, first: Served) -> None:
    if changed := sorted(set(second.names) ^ set(first.names)):
        raise UserError(f"tells other categories apart than the first model: {', '.join(changed)}", where=second.path,
                        remedy="Name a model with the same categories, or start a server for it.")  # fmt: skip
