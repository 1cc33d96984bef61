"""What the program says, read from its source: the templates of every text that a person may be shown.

A small abstract interpreter of strings: of an expression that is shown (the arguments of ``UserError`` and ``say``,
help texts, what ``show`` prints) it follows constants, f-strings, conditional expressions, sums, joins, names, the
functions that return texts and the arguments that helpers are called with, to all templates it may have. A hole of a
template is ``{0}`` for a value that is shown as it is, ``{0:n}`` for a formatted number, ``{0:t}`` for a text that is
swept itself, ``{0:l}`` for a list of such texts, and ``{0:p}`` for the end of an English plural.
"""

from __future__ import annotations

import ast
import errno
import inspect
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from pydantic_core import PydanticKnownError

ROOT = Path(__file__).parents[1] / "src" / "tsirius"
DEPTH, MOST = 12, 400
WORDS = re.compile(r"[A-Za-z]{2}")
NUMBER = re.compile(r"[+\d]*,?(\.\d+)?[dfg%]?")
SHOWN = {
    "UserError": (0, "what", "where", "remedy"),
    "say": (0,),
    "progress": (0,),
    "tell": (0,),
    "show": (0,),
    "translate": (0,),
    "ValueError": (0,),
    "Decision": (1, "why"),
    "Measure": (6,),
    "made": (4,),
}
"""Calls whose arguments are shown: their places and names."""
FUNCTIONS = (
    ("commands.run", "summary", "next_step"),
    ("commands.drift", "table"),
    ("commands.compare", "check_submission"),
    ("commands.evaluate", "evaluate_file", "score_line"),
    ("commands.cost", "lines"),
    ("commands.bench_augment", "measure", "verdict", "_table"),
    ("commands.latency", "table"),
    ("commands.answers.files", "summary"),
    ("commands.doctor", "describe", "_gpu", "_network", "_hub_models"),
    ("commands.doctor_model", "describe", "_on_card"),
    ("commands.audit.assessment", "text", "_conclusion", "_warning"),
    ("commands.predict_parts", "predict_parts"),
    ("metrics", "table"),
    ("calibration", "table"),
    ("scale.cost", "lines"),
    ("scale.finish", "finish"),
    ("stages.train", "plan"),
    ("stages.augment", "_why"),
    ("models.estimate", "plan"),
    ("headline", "line"),
    ("reporting.flow", "hints", "_drift", "funnel"),
    ("reporting.labels", "_histogram"),
    ("reporting.scores", "reliability", "learning"),
    ("reporting.figures", "duration", "memory"),
)
"""Functions whose texts are printed or shown on a page."""
SETTINGS = ("tsirius.stages", "tsirius.serve.settings", "tsirius.labellers.hypotheses", "tsirius.augmenters.generate",
            "tsirius.scale.cost", "tsirius.models.classifier")  # fmt: skip
"""Where a ``ValueError`` becomes a ``UserError``: pydantic takes its text from it."""
CONSTANTS = (
    ("interrupts", "LINE"),
    ("augmenters.accept", "REASONS"),
    ("stages.select", "ROLES"),
    ("headline", "NOT_KNOWN"),
    ("headline", "AUDITS"),
    ("reporting.scores", "KINDS"),
    ("reporting.scores", "CURVES"),
)
"""Constants whose strings are shown."""
KEYS = (("models.estimate", "peak"), ("commands.doctor", "describe"), ("commands.doctor_model", "describe"),
        ("commands.doctor_model", "_on_card"))  # fmt: skip
"""Functions that return what is shown by name."""
ELSEWHERE = ("lesson", "exam", "copy", "several", "disputed", "gone", "renamed", "protected", "skipped", "the code",
             "read", "kept", "dropped", "selected", "train", "valid", "balanced", "augmented", "pseudo-label",
             "pseudo-labels", "Labels", "Predictions", "predictions", "agreement",
             "weighted F1", "embeddings")  # fmt: skip
