"""Pictures and tables of scoring: that they are written, hold what they should, and never replace by accident."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_caked.calibration import reliability
from napari_caked.cli import app
from napari_caked.evaluation import evaluate_micrographs
from napari_caked.figures import draw_evaluation, draw_reliability, has_probabilities
from napari_empiarreader.coordinates import ParticleTable, write_particles

NAMES = ("first.mrc", "second.mrc")


def tables(count=60, names=NAMES, seed=0):
    """Picks with scores that come true, and labels, on each micrograph."""
    dice = np.random.default_rng(seed)
    labels, picks, scores = [], [], []
    for i in range(len(names)):
        places = np.stack(np.meshgrid(np.arange(20, 980, 60), np.arange(20, 980, 60)), -1).reshape(-1, 2)
        places = places[dice.permutation(len(places))[:count]].astype(float)
        score = dice.uniform(size=count)
        right = dice.uniform(size=count) < score
        labels.append(np.column_stack([np.full(right.sum(), i), places[right]]))
        picks.append(np.column_stack([np.full(count, i), places + dice.normal(scale=2, size=places.shape)]))
        scores.append(score)
    features = pd.DataFrame({"score": np.concatenate(scores)})
    return ParticleTable(names, np.concatenate(picks), features), ParticleTable(names, np.concatenate(labels))


def words(svg):
    """Text of a drawing that kept its letters as comments (matplotlib writes each string above its glyphs)."""
    return " ".join(re.findall(r"<!-- (.*?) -->", svg))


def test_the_picture_holds_curve_micrographs_and_reliability(tmp_path):
    picks, labels = tables()
    report = evaluate_micrographs(picks, labels, radius=10)
    draw_evaluation(tmp_path / "a.svg", report)
    text = words((tmp_path / "a.svg").read_text())
    assert f"average precision {report.together.average_precision:.3f}" in text
    for name in ("first", "second", "recall", "precision", "F1", "Do the scores come true?", "120 candidates"):
        assert name in text, name
    draw_evaluation(tmp_path / "a.png", report)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_scores_that_are_no_probabilities_have_no_reliability(tmp_path):
    picks, labels = tables()
    odd = ParticleTable(NAMES, picks.coordinates, picks.features * 12 - 4)
    report = evaluate_micrographs(odd, labels, radius=10)
    assert not has_probabilities(report.together)
    draw_evaluation(tmp_path / "a.svg", report)
    assert "scores are no probabilities" in words((tmp_path / "a.svg").read_text())


def test_one_micrograph_hundreds_and_no_picks_can_be_drawn(tmp_path):
    for names in (("one.mrc",), tuple(f"m{i}.mrc" for i in range(60))):
        picks, labels = tables(8, names)
        draw_evaluation(tmp_path / f"{len(names)}.svg", evaluate_micrographs(picks, labels, radius=10))
    text = words((tmp_path / "60.svg").read_text())
    assert "micrographs, by F1" in text and "m17" not in text
    draw_evaluation(
        tmp_path / "none.svg", evaluate_micrographs(picks.where(np.zeros(len(picks), bool)), labels, radius=9)
    )


def test_reliability_diagrams_stand_side_by_side(tmp_path):
    scores = np.linspace(0, 1, 50)
    results = {name: reliability(scores, scores > 0.5) for name in ("here", "there")}
    draw_reliability(tmp_path / "r.svg", results)
    text = words((tmp_path / "r.svg").read_text())
    assert "here" in text and "there" in text


@pytest.fixture
def files(tmp_path):
    picks, labels = tables()
    write_particles(tmp_path / "picks.star", picks)
    write_particles(tmp_path / "truth.star", labels)
    return tmp_path


def score(files, *options):
    fixed = ["score", files / "picks.star", files / "truth.star", "--diameter", 60, "--radius", 10, "--pixel-size", 2]
    return CliRunner().invoke(app, [str(part) for part in (*fixed, *options)])


def test_the_command_writes_table_and_picture(files):
    result = score(files, "--table", files / "t.csv", "--plot", files / "p.svg", "--per-micrograph")
    assert result.exit_code == 0, result.output
    shown = [line.split()[0] for line in result.stdout.splitlines()]
    assert shown == ["micrograph", "first.mrc", "second.mrc", "together"]
    table = pd.read_csv(files / "t.csv")
    assert list(table["micrograph"]) == ["first.mrc", "second.mrc", "together"]
    assert table["labels"][2] == table["labels"][0] + table["labels"][1]
    np.testing.assert_allclose(table["localisation_rms_angstrom"], 2 * table["localisation_rms_px"])
    assert "average precision" in words((files / "p.svg").read_text())


def test_json_holds_the_micrographs_when_asked(files):
    plain, full = (json.loads(score(files, "--json", *more).stdout) for more in ((), ("--per-micrograph",)))
    assert "micrographs" not in plain
    assert [one["micrograph"] for one in full["micrographs"]] == list(NAMES)
    assert {name: full[name] for name in plain} == plain
    assert json.loads(score(files, "--json", "--match", "assignment").stdout)["match_rule"] == "assignment"


@pytest.mark.parametrize("option, name", [("--table", "t.csv"), ("--plot", "p.png")])
def test_a_file_is_replaced_only_when_asked(files, option, name):
    (files / name).write_text("mine")
    refused = score(files, option, files / name)
    assert refused.exit_code != 0
    assert "exists already" in str(refused.exception)
    assert (files / name).read_text() == "mine"
    assert score(files, option, files / name, "--overwrite").exit_code == 0
    assert (files / name).read_bytes() != b"mine"


@pytest.mark.parametrize("option, name", [("--table", "t.xlsx"), ("--plot", "p.doc")])
def test_a_format_nobody_knows_is_an_error_before_the_work(files, option, name):
    refused = score(files, option, files / name)
    assert refused.exit_code != 0
    assert name in str(refused.exception)
