"""Results of scoring as tables: text for people, Markdown for notes, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from napari_caked.errors import SettingsError
from napari_caked.evaluation import Evaluation, EvaluationReport

__all__ = ["TableFormat", "format_of", "report_as", "report_rows"]

TableFormat = Literal["text", "markdown", "csv", "json"]
Value = str | int | float | None

_SUFFIXES: dict[str, TableFormat] = {".txt": "text", ".md": "markdown", ".csv": "csv", ".json": "json"}
_TOGETHER = "together"


def format_of(path: Path) -> TableFormat:
    """The format that a file's name asks for.

    Raises
    ------
    SettingsError
        None does.
    """
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise SettingsError(
            f"{path}: a table can be written as {', '.join(_SUFFIXES)}, not as {path.suffix or 'a file without suffix'}"
        ) from None


def report_rows(report: EvaluationReport, *, per_micrograph: bool = True) -> list[dict[str, Value]]:
    """One row per micrograph, then one for all together; lengths in pixels, and in Å where the pixel size is known."""
    rows = [_row(one.name, one.evaluation) for one in report.micrographs] if per_micrograph else []
    return [*rows, _row(_TOGETHER, report.together)]


def report_as(report: EvaluationReport, form: TableFormat, *, per_micrograph: bool = True) -> str:
    """The report in one of the formats; see :func:`report_rows`."""
    return _FORMATS[form](report, report_rows(report, per_micrograph=per_micrograph))


def _row(name: str, result: Evaluation) -> dict[str, Value]:
    return {
        "micrograph": name,
        "labels": result.labels,
        "candidates": result.candidates,
        "picks": result.picks,
        "threshold": result.threshold,
        "precision": result.precision,
        "recall": result.recall,
        "f1": result.f1,
        "average_precision": result.average_precision,
        "best_f1": result.best_f1,
        "best_threshold": result.best_threshold,
        "recall_at_precision_0.9": result.recall_at_high_precision,
        "localisation_rms_px": result.localisation_error,
        "localisation_median_px": result.localisation_median,
        "localisation_rms_angstrom": result.in_angstrom(result.localisation_error),
        "localisation_median_angstrom": result.in_angstrom(result.localisation_median),
    }


def _text(report: EvaluationReport, rows: list[dict[str, Value]]) -> str:
    """Columns side by side where there are several rows, else a line per figure."""
    if len(rows) > 1:
        cells = [list(_SHORT), *([_shown(row[name], 3) for name in _SHORT.values()] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(_SHORT))]
        lines = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in cells
        ]
        return "\n".join(lines)
    lines = [f"{'match radius px':<30}{report.radius:.4g}"]
    for name, value in rows[-1].items():
        if name != "micrograph" and value is not None:
            lines.append(f"{name.replace('_', ' '):<30}{_shown(value, 4)}")
    return "\n".join(lines)


def _aligned(line: list[str], widths: list[int]) -> str:
    """The name to the left, the numbers to the right."""
    numbers = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([line[0].ljust(widths[0]), *numbers])


def _markdown(_report: EvaluationReport, rows: list[dict[str, Value]]) -> str:
    lines = ["| " + " | ".join(_SHORT) + " |", "|" + "---|" * len(_SHORT)]
    lines += ["| " + " | ".join(_shown(row[name], 3) for name in _SHORT.values()) + " |" for row in rows]
    return "\n".join(lines)


def _csv(_report: EvaluationReport, rows: list[dict[str, Value]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _finite(value) for name, value in row.items()} for row in rows)
    return text.getvalue().rstrip("\n")


def _json(report: EvaluationReport, rows: list[dict[str, Value]]) -> str:
    # JSON knows no NaN.
    together, *others = ({name: _finite(value) for name, value in row.items()} for row in reversed(rows))
    del together["micrograph"]
    result: dict[str, object] = {
        "match_radius_px": report.radius,
        "border_px": report.border,
        "match_rule": report.rule,
        **together,
        "localisation_error_px": together["localisation_rms_px"],
    }
    if others:
        result["micrographs"] = others[::-1]
    return json.dumps(result)


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Value, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


_SHORT = {
    "micrograph": "micrograph",
    "labels": "labels",
    "picks": "picks",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "AP": "average_precision",
    "best F1": "best_f1",
    "at": "best_threshold",
    "R at P 0.9": "recall_at_precision_0.9",
    "rms px": "localisation_rms_px",
    "median px": "localisation_median_px",
}

_FORMATS: dict[TableFormat, Callable[[EvaluationReport, list[dict[str, Value]]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
