"""The command line: parse, call, print. Data goes to standard output, progress and messages to standard error."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import tsirius
from tsirius import i18n
from tsirius.errors import UserError
from tsirius.progress import say
from tsirius.verbs import Verbs

app = typer.Typer(
    cls=Verbs,
    help="From unlabelled product reviews and a list of category names to a classifier.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tsirius {tsirius.__version__}")
        raise typer.Exit


def _language(wanted: str | None) -> None:
    if wanted is not None:
        i18n.check(wanted, where="--lang")
        os.environ[i18n.VARIABLE] = wanted  # for the processes that this one starts, too


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    lang: Annotated[
        str | None,
        typer.Option(
            metavar="en|ru",
            callback=_language,
            is_eager=True,
            help="Language of messages and pages, before or after the command; by default that of the system.",
        ),
    ] = None,
) -> None:
    pass


def tell(text: str) -> None:
    """Write what a person reads to standard output."""
    print(i18n.translate(text))


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The run's configuration file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[section.key=value]...", help="Settings that override the file's.")
]
TextColumn = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="The column of the reviews; of several, repeat the option.")
]
Sheet = Annotated[str, typer.Option(help="The sheet of an Excel workbook, by its name or number.")]
IdColumn = Annotated[str, typer.Option(help="The column of the ids.")]
CategoryColumn = Annotated[str, typer.Option(help="The column of the categories.")]
Encoding = Annotated[str, typer.Option(help="The file's encoding.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The run's name; NAME.toml is written.")],
    train: Annotated[
        list[Path] | None, typer.Option(help="The file of unlabelled reviews, or a pattern; may be repeated.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="The file of reviews to predict.")] = None,
    categories: Annotated[
        Path, typer.Option(help="The categories: .toml, .txt, .csv or .xlsx; asked for if there is no such file.")
    ] = Path("categories.toml"),
    text_column: TextColumn = None,
    sheet: Sheet = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace NAME.toml.")] = False,
) -> None:
    """Look at the files of reviews, and write a configuration file with what was found and every other setting."""
    from tsirius.commands import new

    columns = text_column or "auto"
    files = train or [Path("reviews.csv")]
    written = new.new(
        name, train=files, test=test, categories=categories, text_column=columns, sheet=sheet, force=force
    )
    for path in written:
        print(path)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Check the configuration, files, columns, categories and models, without running anything."""
    from tsirius import config as configuration
    from tsirius import pipeline

    loaded = configuration.load(config, overrides or [])
    pipeline.check(loaded)
    pipeline.show(loaded)
    tell(f"{config}: ready to run as {loaded.runs / loaded.name}")


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="GPU", help="Show the memory and time of training on this GPU instead: t4, l4, a100, ..."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Show instead what predicting so many reviews (1e9) takes with the run's model: core-hours, bytes,"
            " time, from a rate that is measured now.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="With --rows: workers, of one core each.")] = 2,
) -> None:
    """Show which stages would run or be skipped, and why; or what training, or predicting many reviews, takes."""
    from tsirius import config as configuration
    from tsirius import pipeline

    loaded = configuration.load(config, overrides or [])
    if device is not None:
        tell("\n".join(pipeline.plan_training(loaded, device)))
        return
    if rows is not None:
        from tsirius.commands import cost

        tell("\n".join(cost.lines(loaded, rows, workers=workers)))
        return
    pipeline.check(loaded)
    for stage, decision in pipeline.plan(loaded):
        tell(f"{stage:<9} {'run ' if decision.run else 'skip'}  {decision.why}")


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    again: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Run this stage again even if nothing changed.")
    ] = None,
) -> None:
    """Run all stages that are not up to date; print the scores and the paths of the results."""
    from tsirius import config as configuration
    from tsirius import pipeline
    from tsirius.commands import run as running
    from tsirius.models import distributed

    folder = pipeline.run(configuration.load(config, overrides or []), again=again)
    if not distributed.helper():
        tell(running.summary(folder))
        say(running.next_step(folder))


