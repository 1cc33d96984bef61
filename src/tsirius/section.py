"""What every stage's ``Config`` is made of."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration: the settings of one stage, each with its only default.

    ``speed_only`` names the settings that change how fast a stage works but not what it makes (batch size, device,
    workers): they stay out of the key that decides whether the stage runs again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    speed_only: ClassVar[frozenset[str]] = frozenset()
