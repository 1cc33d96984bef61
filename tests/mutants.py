"""Would the tests notice a mistake? mutmut puts one at a time into the modules of ``[tool.mutmut]``.

    python tests/mutants.py [--only publish io.compare] [--processes 2]

Prints how many of these mutants each module's tests killed, and the survivors: the reason where ``mutants.toml`` lists
one (a mutant that behaves as the code does, for instance), else the difference. Exits with 1 where the tests of a
module or of all kill under 85 %: a listed survivor counts as a survivor, and what ran out of time as not killed, for
the machine may have been busy. Results are kept in ``mutants/``: the next call tests what is new or has changed since.
Where a module's test file has changed, it tests the module's mutants again: those that lived where the file has only
grown, else all.

mutmut leaves out decorated functions (context managers, validators) and what runs on import.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

LEAST = 0.85
ROOT = Path(__file__).resolve().parent.parent
TESTED = Path("mutants/tests.json")
"""The hashes of the parts of the test file that the results of each module were obtained with."""


def test_file(source: str) -> Path:
    """The tests of a module: they mirror the source file for file."""
    path = Path(source).relative_to("src/tsirius")
    return Path("tests", path.parent, f"test_{path.name}")


def module_of(source: str) -> str:
    """The name under which a source file is imported."""
    return source.removeprefix("src/").removesuffix(".py").replace("/", ".")


def chosen(sources: list[str], only: list[str] | None) -> list[str]:
    """The sources of the modules ``only``, named without the package; all where it is None.

    Raises:
        ValueError: one of them is not among ``sources``.
    """
    by_name = {module_of(source).removeprefix("tsirius."): source for source in sources}
    if only is None:
        return sources
    for name in only:
        if name not in by_name:
            raise ValueError(f"no module {name!r} here: choose from {', '.join(by_name)}")
    return [source for name, source in by_name.items() if name in only]


def parts(path: Path) -> list[str]:
    """A hash of each definition and statement of a Python file but its imports."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    texts = (ast.unparse(node) for node in nodes if not isinstance(node, ast.Import | ast.ImportFrom))
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def drop_results_of_changed_tests(sources: list[str]) -> None:
    """Have mutants be tested again where the test file has changed; a kill stands while all tests of then do."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    before = json.loads(TESTED.read_text()) if TESTED.exists() else {}
    now = {source: parts(test_file(source)) for source in sources}
    for source in sources:
        data = SourceFileMutationData(path=source)
        if before.get(source) != now[source] and data.meta_path.exists():
            data.load()
            grown = source in before and set(before[source]) <= set(now[source])
            data.exit_code_by_key = {
                mutant: code if grown and status_by_exit_code[code] == "killed" else None
                for mutant, code in data.exit_code_by_key.items()
            }
            data.save()
    TESTED.parent.mkdir(exist_ok=True)
    TESTED.write_text(json.dumps({**before, **now}, indent=1))


def difference(source: str, mutant: str) -> str:
    """What the mutant changes: the lines that go, marked -, and those that come, marked +."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(mutant, path=source).splitlines()[2:]
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in lines if line.startswith(("+", "-")))


def report(sources: list[str]) -> bool:
    """Print the table and the survivors; whether enough was killed."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    listed = tomllib.loads((ROOT / "tests/mutants.toml").read_text(encoding="utf-8"))["mutant"]
    reasons = {(one["module"], one["change"].strip()): one["reason"] for one in listed}
    used, counts, survivors = set(), dict[str, Counter[str]](), list[str]()
    for source in sources:
        module = module_of(source)
        data = SourceFileMutationData(path=source)
        data.load()
        counts[module] = Counter()
        for mutant, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            counts[module][status] += 1
            if status not in ("killed", "timeout"):
                change = difference(source, mutant)
                key = (module, change)
                used.add(key)
                counts[module]["listed"] += key in reasons
                survivors.append(f"{mutant}: {status}\n{change}\n{reasons.get(key, '? no reason is given')}\n")
    print("\n".join(survivors))
    for module, change in sorted(reasons.keys() - used):
        if module in counts:
            print(f"listed, but not among the survivors: {module}\n{change}\n")
    counts["all"] = sum(counts.values(), Counter[str]())
    print(f"{'module':<28}  mutants  killed  timeouts  survived  (listed)  other   rate")
    enough = True
    for module, count in counts.items():
        listed_here = count.pop("listed", 0)
        total, survived = count.total(), count["survived"] + count["no tests"]
        other = total - survived - count["killed"] - count["timeout"]
        rate = count["killed"] / max(1, total)
        enough = enough and rate >= LEAST
        print(
            f"{module:<28}  {total:7,}  {count['killed']:6,}  {count['timeout']:8,}  {survived:8,}  {listed_here:8,}"
            f"  {other:5,}  {rate:5.1%}"
        )
    return enough


def main() -> int:
    """Test the mutants that have no result yet; 1 where too many survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="MODULE", help="of these modules alone, such as publish")
    parser.add_argument("--report", action="store_true", help="run nothing: print the results so far")
    options = parser.parse_args()
    os.chdir(ROOT)
    sources = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]["only_mutate"]
    try:
        sources = chosen(sources, options.only)
    except ValueError as error:
        parser.error(str(error))
    if not options.report:
        drop_results_of_changed_tests(sources)
        Path("mutants/mutmut-stats.json").unlink(missing_ok=True)  # which tests call which function may have changed
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.processes)]
        command += [f"{module_of(source)}.*" for source in sources]
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    enough = report(sources)
    if not enough:
        print(f"too few are killed: at least {LEAST:.0%} of each module's and of all", file=sys.stderr)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