@app.command()
def demo(overrides: Overrides = None) -> None:
    """Run the whole pipeline on the sample that comes along, 740 reviews, into runs/demo."""
    from tsirius import pipeline
    from tsirius.commands import demo
    from tsirius.commands import run as running

    tell(running.summary(pipeline.run(demo.configuration(overrides or []))))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    reviews: Annotated[
        str,
        typer.Argument(
            metavar="REVIEWS",
            help="The file of reviews, - for standard input; or a folder or a pattern of files. A path or a URL.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="The file to write, standard output by default, or with -; for a folder of reviews, the folder of"
            " Parquet files to write.",
        ),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            metavar="NAME,...|all",
            help="The columns to write, those of the file of reviews among them; by default id, category and"
            " confidence, and all in what a person opens: .xlsx, or --for excel.",
        ),
    ] = "",
    with_runner_up: Annotated[bool, typer.Option("--with-runner-up", help="Write the second category too.")] = False,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="excel", help="Write CSV as the Excel of your country opens it.")
    ] = None,
    text_column: TextColumn = None,
    id_column: IdColumn = "auto",
    encoding: Encoding = "auto",
    sheet: Sheet = "auto",
    part: Annotated[
        str, typer.Option(metavar="I/N", help="Of a folder: do the I-th of N shares of its parts alone.")
    ] = "",
    engine: Annotated[
        str, typer.Option(metavar="here|ray", help="Of a folder: who runs its parts, this process or a Ray cluster.")
    ] = "here",
    workers: Annotated[
        int, typer.Option(min=0, help="Of an engine: workers at a time; by default as many as there is room for.")
    ] = 0,
    gpus: Annotated[float, typer.Option(min=0, help="Of an engine: GPUs of each worker, or a fraction.")] = 0.0,
    redo: Annotated[
        bool, typer.Option("--redo", help="Of a folder: predict again what another model, or a changed file, made.")
    ] = False,
    rows_per_part: Annotated[
        int | None,
        typer.Option(min=1, help="Of a folder: cut longer Parquet files between row groups; by default at 200,000."),
    ] = None,
    max_failed: Annotated[
        int, typer.Option(min=0, help="Of a folder: go on while no more parts than this have failed.")
    ] = 0,
) -> None:
    """Predict the category and the confidence of every review in a file, in its order; or of a folder of files."""
    from tsirius.commands import predict as predicting
    from tsirius.commands import predict_parts as parts

    if for_ not in (None, "excel"):
        raise UserError(f"--for {for_}: nothing is known of it", remedy="Write --for excel.")
    names = predicting.split(columns)
    texts = text_column or "auto"
    folder = parts.folder(reviews, output)
    if folder is not None:
        cut = rows_per_part or parts.ROWS_PER_PART
        options = parts.Options(part, engine, parts.Resources(workers, gpus), redo, cut, max_failed)
        columns_ = parts.Columns(texts, id_column, encoding, names, with_runner_up)
        tell(parts.predict_parts(str(model), reviews, folder, columns=columns_, options=options))
        return
    if part or engine != "here" or redo:
        raise UserError("is one file", where=reviews, remedy="Name a folder of outputs: -o predicted/.")
    predicting.predict_file(
        model,
        reviews,
        None if output == "-" else output,
        text_column=texts,
        id_column=id_column,
        encoding=encoding,
        sheet=sheet,
        table=predicting.Table(names, runner_up=with_runner_up, for_excel=for_ is not None),
    )


@app.command()
def drift(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    reviews: Annotated[Path, typer.Argument(help="The file of new reviews.")],
    reference: Annotated[
        Path | None,
        typer.Option(help="A file of reviews from before any change; by default the run's test file."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="How often there may be an alarm where nothing has changed.")
    ] = 0.01,
    text_column: TextColumn = None,
    encoding: Encoding = "auto",
) -> None:
    """Compare new reviews with those that a run's model was made for; exit code 1 where they have changed."""
    from tsirius.commands import drift as drifting

    columns = drifting.Columns(text_column or "auto", encoding)
    found = drifting.check_file(folder, reviews, reference=reference, alpha=alpha, columns=columns)
    print(found.table())
    if found.drifted:
        raise typer.Exit(1)


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings of the server, see docs/settings.md.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="SERVE.toml", help="A file of such settings.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8080 by default.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Answers with less confidence are marked as unsure.")
    ] = None,
    log_unsure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add unsure answers with their texts to this JSON Lines file.")
    ] = None,
) -> None:
    """Answer requests over HTTP with a run's model, until told to stop."""
    from tsirius.serve import server
    from tsirius.serve import settings as serving

    given = {"host": host, "port": port, "threshold": threshold, "log_unsure": log_unsure}
    server.serve(model, serving.load(config, settings or [], **given))


