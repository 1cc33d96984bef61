"""What the ``Config`` of every stage, labeller and augmenter is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A section of the configuration: the settings of one stage or part, each with its only default.

    ``speed_only`` names the settings that change how fast a stage works but not what it makes (batch size, device,
    workers): they stay out of the key that decides whether the stage runs again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    speed_only: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _nothing(cls, given: Any) -> Any:
        """``key = ""`` unsets an optional setting: TOML has no null."""
        if not isinstance(given, dict):
            return given
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        return {key: None if value == "" and key in optional else value for key, value in given.items()}

    def key(self, *, leave_out: Collection[str] = ()) -> dict[str, Any]:
        """The settings that decide the results, as JSON has them: all but ``speed_only`` and ``leave_out``."""
        result = self.model_dump(mode="json", exclude={*self.speed_only, *leave_out})
        for name in result:
            if isinstance(inner := getattr(self, name), Section):
                result[name] = inner.key()
        return result


def nest(sections: Mapping[str, type[Section]]) -> Callable[[type[S]], type[S]]:
    """A class decorator: the section has one more section for each of ``sections``, under its name."""

    def nested(cls: type[S]) -> type[S]:
        fields: dict[str, Any] = {
            name: (section, Field(section(), description=section.__doc__)) for name, section in sections.items()
        }
        return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, __doc__=cls.__doc__, **fields)

    return nested