"""What becomes of answers and of rows, as the program calls it, and other keys of tables that are shown."""
PYDANTIC: dict[Any, dict[str, Any] | None] = {
    **dict.fromkeys(("bool_type", "bool_parsing", "int_type", "int_parsing", "int_from_float", "float_type")),
    **dict.fromkeys(("float_parsing", "finite_number", "string_type", "list_type", "tuple_type", "dict_type")),
    "literal_error": {"expected": "x"},
    "greater_than": {"gt": 0},
    "greater_than_equal": {"ge": 0},
    "less_than": {"lt": 0},
    "less_than_equal": {"le": 0},
}
"""What pydantic may say of a value."""
ERRORS = ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOENT", "EFBIG", "EISDIR", "ENOTDIR", "EEXIST", "EIO",
          "EMFILE", "ENAMETOOLONG", "EADDRINUSE", "ECONNREFUSED", "ETIMEDOUT")  # fmt: skip
"""What the operating system may say of files and addresses."""
TOLD = {
    "error": "e",
    "outcome.why": "e",
    "error.what": "t",
    "error.format_message()": "t",
    "decision.why": "t",
    "tsirius.config:said": "t",
    "tsirius.models.classifier:said": "t",
    "tsirius.stages.ingest:reason": "t",
    "tsirius.stages.select:r": "t",
    "tsirius.stages.answers:role": "t",
    "refused.most_common(1)[0][0]": "t",
    "result[name]": "t",
    "tsirius.headline:self.of": "t",
    "tsirius.commands.drift:one.name": "t",
    "tsirius.commands.drift:one.detail": "t",
    "tsirius.commands.answers.files:kind": "t",
    "tsirius.commands.answers.files:role": "t",
    "tsirius.commands.answers.files:why": "t",
    "tsirius.cli:name": "t",
    "tsirius.cli:value": "t",
    "tsirius.models.estimate:name": "t",
    "line.against": "t",
    "', '.join(changes)": "l",
    "found.of": "t",
    "(error.strerror or str(error)).lower()": "t",
    "tsirius.metrics:total": "t",
    "tsirius.stages.label:what": "t",
    "tsirius.headline:of": "t",
    "tsirius.reporting.scores:against": "t",
    "tsirius.reporting.scores:title": "t",
    "tsirius.reporting.charts:name": "t",
    "os.strerror(error.errno or 0).lower()": "t",
    "reason.lower()": "t",
    "error.strerror": "t",
}
"""Holes by what the source calls them: texts that are swept where they come from, or errors."""
METHODS = {"line", "baseline", "remedy", "verdict"}
"""Methods that return a text."""
NAME = re.compile(r"[\w.:*/-]*")
SINGLE = {"skipped", "unchanged", "mail", "free", "labelled", "predicted", "predict", "plan",
          "DRIFT", "chance", "helps",
          "harms", "fits", "labels",
          "failed", "empty", "Usage:"}  # fmt: skip
"""Single words that are texts; other single words are names of settings, columns, formats, stages."""
PLURALS = {
    "",
    "s",
    "es",
    "y",
    "ies",
    "is",
    "are",
    "was",
    "were",
    "has",
    "have",
    "it",
    "them",
    "its",
    "their",
    "does",
    "do",
}


@dataclass(frozen=True)
class Hole:
    kind: str
    source: str


Text = tuple["str | Hole", ...]


@dataclass
class Module:
    name: str
    path: Path
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    functions: dict[str, list[ast.FunctionDef]] = field(default_factory=dict)
    constants: dict[str, list[ast.expr]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.name)


def key(text: Text) -> str:
    """A template as the catalogue writes it: holes numbered by their order."""
    count, parts = 0, []
    for part in text:
        if isinstance(part, Hole):
            parts.append(f"{{{count}:{part.kind}}}" if part.kind else f"{{{count}}}")
            count += 1
        else:
            parts.append(part.replace("{", "{{").replace("}", "}}"))
    return "".join(parts)


def merged(parts: Iterable[str | Hole]) -> Text:
    result: list[str | Hole] = []
    for part in parts:
        if isinstance(part, str) and result and isinstance(result[-1], str):
            result[-1] += part
        elif part != "":
            result.append(part)
    return tuple(result)


