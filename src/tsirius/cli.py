"""The command line: parse, call, print. Data goes to standard output, progress and messages to standard error."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tsirius.errors import UserError


class Verbs(TyperGroup):
    """The verbs; typer would end in silence where the user or the reader of the output has had enough."""

    def invoke(self, ctx: Any) -> Any:
        try:
            done = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return done
        except KeyboardInterrupt:
            print("interrupted; the same command goes on where it was", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # `| head` for example
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None


app = typer.Typer(
    cls=Verbs,
    help="From unlabelled product reviews and a list of category names to a classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The run's configuration file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[section.key=value]...", help="Settings that override the file's.")
]
TextColumn = Annotated[str, typer.Option(help="The column of the reviews.")]
IdColumn = Annotated[str, typer.Option(help="The column of the ids.")]
Encoding = Annotated[str, typer.Option(help="The file's encoding.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The new run's name: NAME.toml is written.")],
    train: Annotated[Path, typer.Option(help="The file of unlabelled reviews.")] = Path("reviews.csv"),
    test: Annotated[Path | None, typer.Option(help="The file of reviews to predict.")] = None,
    categories: Annotated[
        Path, typer.Option(help="The categories file; an example is written if there is none.")
    ] = Path("categories.toml"),
) -> None:
    """Write a configuration file with every setting in it, and an example categories file."""
    from tsirius.commands import new

    for path in new.new(name, train=train, test=test, categories=categories):
        print(path)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Check the configuration, the files, the columns and the models; do no work."""
    from tsirius import config as configuration
    from tsirius import pipeline

    loaded = configuration.load(config, overrides or [])
    pipeline.check(loaded)
    print(f"{config}: ready to run as {loaded.runs / loaded.name}")


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    device: Annotated[
        str | None, typer.Option(metavar="CARD", help="Say what training takes on this card instead: t4, l4, a100, ...")
    ] = None,
) -> None:
    """Say for each stage whether it would run or be skipped, and why; or what training takes on a card."""
    from tsirius import config as configuration
    from tsirius import pipeline

    loaded = configuration.load(config, overrides or [])
    if device is not None:
        print("\n".join(pipeline.plan_training(loaded, device)))
        return
    pipeline.check(loaded)
    for stage, decision in pipeline.plan(loaded):
        print(f"{stage:<9} {'run ' if decision.run else 'skip'}  {decision.why}")


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    again: Annotated[str | None, typer.Option(metavar="STAGE", help="Run this stage even if nothing changed.")] = None,
) -> None:
    """Run the whole road, or what of it is not done yet; print the scores and where the results are."""
    from tsirius import config as configuration
    from tsirius import pipeline
    from tsirius.commands import run as running
    from tsirius.models import distributed

    folder = pipeline.run(configuration.load(config, overrides or []), again=again)
    if not distributed.helper():
        print(running.summary(folder))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    reviews: Annotated[Path, typer.Argument(help="The file of reviews.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; standard output if left out, or -.")
    ] = None,
    text_column: TextColumn = "auto",
    id_column: IdColumn = "auto",
    encoding: Encoding = "auto",
) -> None:
    """Predict the category of every review of a file, in its order, with the confidence."""
    from tsirius.commands import predict as predicting

    output = None if output == Path("-") else output
    predicting.predict_file(model, reviews, output, text_column=text_column, id_column=id_column, encoding=encoding)


@app.command()
def guard(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    submission: Annotated[Path | None, typer.Argument(help="The file to check; the run's own if left out.")] = None,
) -> None:
    """Check a submission against the run's test file: every row, its id, the order, the categories, their mix."""
    from tsirius.commands import compare as comparing

    print(comparing.check_submission(folder, submission))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    gold: Annotated[
        Path, typer.Argument(help="Answers: columns text and category, or id and category of the test file.")
    ],
    text_column: TextColumn = "auto",
    id_column: IdColumn = "auto",
    encoding: Encoding = "auto",
) -> None:
    """Score a run or a model against answers that people gave."""
    from tsirius.commands import evaluate as evaluating

    print(evaluating.evaluate_file(model, gold, text_column=text_column, id_column=id_column, encoding=encoding))


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]) -> None:
    """Write the report of a finished run anew and print its path."""
    from tsirius import pipeline

    print(pipeline.rebuild_report(folder))


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    of: Annotated[
        str, typer.Option(metavar="labels|predictions", help="What to audit: labels, or predictions for the test file.")
    ] = "labels",
    count: Annotated[int | None, typer.Option(min=1, help="How many reviews to ask about; 150 at first.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write them to this CSV, to fill in its column category; ask nothing.")
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="Read the answers from this CSV; ask nothing.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the label too; it may lead your answer.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing.")] = 0,
) -> None:
    """Ask you about some reviews of a run, and say from your answers how right its labels or predictions are."""
    from tsirius.commands import audit as auditing

    report = auditing.audit(folder, of=of, count=count, seed=seed, write=write, answers=answers, show=show)
    if report is not None:
        print(report)