@app.command()
@app.command("guard", hidden=True)  # its former name
def compare(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    submission: Annotated[Path | None, typer.Argument(help="The file to check; by default the run's own.")] = None,
    id_column: IdColumn = "auto",
    category_column: CategoryColumn = "auto",
    encoding: Encoding = "auto",
    sheet: Sheet = "auto",
) -> None:
    """Compare a submission with the run's test file: rows, ids, order, categories, and their mix."""
    from tsirius.commands import compare as comparing

    options = {"id_column": id_column, "category_column": category_column, "encoding": encoding, "sheet": sheet}
    tell(comparing.check_submission(folder, submission, **options))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    gold: Annotated[
        Path, typer.Argument(help="Gold answers: columns text and category, or id (of the test file) and category.")
    ],
    text_column: TextColumn = None,
    id_column: IdColumn = "auto",
    category_column: CategoryColumn = "auto",
    encoding: Encoding = "auto",
    sheet: Sheet = "auto",
) -> None:
    """Score a run or a model against gold answers (by people)."""
    from tsirius.commands import evaluate as evaluating

    columns = {"id_column": id_column, "category_column": category_column, "encoding": encoding, "sheet": sheet}
    tell(evaluating.evaluate_file(model, gold, text_column=text_column or "auto", **columns))


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]) -> None:
    """Rebuild the report of a finished run and print its path."""
    from tsirius import pipeline

    print(pipeline.rebuild_report(folder))


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    of: Annotated[
        str,
        typer.Option(
            metavar="labels|predictions", help="What to audit: the labels, or the predictions for the test file."
        ),
    ] = "labels",
    count: Annotated[
        int | None, typer.Option(min=1, help="Number of reviews to ask about; 150 the first time.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Write them to this CSV or .xlsx with an empty column category, instead of asking."),
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="Read the answers from this file, instead of asking.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the label too; it may bias your answer.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    text_column: TextColumn = None,
    id_column: IdColumn = "auto",
    category_column: CategoryColumn = "auto",
    encoding: Encoding = "auto",
    sheet: Sheet = "auto",
) -> None:
    """Ask you about a sample of reviews, and estimate from your answers the accuracy of labels or predictions."""
    from tsirius.commands import audit as auditing
    from tsirius.commands.audit.answers import Columns

    columns = Columns(text_column or "auto", id_column, category_column, encoding, sheet)
    report = auditing.audit(
        folder, of=of, count=count, seed=seed, write=write, answers=answers, show=show, columns=columns
    )
    if report is not None:
        tell(report)


@app.command()
def answers(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    take: Annotated[Path | None, typer.Option("--import", help="Add the answers of this file.")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="Write the answers to this file.")] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="csv|label-studio|argilla", help="The format of either file.")
    ] = "csv",
    who: Annotated[str, typer.Option(help="Who gave the imported answers, where the file does not say.")] = "",
) -> None:
    """Show the answers that people gave on a run's reviews; import or export them. The next run learns from them."""
    from tsirius.commands.answers import files

    if take is not None:
        tell(f"{files.take(folder, take, form=format, who=who):,} answers added")
    if export is not None:
        tell(f"{files.export(folder, export, form=format):,} answers: {export}")
    if take is None and export is None:
        tell(files.summary(folder))


@app.command()
def categories(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file of other categories.")] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="A category that has another name now; two of one name are merged."),
    ] = None,
    change: Annotated[bool, typer.Option("--change", help="Make them the run's categories, and run on.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Show groups of reviews that no category is made for.")
    ] = False,
) -> None:
    """Show what other categories would change in a run; with --change, make them its own."""
    from tsirius.commands.categories import missing as lacking
    from tsirius.commands.categories import preview as previewing

    if missing == (file is not None):
        raise UserError("categories: nothing to do" if file is None else "categories: FILE and --missing",
                        remedy="Name a file of categories, or write --missing.")  # fmt: skip
    if file is None:
        print(lacking.table(lacking.clusters(folder)))
        return
    found, _, renamed = previewing.of_file(folder, file, rename or [])
    print(found.table())
    if change:
        previewing.change(folder, file, renamed)
        print(f"these are the run's categories now; keep them: ingest.categories = {json.dumps(str(file))}")