def spoken(text: Text) -> bool:
    """Whether there is anything in it to translate."""
    if any(isinstance(part, Hole) and part.kind in ("t", "l", "e", "n") for part in text):
        return True
    if len(text) == 1 and isinstance(text[0], str) and NAME.fullmatch(text[0].strip()):
        return text[0].strip() in SINGLE
    return any(isinstance(part, str) and WORDS.search(part) for part in text)


def pages() -> dict[str, str]:
    """Every template that a page names, with the page."""
    found = {}
    for path in sorted((ROOT / "assets").glob("*.j2")):
        for said in re.findall(r'\btr\("((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8")):
            found.setdefault(said, path.name)
    return found


class Sweep:
    """The texts of the package.

    Attributes:
        found: template → the places in the source where it comes from.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.modules: dict[str, Module] = {}
        self.found: dict[str, set[str]] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.calls: dict[str, list[tuple[Module, ast.Call]]] = {}
        self.unknown: list[str] = []
        self.active: set[ast.AST] = set()
        self.told = TOLD
        for path in sorted(root.rglob("*.py")):
            self._read(path, root)

    def _read(self, path: Path, root: Path) -> None:
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = Module(name, path.relative_to(root), ast.parse(path.read_text(encoding="utf-8")))
        for node in ast.walk(module.tree):
            for child in ast.iter_child_nodes(node):
                module.parents[child] = node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                module.functions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    module.imports[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    module.imports[alias.asname or alias.name] = (alias.name, None)
            elif isinstance(node, ast.Call):
                self.calls.setdefault(_called(node), []).append((module, node))
        for node in module.tree.body:
            for target, value in _assigned(node):
                module.constants.setdefault(target, []).append(value)
        self.modules[name] = module

    # roots

    def sweep(self) -> None:
        """All that is shown."""
        self.sweep_calls()
        self.sweep_help()
        for module, *names in FUNCTIONS:
            for name in names:
                self.sweep_function(f"tsirius.{module}", name)
        for module, name in CONSTANTS:
            self.sweep_strings(f"tsirius.{module}", name)
        for module, name in KEYS:
            self.sweep_keys(f"tsirius.{module}", name)
        drift = self.modules["tsirius.commands.drift"]
        for name in ("mean", "spread", "mix"):
            for module, call in self.calls[name]:
                for expression in call.args[2:] if module is drift else ():
                    if isinstance(expression, ast.Constant):
                        self.add_text((str(expression.value),), f"{module.path}:{call.lineno}", word=True)
        for word in ELSEWHERE:
            self.add_text((word,), "program", word=True)
        for name in ERRORS:
            self.add_text((os.strerror(getattr(errno, name)).lower(),), "program", word=True)
        for kind, context in PYDANTIC.items():
            said = PydanticKnownError(kind, context).message_template
            pieces = re.split(r"\{(\w+)\}", said[:1].lower() + said[1:])
            parts = [Hole("", one) if place % 2 else one for place, one in enumerate(pieces)]
            # with the value that config.py adds: else it would be taken for a part of the limit
            for end in ([], [", got ", Hole("", "problem['input']")]):
                self.add_text(merged([*parts, *end]), "program")
                if kind == "literal_error":
                    self.add_text(merged([*parts, " or ", *parts[1:2], *end]), "program")
        for module, call in self.calls["lit"]:
            if module.name in ("tsirius.stages.select", "tsirius.stages.ingest"):
                for text in self.texts(module, call.args[0], DEPTH) or []:
                    self.add_text(text, f"{module.path}:{call.lineno}", word=True)

    def add(self, module: Module, expression: ast.expr, *, line: int | None = None) -> None:
        """Every template of an expression that is shown."""
        texts = self.texts(module, expression, DEPTH)
        where = f"{module.path}:{line or expression.lineno}"
        if not texts:
            self.unknown.append(f"{where} {ast.unparse(expression)}")
        for text in texts or []:
            self.add_text(text, where)

    def add_text(self, text: Text, where: str, *, word: bool = False) -> None:
        """A template; a single word is taken for a name unless it is known to be a word."""
        for row in lines(text):
            if (word or spoken(row)) and not (len(row) == 1 and isinstance(row[0], Hole)):
                name = key(row)
                if name not in self.found:
                    self.sources[name] = tuple(part.source for part in row if isinstance(part, Hole))
                self.found.setdefault(name, set()).add(where)

    def sweep_calls(self) -> None:
        """All calls of :data:`SHOWN`."""
        for name, places in SHOWN.items():
            for module, call in self.calls.get(name, []):
                if name == "ValueError" and not module.name.startswith(SETTINGS):
                    continue
                if name == "tell" and module.name != "tsirius.cli":  # the log's
                    continue
                for place in places:
                    for expression in _arguments(call, place):
                        self.add(module, expression)

    def sweep_function(self, module: str, name: str) -> None:
        """All that a function returns or yields."""
        for function in self.modules[module].functions[name]:
            for value in _returned(function):
                self.add(self.modules[module], value)

    def sweep_strings(self, module: str, name: str) -> None:
        """Every string in a module's constant."""
        for value in self.modules[module].constants[name]:
            tables = [node for node in ast.walk(value) if isinstance(node, ast.Dict)]
            keys = {node for table in tables for node in table.keys}
            for node in ast.walk(value):
                if node in keys or not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                    continue
                if not NAME.fullmatch(node.value) or (module != "tsirius.headline" and "." not in node.value):
                    self.add_text((node.value,), f"{self.modules[module].path}:{node.lineno}", word=True)

    def sweep_keys(self, module: str, name: str) -> None:
        """The names of what a function returns by name."""
        for function in self.modules[module].functions[name]:
            for node in ast.walk(function):
                for key_ in node.keys if isinstance(node, ast.Dict) else ():
                    for text in self.texts(self.modules[module], key_, DEPTH) or [] if key_ else ():
                        self.add_text(text, f"{self.modules[module].path}:{node.lineno}", word=True)
                if isinstance(node, ast.DictComp):
                    for text in self.texts(self.modules[module], node.key, DEPTH) or []:
                        self.add_text(text, f"{self.modules[module].path}:{node.lineno}", word=True)

    def sweep_help(self) -> None:
        """The help of the command line: ``help=`` of its options, and the docstrings of its verbs."""
        for name in ("Option", "Argument", "Typer"):
            for module, call in self.calls.get(name, []):
                for expression in _arguments(call, "help"):
                    self.add(module, expression)
        cli = self.modules["tsirius.cli"]
        for function in (one for several in cli.functions.values() for one in several):
            if any("command" in ast.unparse(one) for one in function.decorator_list):
                for paragraph in inspect.cleandoc(ast.get_docstring(function) or "").split("\n\n"):
                    self.add_text((" ".join(paragraph.split()),), f"{cli.path}:{function.lineno}")

    # interpretation

    def texts(self, module: Module, node: ast.expr, depth: int) -> list[Text] | None:
        """All templates of an expression; None where nothing is known of it."""
        if depth < 0 or node in self.active:
            return None
        self.active.add(node)
        found = self._texts(module, node, depth)
        self.active.remove(node)
        return None if found is None else list(dict.fromkeys(found))[:MOST]

    def _texts(self, module: Module, node: ast.expr, depth: int) -> list[Text] | None:
        match node:
            case ast.Constant(value=str(value)):
                return [merged([value])]
            case ast.Constant():
                return None
            case ast.JoinedStr(values=values):
                after = [False, *(isinstance(value, ast.FormattedValue) for value in values)]
                parts = [self._part(module, value, depth, after=one) for value, one in zip(values, after, strict=False)]
                return [merged(one for several in row for one in several) for row in product(*parts)]
            case ast.BinOp(op=ast.Add(), left=ast.Name(id=name) as left, right=right) if self._literal(
                module, left, name
            ):
                return self._union(module, [left, right], depth)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                sides = [self._side(module, side, depth) for side in (left, right)]
                if all(not spoken(text) for side in sides for text in side):
                    return None
                return [merged([*a, *b]) for a, b in product(*sides)]
            case ast.IfExp(body=body, orelse=other):
                return self._union(module, [body, other], depth)
            case ast.BoolOp(values=values):
                return self._union(module, values, depth)
            case ast.NamedExpr(value=value):
                return self.texts(module, value, depth)
            case ast.Name():
                return self._name(module, node, depth)
            case ast.Attribute():
                return self._attribute(module, node, depth)
            case ast.Subscript(value=ast.Name(id=name)) if not self._literal(module, node, name):
                return None
            case ast.Subscript(value=value):
                return self._elements(module, value, depth)
            case ast.Call():
                return self._call(module, node, depth)
            case ast.Starred(value=value):
                return self._elements(module, value, depth)
            case (
                ast.ListComp() | ast.GeneratorExp() | ast.List() | ast.Tuple() | ast.Dict() | ast.SetComp() | ast.Set()
            ):
                return self._elements(module, node, depth)
        return None

    def _literal(self, module: Module, node: ast.expr, name: str) -> bool:
        """Whether a name is that of a table written out."""
        function = _enclosing(module, node)
        values = (_bound(function, name) if function else []) or module.constants.get(name, [])
        return any(isinstance(value, ast.Dict | ast.List | ast.Tuple) for value in values)

    def _union(self, module: Module, nodes: Iterable[ast.expr], depth: int) -> list[Text] | None:
        several = [self.texts(module, node, depth) for node in nodes]
        if all(one is None for one in several):
            return None
        return [text for one in several for text in one or []]

    def _side(self, module: Module, node: ast.expr, depth: int) -> list[Text]:
        texts = self.texts(module, node, depth)
        if texts is None:
            return [(Hole("", ast.unparse(node)),)]
        return texts

    def _part(self, module: Module, value: ast.expr, depth: int, *, after: bool) -> list[Text]:
        """The alternatives for a part of an f-string; a text right ``after`` a hole is no hole: nobody could tell where
        it begins."""
        if isinstance(value, ast.Constant):
            return [(str(value.value),)]
        assert isinstance(value, ast.FormattedValue)
        shown = ast.unparse(value.value)
        spec = _spec(value)
        if value.conversion == ord("r"):
            return [(Hole("", shown),)]
        if isinstance(value.value, ast.Constant):
            if not str(value.value.value).strip():
                return [(Hole("w", shown),)]
            self.add_text((str(value.value.value),), f"{module.path}:{value.value.lineno}", word=True)
            return [(Hole("t", shown),)]
        if spec and NUMBER.fullmatch(spec):
            return [(Hole("n", shown),)]
        if shown.startswith("figures.decimal("):
            return [(Hole("n", shown),)]
        if kind := self.told.get(shown) or self.told.get(f"{module.name}:{shown}"):
            return [(Hole(kind, shown),)]
        texts = self.texts(module, value.value, DEPTH)
        if texts is None:
            return [(Hole("", shown),)]
        if len(texts) == 1 and len(texts[0]) == 1 and isinstance(texts[0][0], Hole):
            return texts
        if len(texts) == 1 and len(texts[0]) == 1 and not WORDS.search(key(texts[0])) and not spec:
            return texts  # a blank with a name
        plain = {key(text) for text in texts}
        if plain <= PLURALS and len(plain) > 1:
            return [(Hole("p", shown),)]
        if not any(spoken(text) for text in texts):
            if isinstance(value.value, ast.IfExp) and all(
                not isinstance(part, Hole) for text in texts for part in text
            ):
                return texts
            return [(Hole("", shown),)]
        if len(texts) == 1 and isinstance(value.value, ast.Name | ast.Attribute) and not spec:
            return texts
        for text in texts:
            word = len(text) == 1 and isinstance(text[0], str) and re.fullmatch("[a-z]+", text[0].strip()) is not None
            if after:
                continue
            self.add_text(text, f"{module.path}:{value.value.lineno}", word=word)
        return texts if after else [(Hole("t", shown),)]

    def _name(self, module: Module, node: ast.Name, depth: int) -> list[Text] | None:
        function = _enclosing(module, node)
        while function is not None:
            values = _bound(function, node.id)
            if values:
                return self._union(module, values, depth)
            names = [one.arg for one in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]]
            if node.id in names:
                return self._argument(module, function, node.id, depth)
            function = _enclosing(module, function)
        if node.id in module.constants:
            return self._union(module, module.constants[node.id], depth)
        if node.id in module.imports:
            other, name = module.imports[node.id]
            if name and other in self.modules and name in self.modules[other].constants:
                return self._union(self.modules[other], self.modules[other].constants[name], depth)
        return None

    def _argument(self, module: Module, function: ast.FunctionDef, name: str, depth: int) -> list[Text] | None:
        """What a function is called with."""
        positional = [one.arg for one in [*function.args.posonlyargs, *function.args.args] if one.arg != "self"]
        found: list[Text] = []
        for other, call in self.calls.get(function.name, []):
            if not self._calls(other, call, module):
                continue
            places: list[int | str] = [name]
            if name in positional:
                places.append(positional.index(name))
            for place in places:
                for expression in _arguments(call, place):
                    found += self.texts(other, expression, depth - 1) or []
        return found or None

    def _calls(self, other: Module, call: ast.Call, module: Module) -> bool:
        """Whether a call is of a function of ``module``."""
        match call.func:
            case ast.Name(id=name):
                return other is module or other.imports.get(name, ("", ""))[0] == module.name
            case ast.Attribute(value=ast.Name(id=name)):
                return self._module(other, name) is module or (other is module and name == "self")
        return False

    def _attribute(self, module: Module, node: ast.Attribute, depth: int) -> list[Text] | None:
        if isinstance(node.value, ast.Name) and node.value.id in module.imports:
            other = self._module(module, node.value.id)
            if other is not None and node.attr in other.constants:
                return self._union(other, other.constants[node.attr], depth)
        return None

    def _module(self, module: Module, name: str) -> Module | None:
        if name not in module.imports:
            return None
        first, second = module.imports[name]
        return self.modules.get(f"{first}.{second}" if second else first)

    def _call(self, module: Module, node: ast.Call, depth: int) -> list[Text] | None:
        match node.func:
            case ast.Attribute(value=ast.Constant(value=str(between)), attr="join"):
                texts = self._elements(module, node.args[0], depth)
                if "\n" in between or not texts or not any(spoken(text) for text in texts):
                    return texts if "\n" in between else None
                for text in texts:
                    self.add_text(text, f"{module.path}:{node.lineno}")
                return [(Hole("l", ast.unparse(node)),)]
            case ast.Attribute(
                value=inner, attr="ljust" | "rjust" | "strip" | "rstrip" | "removeprefix" | "capitalize"
            ):
                return self.texts(module, inner, depth)
            case ast.Name(id=name) if name in ("list", "tuple", "sorted", "dict", "str", "repr", "chain"):
                return self._union(module, node.args, depth) if name in ("list", "tuple") else None
            case ast.Name(id=name):
                if name in module.functions:
                    return self._function(module, name, depth - 1)
                if name in module.imports:
                    first, second = module.imports[name]
                    if second and first in self.modules and second in self.modules[first].functions:
                        return self._function(self.modules[first], second, depth - 1)
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                other = self._module(module, name)
                if other is not None and attr in other.functions:
                    return self._function(other, attr, depth - 1)
                if other is None and attr in METHODS:
                    homes = [module] if attr in module.functions else list(self.modules.values())
                    found = [
                        one
                        for home in homes
                        if attr in home.functions
                        for one in self._function(home, attr, depth - 1) or []
                    ]
                    return found or None
        return None

    def _function(self, module: Module, name: str, depth: int) -> list[Text] | None:
        values = [value for function in module.functions[name] for value in _returned(function)]
        found = self._union(module, values, depth) if values else None
        # what only passes its argument on, or shortens it, says nothing of its own
        return found if found and any(spoken(text) for text in found) else None

    def _elements(self, module: Module, node: ast.expr, depth: int) -> list[Text] | None:
        match node:
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return self._union(module, elements, depth)
            case ast.Dict(values=values):
                return self._union(module, values, depth)
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element) | ast.SetComp(elt=element):
                return self.texts(module, element, depth)
            case ast.DictComp(value=element):
                return self.texts(module, element, depth)
            case ast.Call(func=ast.Attribute(value=inner, attr="values" | "items" | "splitlines")):
                return self._elements(module, inner, depth)
        return (
            self.texts(module, node, depth)
            if isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.BinOp)
            else None
        )


