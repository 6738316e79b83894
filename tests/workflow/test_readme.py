"""What the README shows must run as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from napari_empiarreader import read_particles, write_particles
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.samples import SAMPLE_ENTRY, SimulationSettings, make_sample_entry

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_script_runs_and_picks(tmp_path, monkeypatch, capsys):
    settings = SimulationSettings(shape=(512, 512), particles=80, phase=0.1, particle_diameter=170)
    root = make_sample_entry(tmp_path / "archive", count=2, settings=settings)
    (root / str(SAMPLE_ENTRY)).rename(root / "10017")
    truth = read_particles(root / "10017/data/particles.star")
    monkeypatch.chdir(tmp_path)
    write_particles("truth.star", truth)
    write_particles("labels.star", truth.where(np.arange(0, len(truth), 4)[:10]))
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    # It shows that the script works, not how well it picks.
    short = script.replace(
        "TrainingSettings(particle_diameter=170)", "TrainingSettings(particle_diameter=170, steps=50)"
    )
    assert short != script
    with LoopbackArchive(root) as server:
        monkeypatch.setenv("EMPIAR_API_URL", server.settings.api_url)
        monkeypatch.setenv("EMPIAR_ARCHIVE_URL", server.settings.archive_url)
        exec(compile(short, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0.8
    assert len(read_particles("picks.star")) > len(truth) / 2
    assert Path("model.safetensors").stat().st_size < 5e6


def test_the_pictures_and_pages_it_names_are_there():
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("napari-*/README.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.relative_to(ROOT)} points to {target}"


def test_its_two_lines_start_what_they_say():
    lines = re.findall(r"```sh\n(python3 start\.py[^\n]*)\n```", README)
    assert lines == ["python3 start.py", "python3 start.py test"]
    assert sys.version_info >= (3, 11)
