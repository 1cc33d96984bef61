"""Answers in files: CSV for a spreadsheet, and the JSON of Label Studio and of Argilla, in and out.

Label Studio: tasks with ``data`` and ``annotations``, each a ``choices`` result (labelstud.io/guide/task_format).
Argilla 2: records with ``fields``, ``responses`` by question and ``suggestions`` (docs.argilla.io, rg.Record). It is
their texts that tie answers to reviews: the ids there are their own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsirius.answers.log import KINDS, VERDICTS, Answer, Kind, Verdict, text_hash
from tsirius.categories import key, spellings
from tsirius.errors import UserError, nearest
from tsirius.io import spreadsheet
from tsirius.publish import write_text

FORMATS = ("csv", "label-studio", "argilla")
COLUMNS = ("id", "text", "category", "verdict", "kind", "who", "at", "note")
QUESTION = "category"
"""What reviews are asked in the other tools."""
SEVERAL = "several products"

Row = dict[str, str]
"""An answer with the text of its review: :data:`COLUMNS`."""


def write(path: Path, rows: Iterable[Row], *, form: str, labels: Mapping[str, str | None]) -> int:
    """Write answers into a file; returns how many.

    Args:
        path: the file.
        rows: the answers.
        form: one of :data:`FORMATS`.
        labels: id → the label of each review that is written too, to be answered there; of csv none is.
    """
    given = list(rows)
    if form == "csv":
        cells = ([" ".join(row[name].split()) for name in COLUMNS] for row in given)
        spreadsheet.write(path, COLUMNS, cells, delimiter=";")
        return len(given)
    by_id: dict[str, list[Row]] = {}
    for row in given:
        by_id.setdefault(row["id"], []).append(row)
    one = _task if form == "label-studio" else _record
    found = [one(answers, labels.get(name)) for name, answers in by_id.items()]
    write_text(path, json.dumps(found, ensure_ascii=False, indent=1))
    return len(given)


def read(path: Path, *, form: str, names: Sequence[str], texts: Mapping[str, str], who: str) -> list[Answer]:
    """Read answers from a file; none is kept yet.

    Args:
        path: the file.
        form: one of :data:`FORMATS`.
        names: the run's categories.
        texts: text hash → id of the run's reviews.
        who: gave the answers where the file does not say.

    Raises:
        UserError: it cannot be read, or a row is of no category or review of the run.
    """
    spelled, answers = spellings(names), list[Answer]()
    for number, row in enumerate(_rows(path, form), 1):
        where = f"{path}, {'row' if form == 'csv' else 'answer'} {number}"
        written, verdict = row.get("category", "").strip(), row.get("verdict") or "category"
        kind = row.get("kind") or "lesson"
        if verdict not in VERDICTS or kind not in KINDS:
            raise UserError(f"verdict {verdict!r} of kind {kind!r}", where=where,
                            remedy=f"Known: {', '.join(VERDICTS)}; {', '.join(KINDS)}.")  # fmt: skip
        if verdict == "category" and not written:
            continue  # not answered
        if verdict == "category" and key(written) not in spelled:
            raise UserError(f"unknown category {written!r}{nearest(written, names)}", where=where,
                            remedy=f"Known: {', '.join(names)}.")  # fmt: skip
        hashed = text_hash(row.get("text", ""))
        if hashed not in texts:
            raise UserError("its text is of no review of the run", where=where,
                            remedy="Import answers into the run that they were exported from.")  # fmt: skip
        category = spelled[key(written)] if verdict == "category" else None
        known_kind: Kind = "exam" if kind == "exam" else "lesson"
        answers.append(
            Answer(
                review=texts[hashed],
                text=hashed,
                category=category,
                kind=known_kind,
                who=row.get("who") or who,
                verdict=_verdict(verdict),
                note=row.get("note") or "",
                at=row.get("at") or "",
            )
        )
    return answers


def _verdict(written: str) -> Verdict:
    return next(verdict for verdict in VERDICTS if verdict == written)


def _rows(path: Path, form: str) -> list[Row]:
    if form == "csv":
        return _csv(path)
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))
        read_one: Callable[[Any], list[Row]] = _of_task if form == "label-studio" else _of_record
        return [row for item in items for row in read_one(item)]
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=path, remedy="Export it again as JSON.") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise UserError(f"is no export of {form}", where=path, remedy="Export it again as JSON.") from None


def _csv(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            beginning = handle.readline()
            handle.seek(0)
            reader = csv.DictReader(handle, delimiter=";" if beginning.count(";") > beginning.count(",") else ",")
            missing = [name for name in ("text", "category") if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(f"has no column {missing[0]}", where=path, remedy="Use the file that --export wrote.")
            return [
                {name: spreadsheet.unescape(cell or "") for name, cell in row.items() if name in COLUMNS}
                for row in reader
            ]
    except (UnicodeDecodeError, csv.Error):
        raise UserError("is no CSV in UTF-8", where=path, remedy="Save it as CSV UTF-8.") from None


# --- Label Studio -----------------------------------------------------------------------------------------------------


def _choice(category: str) -> dict[str, Any]:
    return {"from_name": QUESTION, "to_name": "text", "type": "choices", "value": {"choices": [category]}}


def _task(answers: Sequence[Row], label: str | None) -> dict[str, Any]:
    annotations = [
        {
            "result": [] if row["verdict"] == "skip" else [_choice(row["category"] or SEVERAL)],
            "was_cancelled": row["verdict"] == "skip",
            "created_at": row["at"],
            "completed_by": {"email": row["who"]},
        }
        for row in answers
        if row["verdict"]
    ]
    data = {name: answers[0][name] for name in ("id", "text", "kind")}
    guessed = [{"model_version": "tsirius", "result": [_choice(label)]}] if label else []
    return {"data": data, "annotations": annotations, "predictions": guessed}


def _of_task(task: Mapping[str, Any]) -> list[Row]:
    rows = []
    for annotation in task["annotations"]:
        by = annotation.get("completed_by")
        who = by.get("email", "") if isinstance(by, dict) else str(by or "")
        choices = [one["value"]["choices"] for one in annotation["result"] if one.get("type") == "choices"]
        said = choices[0] if choices else []
        if annotation.get("was_cancelled") or not said:
            verdict, category = "skip", ""
        else:
            verdict, category = _said(said)
        rows.append({"text": task["data"]["text"], "category": category, "verdict": verdict, "who": who,
                     "kind": task["data"].get("kind") or "", "at": annotation.get("created_at") or ""})  # fmt: skip
    return rows


def _said(choices: Sequence[str]) -> tuple[str, str]:
    """The verdict and category of what was chosen: several choices are several products."""
    return ("several", "") if len(choices) > 1 or choices[0] == SEVERAL else ("category", choices[0])


# --- Argilla ----------------------------------------------------------------------------------------------------------


def _record(answers: Sequence[Row], label: str | None) -> dict[str, Any]:
    responses = [
        {"value": row["category"] or SEVERAL, "user_id": row["who"]}
        for row in answers
        if row["verdict"] and row["verdict"] != "skip"
    ]
    return {
        "id": answers[0]["id"],
        "fields": {"text": answers[0]["text"]},
        "metadata": {"kind": answers[0]["kind"]},
        "suggestions": {QUESTION: {"value": label, "agent": "tsirius"}} if label else {},
        "responses": {QUESTION: responses} if responses else {},
        "status": "completed" if responses else "pending",
    }


def _of_record(record: Mapping[str, Any]) -> list[Row]:
    rows = []
    for response in (record.get("responses") or {}).get(QUESTION) or []:
        value = response["value"]
        verdict, category = _said(value if isinstance(value, list) else [value])
        kind = (record.get("metadata") or {}).get("kind") or ""
        who = str(response.get("user_id") or "")
        rows.append(
            {"text": record["fields"]["text"], "category": category, "verdict": verdict, "who": who, "kind": kind}
        )
    return rows