def lines(text: Text) -> Iterator[Text]:
    """The lines of a template, without the blanks around them."""
    row: list[str | Hole] = []
    for part in text:
        if isinstance(part, Hole):
            row.append(part)
            continue
        first, *rest = part.split("\n")
        row.append(first)
        for piece in rest:
            yield _stripped(row)
            row = [piece]
    yield _stripped(row)


def _stripped(row: list[str | Hole]) -> Text:
    while row and (
        row[0] == ""
        or (isinstance(row[0], Hole) and row[0].kind == "w")
        or (isinstance(row[0], str) and not row[0].strip())
    ):
        row = row[1:]
    while row and (row[-1] == "" or (isinstance(row[-1], str) and not row[-1].strip())):
        row = row[:-1]
    if row and isinstance(row[0], str):
        row[0] = row[0].lstrip()
    if row and isinstance(row[-1], str):
        row[-1] = row[-1].rstrip()
    return merged(row)


def _spec(value: ast.FormattedValue) -> str:
    """How a value is formatted, without holes in that."""
    parts = value.format_spec.values if isinstance(value.format_spec, ast.JoinedStr) else []
    return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


def _called(call: ast.Call) -> str:
    return (
        call.func.id
        if isinstance(call.func, ast.Name)
        else call.func.attr
        if isinstance(call.func, ast.Attribute)
        else ""
    )


