"""The command ``score``: lengths that cannot be are one line, not figures."""

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_caked.cli import app
from napari_empiarreader.coordinates import ParticleTable, write_particles
from napari_empiarreader.errors import UserError


@pytest.fixture
def scored(tmp_path):
    """Call the command with picks that are their own truth, 1.5 Å per pixel."""
    picks = tmp_path / "picks.star"
    write_particles(picks, ParticleTable(("a.mrc",), np.array([[0, 20.0, 30.0], [0, 60.0, 70.0]])))

    def call(*options):
        return CliRunner().invoke(app, ["score", str(picks), str(picks), "--pixel-size", "1.5", *options])

    return call


def test_picks_are_as_good_as_themselves(scored):
    result = scored("--diameter", "120")
    assert result.exit_code == 0, result.output
    rows = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert (rows["match radius px"], rows["labels"], float(rows["f1"])) == ("40", "2", 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--diameter", "-5"], "--diameter -5: a particle diameter is positive"),
        (["--diameter", "0"], "--diameter 0: a particle diameter is positive"),
        (["--diameter", "inf"], "--diameter inf: a particle diameter is positive"),
        (["--diameter", "120", "--radius", "0"], "--radius 0: a match radius is positive"),
        (["--diameter", "120", "--radius", "nan"], "--radius nan: a match radius is positive"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_lengths_are_errors(scored, options, message):
    result = scored(*options)
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception)
    assert not result.stdout