@app.command()
def desk(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")] = 8090,
    lang: Annotated[
        str | None, typer.Option(metavar="en|ru", help="Language of the page; by default that of the system.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Show a page in the browser on which people correct labels and answer the exam; the next run learns from it."""
    from tsirius.desk import server

    server.serve(folder, port=port, lang=lang, browser=browser)


bench = typer.Typer(help="Benchmarks on your reviews and this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")


@bench.command("augment")
def augment(
    config: ConfigFile,
    overrides: Overrides = None,
    gold: Annotated[
        Path | None,
        typer.Option(
            help="Gold answers: text and category, or the test file's id and category;"
            " by default evaluate.gold, else the labels of the validation set."
        ),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="eda, paraphrase or backtranslate; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of training runs of each, with different seeds.")] = 5,
    target: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of each category after augmentation; by default as many as the largest has."),
    ] = None,
) -> None:
    """Train with and without augmentation, and show how much the score changes."""
    from tsirius import config as configuration
    from tsirius.commands import bench_augment

    loaded = configuration.load(config, overrides or [])
    tell(bench_augment.measure(loaded, gold, methods=method or loaded.augment.methods, seeds=seeds, target=target))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run with a fine-tuned encoder.")],
    to: Annotated[str, typer.Option(metavar="adapter|merged|onnx|onnx-int8", help="The format.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write; by default RUN/export/FORMAT.")
    ] = None,
) -> None:
    """Export a run's model to another format, and check that it predicts the same."""
    from tsirius.commands import export as exporting

    print(exporting.export(folder, to=to, out=output))


@bench.command()
def latency(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder or a model's folder.")],
    reviews: Annotated[
        Path | None, typer.Option(help="A file of reviews to measure with; by default the run's own, else the sample.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0, help="The limit on p99, in seconds a review.")] = 5.0,
    count: Annotated[int, typer.Option(min=1, help="Number of reviews that are classified one by one.")] = 300,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A JSON file to write as well.")] = None,
) -> None:
    """Measure the latency (one by one) and throughput (in batches) of a model; fail if p99 is over the budget."""
    from tsirius.commands import latency as measuring

    latency = measuring.measure(model, reviews=reviews, count=count)
    tell(latency.table())
    if output is not None:
        latency.save(output, budget=budget)
    latency.check(budget)


@app.command()
def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", help="Show a model instead, a folder or a hub name, before it is downloaded."),
    ] = None,
) -> None:
    """Show what this machine has: cores, memory, GPU, network settings, packages, models in the cache.

    Of a model: its class, what it can be used for, pooling, prefix, size, licence, and whether it fits on a T4.
    """
    if model is not None:
        from tsirius.commands import doctor_model

        for name, value in doctor_model.describe(model).items():
            print(f"{i18n.translate(name):<12} {i18n.translate(value)}")
        return
    from tsirius.commands import doctor

    for name, value in doctor.describe().items():
        print(f"{i18n.translate(name):<22} {i18n.translate(value)}")


REMEDIES = {
    errno.ENOSPC: "Free some space there, then run again: it resumes.",
    errno.EDQUOT: "Free some of your quota there, then run again: it resumes.",
    errno.EACCES: "Change its permissions, or choose another path.",
    errno.EPERM: "Change its permissions, or choose another path.",
    errno.EROFS: "Choose a path that can be written to.",
    errno.ENOENT: "Check the path.",
    errno.EFBIG: "Raise the limit on file sizes, or choose another path.",
}
"""What to do about a failure that the operating system reports."""


def main() -> None:
    """Run the command line: a failure that the user can fix is one line on standard error and exit code 2."""
    _open_streams()
    try:
        _look_at_environment()
        app()
    except UserError as error:
        _fail(error)
    except OSError as error:
        if error.errno is None:
            raise
        where = error.filename or _without_name(error)
        remedy = REMEDIES.get(error.errno, "Fix that, then run again: it resumes.")
        _fail(UserError(os.strerror(error.errno).lower(), where=where, remedy=remedy))
    except MemoryError:
        _fail(UserError("out of memory", remedy="Use a machine with more, or fewer reviews at a time."))


def _look_at_environment() -> None:
    """Take the level of notices and the language from it.

    Raises:
        UserError: one is not known.
    """
    level = os.environ.get("TSIRIUS_LOG", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        raise UserError(
            f"unknown level {level!r}", where="TSIRIUS_LOG", remedy="Set it to DEBUG, INFO, WARNING or ERROR."
        )
    logging.basicConfig(level=level, stream=sys.stderr, format="%(message)s")
    if wanted := os.environ.get(i18n.VARIABLE):
        i18n.check(wanted, where=i18n.VARIABLE)


def _open_streams() -> None:
    """Have both streams speak UTF-8 whatever the locale says, with the very bytes of file names that are not."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (for as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")


def _without_name(error: OSError) -> str:
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder"
    return "standard output" if error.errno == errno.ENOSPC else "this machine"


def _fail(error: UserError) -> None:
    print(f"tsirius: {i18n.told(error)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
