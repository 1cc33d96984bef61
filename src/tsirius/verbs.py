"""The verbs as click knows them: how they end, and their help and refusals in the user's language."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from typer.core import TyperGroup

from tsirius import interrupts
from tsirius.i18n import LANGUAGES, VARIABLE, language, placeholders, translate

_Context: Any = TyperGroup.context_class
_Formatter: Any = _Context.formatter_class


class Formatter(_Formatter):  # type: ignore[misc]  # click's
    """The help of click in the user's language: each part is translated before it is wrapped."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line of usage."""
        super().write_usage(prog, placeholders(args), prefix or translate("Usage: "))

    def write_heading(self, heading: str) -> None:
        """The name of a list."""
        super().write_heading(translate(heading))

    def write_text(self, text: str) -> None:
        """Paragraphs."""
        super().write_text("\n\n".join(map(_paragraph, text.split("\n\n"))))

    def write_dl(self, rows: Sequence[tuple[str, str]], *args: Any, **options: Any) -> None:
        """A list of options, arguments or verbs; after the text click has defaults and limits in brackets."""
        shown = [
            (placeholders(first), second if isinstance(second, Said) else _option(second)) for first, second in rows
        ]
        super().write_dl(shown, *args, **options)


class Said(str):
    """A text that is in the user's language already."""


class Context(_Context):  # type: ignore[misc]  # click's
    """What a verb is called with; its help is written by :class:`Formatter`."""

    formatter_class = Formatter


def _paragraph(text: str) -> str:
    return placeholders(translate(" ".join(text.split()))) if language() != "en" else text


def _option(text: str) -> str:
    if language() == "en":
        return text
    said, bracket, facts = text.rpartition("  [") if text.endswith("]") else (text, "", "")
    if not bracket and text.startswith("["):
        said, bracket, facts = "", "[", text[1:]
    known = "; ".join(translate(fact) for fact in facts.removesuffix("]").split("; "))
    return placeholders(translate(said)) + (f"{bracket}{known}]" if bracket else "")


class Verbs(TyperGroup):
    """The verbs; typer exits silently on Ctrl-C and on a closed pipe."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _speak(self)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Options of all verbs count wherever they stand."""
        words = _language_first(args)
        if words[:1] == ["--lang"] and words[1:2] and words[1] in LANGUAGES:
            os.environ[VARIABLE] = words[1]  # before anything is refused
        return super().parse_args(ctx, words)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the command line."""
        with _refusing():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Call the verb."""
        try:
            with interrupts.cleaned(), _refusing():
                result = super().invoke(ctx)
                if sys.stdout is not None:
                    sys.stdout.flush()
            return result
        except BrokenPipeError:  # `| head` for example
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt) and not interrupts.came():
                raise
            interrupts.tell()
            raise typer.Exit(interrupts.CODE) from None


def _speak(command: Any) -> None:
    """Have a command, and those in it, give their help in the user's language."""
    command.context_class = Context
    command.get_short_help_str = partial(_short_help, command, command.get_short_help_str)
    for inner in getattr(command, "commands", {}).values():
        _speak(inner)


def _short_help(command: Any, short: Callable[[int], str], limit: int = 45) -> Said:
    """The beginning of a command's help: translated as a whole before it is cut."""
    english = command.help
    try:
        command.help = _paragraph((english or "").split("\n\n")[0])
        return Said(short(limit))
    finally:
        command.help = english


def _language_first(args: Sequence[str]) -> list[str]:
    """The words of a command line with ``--lang`` before the verb."""
    first, rest, words = [], [], iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--lang":
            first += [word, *[value for value in [next(words, None)] if value is not None]]
        elif word.startswith("--lang="):
            first += word.split("=", 1)
        else:
            rest.append(word)
    return [*first, *rest]


@contextmanager
def _refusing() -> Iterator[None]:
    """What click refuses is shown in the user's language: click calls ``show`` of its error."""
    try:
        yield
    except Exception as error:
        is_help = type(error).__name__ == "NoArgsIsHelpError"
        if language() != "en" and hasattr(error, "format_message") and not is_help:
            error.show = partial(_show, error)  # type: ignore[attr-defined]  # click's
        raise


def _show(error: Any, file: Any = None) -> None:
    context = getattr(error, "ctx", None)
    if context is not None:
        print(context.get_usage(), file=sys.stderr)
        if context.command.get_help_option(context) is not None:
            option = context.help_option_names[0]
            print(translate(f"Try '{context.command_path} {option}' for help."), file=sys.stderr)
        print(file=sys.stderr)
    print(placeholders(translate(f"Error: {error.format_message()}")), file=sys.stderr)