bench = typer.Typer(help="Measure on your reviews and this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")


@bench.command("augment")
def augment(
    config: ConfigFile,
    overrides: Overrides = None,
    gold: Annotated[
        Path | None,
        typer.Option(
            help="Answers: text and category, or the test file's id and category;"
            " evaluate.gold, or the labels of the reviews held back, if left out."
        ),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="eda, paraphrase or backtranslate; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How many times each is trained.")] = 5,
    target: Annotated[
        int | None, typer.Option(min=1, help="Rows of each category; the largest one's if left out.")
    ] = None,
) -> None:
    """Train with and without variants of reviews, and say by how much the score changes."""
    from tsirius import config as configuration
    from tsirius.commands import bench_augment

    loaded = configuration.load(config, overrides or [])
    print(bench_augment.measure(loaded, gold, methods=method or loaded.augment.methods, seeds=seeds, target=target))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run with a fine-tuned encoder.")],
    to: Annotated[str, typer.Option(metavar="adapter|merged|onnx|onnx-int8", help="The form.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write; RUN/export/FORM if left out.")
    ] = None,
) -> None:
    """Write a run's model in another form, unless it would predict something else."""
    from tsirius.commands import export as exporting

    print(exporting.export(folder, to=to, out=output))


@bench.command()
def latency(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    reviews: Annotated[
        Path | None, typer.Option(help="A file of reviews to measure with; the run's own, or the sample, if left out.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0, help="Seconds that 99 of 100 reviews may take at most.")] = 5.0,
    count: Annotated[int, typer.Option(min=1, help="Reviews that are classified one by one.")] = 300,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A JSON file to write as well.")] = None,
) -> None:
    """Measure how long a review takes: one by one, and many together; fail where it is over the budget."""
    from tsirius.commands import latency as measuring

    found = measuring.measure(model, reviews=reviews, count=count)
    print(found.table())
    if output is not None:
        found.save(output, budget=budget)
    found.check(budget)


@app.command()
def doctor() -> None:
    """Say what this machine can do: cores, memory, GPU, network settings, packages, models at hand."""
    from tsirius.commands import doctor

    for name, value in doctor.describe().items():
        print(f"{name:<22} {value}")


REMEDIES = {
    errno.ENOSPC: "Free some space there, then run again: it goes on where it was.",
    errno.EDQUOT: "Free some of your quota there, then run again: it goes on where it was.",
    errno.EACCES: "Change its rights, or name another place.",
    errno.EPERM: "Change its rights, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOENT: "Check the path.",
    errno.EFBIG: "Raise the limit on file sizes, or name another place.",
}
"""What to do about a failure that the operating system reports."""


def main() -> None:
    """The entry point: a failure that the user can mend is one line on standard error and exit code 2."""
    # Libraries must not phone home, and their notices must not bury ours.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A thread that waits by spinning takes the core from the one it waits for, where others are at work as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # oneDNN compiles its work for each shape of a batch, and would keep 1,024 of those: 100 MB that hardly serve again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    _open_streams()
    level = os.environ.get("TSIRIUS_LOG", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        _fail(f"TSIRIUS_LOG: unknown level {level!r}. Set it to DEBUG, INFO, WARNING or ERROR.")
    logging.basicConfig(level=level, stream=sys.stderr, format="%(message)s")
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        place = f"{error.filename or _unnamed_place(error)}: "
        reason = os.strerror(error.errno).lower()
        _fail(f"{place}{reason}. {REMEDIES.get(error.errno, 'Mend that, then run again: it goes on where it was.')}")
    except MemoryError:
        _fail("out of memory. Use a machine with more, or fewer reviews at a time.")


def _open_streams() -> None:
    """Have both streams speak UTF-8 whatever the locale says, with the very bytes of file names that are not."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (for as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")


def _unnamed_place(error: OSError) -> str:
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder"
    return "standard output" if error.errno == errno.ENOSPC else "this machine"


def _fail(line: str) -> None:
    print(f"tsirius: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
