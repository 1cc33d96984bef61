"""The settings of the server, each with its only default."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from tsirius.errors import UserError, nearest
from tsirius.section import Section

NAME = r"^[\w][\w.-]{0,99}$"


class Settings(Section):
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, which is printed."""
    name: str = Field("tsirius", pattern=NAME)
    """The model's name in the dialects that have one."""
    threshold: float = Field(0.0, ge=0, le=1)
    """Answers with less confidence are marked as unsure."""
    thresholds: dict[str, float] = Field({})
    """The same for single categories, in place of `threshold`."""
    second: Path | None = None
    """Another run's or model's folder, with the same categories, to try beside the first."""
    share: float = Field(0.0, ge=0, le=1)
    """The share of requests that the second model answers."""
    shadow: bool = False
    """Have the second model read the requests that the first one answers, to count how often they disagree."""
    watch_seconds: float = Field(5.0, ge=0)
    """How often a model's folder is looked at for a new model; 0 waits for the signal HUP."""
    max_texts: int = Field(2048, ge=1, le=100_000)
    """Texts of a request at most."""
    max_body_bytes: int = Field(16 * 2**20, ge=1024)
    """Size of a request at most."""
    max_bodies_bytes: int = Field(128 * 2**20, ge=1024)
    """Size of all requests that are read or answered at a time."""
    max_connections: int = Field(4096, ge=1)
    """Open connections at most."""
    queue_texts: int = Field(8192, ge=1)
    """Texts that wait at most; a request that does not fit as a whole is refused with 429."""
    deadline_seconds: float = Field(30.0, gt=0, le=3600)
    """Time for an answer; a request may ask for less by the header X-Timeout-Seconds."""
    body_seconds: float = Field(15.0, gt=0)
    """Time for a client to send a request, and to take its answer."""
    idle_seconds: int = Field(30, ge=1)
    """Time that a connection without a request is kept open."""
    stop_seconds: int = Field(60, ge=0)
    """Time to finish what was taken when the server is told to stop."""
    batch_tokens: int = Field(1024, ge=1)
    """Tokens that are computed at a time, estimated from the length of the texts."""
    api_keys: Path | None = None
    """A file of API keys, one a line; keys are also read from the environment variable TSIRIUS_API_KEYS."""
    log_texts: bool = False
    """Write the texts of requests into the log as well."""
    log_unsure: Path | None = None
    """A JSON Lines file that unsure answers are added to, with their texts, for a person to see."""
    log_unsure_bytes: int = Field(64 * 2**20, ge=1024)
    """Size of that file at most."""

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        if self.max_texts > self.queue_texts:
            raise ValueError(f"max_texts ({self.max_texts:,}) is more than queue_texts ({self.queue_texts:,})")
        if self.max_body_bytes > self.max_bodies_bytes:
            raise ValueError("max_body_bytes is more than max_bodies_bytes")
        if self.second is None and (self.share or self.shadow):
            raise ValueError("share and shadow need a second model: set second")
        if any(not 0 <= value <= 1 for value in self.thresholds.values()):
            raise ValueError("a threshold is outside 0 to 1")
        return self


def load(path: Path | None, overrides: Sequence[str] = (), **given: Any) -> Settings:
    """The settings of a TOML file, of ``key=value`` words, and those given; later ones replace earlier ones.

    Raises:
        UserError: the file cannot be read, or a key or value is not valid; the message names it.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"not valid TOML: {error}", where=path, remedy="Fix that line.") from None
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"not a setting: {override!r}", remedy="Write key=value, threshold=0.6 for example.")
        try:
            data[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            data[key.strip()] = value.strip()  # a bare word or path
    data |= {key: value for key, value in given.items() if value is not None}
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = list(Settings.model_fields)
            raise UserError(f"unknown key {key!r}{nearest(key, known)}", where=path, remedy="See docs/settings.md."
                            ) from None  # fmt: skip
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{key + ': ' if key else ''}{message[:1].lower()}{message[1:]}", where=path,
                        remedy="Change that setting.") from None  # fmt: skip
