"""The configuration of a run: a seed and one section a stage; load, override, check, describe.

A configuration file is TOML. Paths in it are relative to the folder that the command is run from. On the command line,
``section.key=value`` overrides the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from tsirius.errors import UserError, nearest
from tsirius.section import Section
from tsirius.stages.answers import Config as Answers
from tsirius.stages.augment import Config as Augment
from tsirius.stages.balance import Config as Balance
from tsirius.stages.evaluate import Config as Evaluate
from tsirius.stages.ingest import Config as Ingest
from tsirius.stages.label import Config as Label
from tsirius.stages.predict import Config as Predict
from tsirius.stages.report import Config as Report
from tsirius.stages.select import Config as Select
from tsirius.stages.split import Config as Split
from tsirius.stages.table import Config as Table
from tsirius.stages.train import Config as Train


class Config(Section):
    """All settings of a run, frozen; see :func:`load`, and :func:`reference` for what each means."""

    name: str = Field(pattern=r"^[\w][\w.-]*$")
    """The run's name: its folder under ``runs``."""
    seed: int = Field(0, ge=0, lt=2**32)
    """The seed of every random choice."""
    runs: Path = Path("runs")
    """The folder of all runs."""
    ingest: Ingest
    label: Label = Label()
    answers: Answers = Answers()
    select: Select = Select()
    table: Table = Table()
    split: Split = Split()
    balance: Balance = Balance()
    augment: Augment = Augment()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
    report: Report = Report()


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: the file.
        overrides: settings that replace the file's, each ``section.key=value``.

    Raises:
        UserError: the file or an override is not valid; the message names the key, and the nearest known one.
    """
    path = Path(path)
    if isinstance(overrides, str):
        raise UserError("a bare string instead of a list of overrides", remedy="Put it into a list.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise UserError("no such file", where=path, remedy="Write one with 'tsirius new NAME'.") from None
    except IsADirectoryError:
        raise UserError("is a folder, not a configuration file", where=path, remedy="Name a .toml file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text (byte {error.start})", where=path, remedy="Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", where=path, remedy="Fix that line.") from None
    data.setdefault("name", re.sub(r"[^\w.-]+", "-", path.stem).strip("-.") or "run")
    for override in overrides:
        _override(data, override)
    return parse(data, where=str(path))


def parse(data: dict[str, Any], *, where: str) -> Config:
    """The :class:`Config` of a parsed TOML file.

    Raises:
        UserError: an unknown key or a value that is not valid.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise _user_error(error, where) from None


def _override(data: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not key:
        raise UserError(
            f"not an override: {override!r}", remedy="Write section.key=value, select.sure=0.7 for example."
        )
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word or path, without quotes on the command line
    table = data
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UserError(f"{section!r} is not a section", where=override, remedy="Write section.key=value.")
    table[key] = parsed


def _user_error(error: ValidationError, where: str) -> UserError:
    problems = error.errors()
    # An unknown key comes first: it is often the reason why another one is missing. Of what an address may be, a path.
    order = ["extra_forbidden", "path_type"]
    first = min(problems, key=lambda problem: order.index(problem["type"]) if problem["type"] in order else len(order))
    more = f" ({len(problems) - 1} more after this one.)" if len(problems) > 1 else ""
    *sections, key = parts = [part for part in map(str, first["loc"]) if "[" not in part]
    name = ".".join(parts)
    if first["type"] == "extra_forbidden" and (moved := _moved(sections, key)):
        return UserError(f"{name} is now {' and '.join(moved)}", where=where, remedy="Rename it." + more)
    return UserError(_problem(first), where=f"{where}, {name}" if name else where, remedy=_remedy(first) + more)


def _problem(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        *sections, key = [str(part) for part in problem["loc"]]
        return f"unknown key{nearest(key, _fields(sections))}"
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "path_type":
        return f"not a path: {problem['input']!r}"
    if problem["type"] == "model_type":
        return f"is a section, not a value, got {problem['input']!r}"
    message = problem["msg"].removeprefix("Value error, ")
    said = f"{message[:1].lower()}{message[1:]}"
    return f"{said}, got {problem['input']!r}" if "ctx" in problem else message


def _remedy(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        *sections, _ = [str(part) for part in problem["loc"]]
        known = list(_fields(sections))
        return f"Known keys: {', '.join(known)}." if known else "Remove it."
    return "Set it in the file or as section.key=value." if problem["type"] == "missing" else "Fix its value."


def _moved(sections: Sequence[str], key: str) -> list[str]:
    """Where a setting is now that was once one of a section's own: ``label.nli_model`` is ``label.nli.model``."""
    result = []
    for name, field in _fields(sections).items():
        if sections and _is_section(field.annotation):
            inner = [*sections, name]
            own = key.removeprefix(f"{name}_")
            result += [".".join([*inner, own])] if own in _fields(inner) else _moved(inner, own)
    return result


def _fields(sections: Sequence[str]) -> dict[str, Any]:
    model: Any = Config
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not _is_section(field.annotation):
            return {}
        model = field.annotation
    return dict(model.model_fields)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def reference() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Every section's name with its settings as (key, default as TOML, what it means); the top level's name is ''.

    A section inside another one has both names: ``label.nli``.
    """
    return sections(Config, "")


def sections(section: type[BaseModel], name: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The same of one section and those in it, under ``name``."""
    fields = section.model_fields.items()
    yield name, [(key, _default(field), _meaning(field)) for key, field in fields if not _is_section(field.annotation)]
    for key, field in fields:
        if _is_section(field.annotation):
            yield from sections(field.annotation, f"{name}.{key}" if name else key)  # type: ignore[arg-type]  # as above


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    return _toml(value)


def _toml(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, (str, Path)):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def _plain(path: Path) -> str:
    """A path as any system reads it."""
    return path.as_posix()


def _meaning(field: Any) -> str:
    return " ".join((field.description or "").split())


def starter(
    name: str, *, train: Sequence[Path], test: Path | None, categories: Path, found: Mapping[str, object]
) -> str:
    """The text of a new configuration file: the input files, and every other setting as a comment with its default.

    ``found`` are settings of ingest that are written down as well.
    """
    lines = [f"# Run it with: tsirius run {name}.toml", f'name = "{name}"', "seed = 0", "", "[ingest]"]
    files = [_plain(path) for path in train]
    lines += [f"train = {_toml(files[0] if len(files) == 1 else files)}"]
    lines += [f"test = {_toml(_plain(test))}" if test else '# test = "test.csv"']
    lines += [f"categories = {_toml(_plain(categories))}"]
    lines += [f"{key} = {_toml(value)}" for key, value in found.items()]
    for section, fields in reference():
        if not section:
            continue
        if section != "ingest":
            lines += ["", f"[{section}]"]
        for key, default, meaning in fields:
            if section == "ingest" and key in ("train", "test", "categories", *found):
                continue
            lines += [f"# {meaning}", f"# {key} = {default}"]
    return "\n".join(lines) + "\n"