def _arguments(call: ast.Call, place: int | str) -> list[ast.expr]:
    if isinstance(place, int):
        return [call.args[place]] if place < len(call.args) and not isinstance(call.args[place], ast.Starred) else []
    return [one.value for one in call.keywords if one.arg == place]


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what a statement gives them."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _pairs(target, value)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            yield from _pairs(target, value)
        case ast.AugAssign(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.For(target=target, iter=several) | ast.comprehension(target=target, iter=several):
            yield from _pairs(target, ast.Subscript(several, ast.Constant(None)))
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append" | "extend"), args=[value])
        ):
            yield name, value


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant) and value.slice.value is None:
        for one in _elements_of(value.value):
            yield from _pairs(target, one)
    elif isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        yield target.value.id, value
    elif isinstance(target, ast.Tuple):
        if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
            for one, other in zip(target.elts, value.elts, strict=True):
                yield from _pairs(one, other)
        elif isinstance(value, ast.IfExp):
            yield from _pairs(target, value.body)
            yield from _pairs(target, value.orelse)


def _listed(several: ast.expr) -> str:
    """The name of what a loop goes over; empty where it has none."""
    match several:
        case ast.Name(id=name) | ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="items")):
            return name
    return ""


def _elements_of(several: ast.expr) -> Iterator[ast.expr]:
    """What a loop goes over, where it is written out."""
    match several:
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            yield from elements
        case ast.Dict(keys=keys, values=values):
            yield from (ast.Tuple([key, value]) for key, value in zip(keys, values, strict=True) if key is not None)
        case ast.Call(func=ast.Attribute(value=inner, attr="items")):
            yield from _elements_of(inner)
        case ast.Name():
            yield several


def _enclosing(module: Module, node: ast.AST) -> ast.FunctionDef | None:
    node = module.parents.get(node)  # type: ignore[assignment]
    while node is not None and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node = module.parents.get(node)  # type: ignore[assignment]
    return node  # type: ignore[return-value]


@cache
def _bindings(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    nodes = list(ast.walk(function))
    for node in nodes:
        for name, value in _assigned(node):
            found.setdefault(name, []).append(value)
    for node in nodes:  # loops over a list that has a name
        if isinstance(node, ast.For | ast.comprehension) and (listed := _listed(node.iter)):
            for several in found.get(listed, []):
                for one in _elements_of(several):
                    for name, value in _pairs(node.target, one):
                        found.setdefault(name, []).append(value)
    return found


def _bound(function: ast.FunctionDef, name: str) -> list[ast.expr]:
    return _bindings(function).get(name, [])


def _returned(function: ast.FunctionDef) -> list[ast.expr]:
    found, waiting = [], list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            found.append(node.value)
        waiting += ast.iter_child_nodes(node)
    return found
