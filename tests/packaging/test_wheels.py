"""Each wheel alone in an empty environment: what it holds, what it brings, and that it works with no Qt there.

Runs with ``pytest -m packaging`` (environment "alone" of tox): it builds the wheels and installs napari three times.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

REPOSITORY = Path(__file__).resolve().parents[2]
STARTUP = REPOSITORY / "tests" / "benchmarks" / "startup.py"
PACKAGES = ("napari-profet", "napari-empiarreader", "napari-caked")
OTHERS_NEEDED = {"napari-profet": set(), "napari-empiarreader": set(), "napari-caked": {"napari-empiarreader"}}
QT = ("pyqt", "pyside")

# What a user's script would do, with nothing but the one plugin. Each ends by printing a line.
SCRIPTS = {
    "napari-empiarreader": """
import mrcfile, npe2, numpy as np
from npe2 import PluginManager

PluginManager.instance().discover()
micrograph = np.arange(48 * 64, dtype=np.float32).reshape(48, 64)
with mrcfile.new("one.mrc") as file:
    file.set_data(micrograph)
    file.voxel_size = 1.5
[(data, options, kind)] = npe2.read(["one.mrc"], stack=False)
assert kind == "image", kind
np.testing.assert_array_equal(np.asarray(data).reshape(48, 64), micrograph)
assert np.allclose(options["scale"][-2:], 1.5), options

import pandas as pd
features = {"score": pd.Series([0.25, 0.75])}
points = (np.array([[0, 10.0, 20.0], [0, 30.0, 40.5]]), {
    "features": pd.DataFrame(features), "scale": (1, 1.5, 1.5),
    "metadata": {"micrographs": ["one.mrc"], "pixel_size": 1.5},
}, "points")
written = npe2.write("picks.star", [points], plugin_name="napari-empiarreader")
assert written, "nothing was written"
[(data, options, kind)] = npe2.read(["picks.star"], stack=False, plugin_name="napari-empiarreader")
assert kind == "points", kind
np.testing.assert_allclose(data, points[0], atol=1e-3)
print("MRC read, STAR written and read")
""",
    "napari-profet": """
import npe2, numpy as np
from npe2 import PluginManager

manager = PluginManager.instance()
manager.discover()
contributions = manager.get_manifest("napari-profet").contributions
sample = contributions.sample_data[0]
[atoms] = [layer for layer in sample.open() if layer[2] == "points"]
assert len(atoms[0]) > 0
assert npe2.write("sample.cif", [atoms], plugin_name="napari-profet"), "nothing was written"
layers = npe2.read(["sample.cif"], stack=False, plugin_name="napari-profet")
[again] = [layer for layer in layers if layer[2] == "points"]
np.testing.assert_allclose(np.sort(again[0], axis=0), np.sort(atoms[0], axis=0), atol=2e-3)
print(f"{len(atoms[0])} atoms of the sample written and read")
""",
    "napari-caked": """
from npe2 import PluginManager

manager = PluginManager.instance()
manager.discover()
contributions = manager.get_manifest("napari-caked").contributions
layers = contributions.sample_data[0].open()
assert {"image", "points"} <= {layer[2] for layer in layers}, [layer[2] for layer in layers]
import numpy as np
from napari_caked import pick
from napari_caked.general import general_picker
from napari_empiarreader.micrographs import MicrographSeries
noise = np.random.default_rng(0).normal(size=(1, 200, 200)).astype(np.float32)
pick(MicrographSeries.from_array(noise, ["noise.mrc"], 6.0), general_picker(120.0))
print(f"{len(layers)} layers of the sample made, and the general weights are there")
""",
}


@dataclass(frozen=True)
class Alone:
    """An environment with one package installed from its wheel."""

    package: str
    python: Path

    def run(self, *arguments: str | Path, folder: Path | None = None) -> str:
        """Run the environment's Python, give what it printed; fail the test with its output if it fails."""
        result = subprocess.run([self.python, *arguments], cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0, f"{arguments}:\n{result.stdout}\n{result.stderr}"
        return result.stdout


@pytest.fixture(scope="session")
def wheelhouse() -> Iterator[Path]:
    """A folder with the wheels of the three packages, built from this checkout."""
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        sources = [REPOSITORY / package for package in PACKAGES]
        pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, *sources)
        yield Path(folder)


@pytest.fixture(scope="session", params=PACKAGES)
def alone(request: pytest.FixtureRequest, wheelhouse: Path) -> Iterator[Alone]:
    """Install one package from its wheel into an empty environment; gone after the tests (torch is large)."""
    with tempfile.TemporaryDirectory(prefix="alone-") as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = Path(folder) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        wheel = wheel_of(request.param, wheelhouse)
        constraints = REPOSITORY / "constraints.txt"
        pip("--python", python, "install", "-c", constraints, "--find-links", wheelhouse, wheel)
        yield Alone(request.param, python)


def pip(*arguments: str | Path) -> None:
    """Run pip; its output is shown only where it fails."""
    result = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, f"pip {arguments}:\n{result.stdout}\n{result.stderr}"


def wheel_of(package: str, wheelhouse: Path) -> Path:
    """The wheel of a package."""
    [wheel] = wheelhouse.glob(f"{package.replace('-', '_')}-*.whl")
    return wheel


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_holds_manifest_types_licence_and_no_tests(package: str, wheelhouse: Path) -> None:
    module = package.replace("-", "_")
    names = zipfile.ZipFile(wheel_of(package, wheelhouse)).namelist()
    assert {f"{module}/napari.yaml", f"{module}/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    strangers = [name for name in names if not name.startswith((f"{module}/", f"{module}-")) or "/test" in name]
    assert not strangers, f"these do not belong into a wheel: {strangers}"


def test_it_brings_neither_qt_nor_the_other_plugins(alone: Alone) -> None:
    names = "import json; from importlib.metadata import distributions as d; print(json.dumps([x.name for x in d()]))"
    installed = {name.lower() for name in json.loads(alone.run("-c", names))}
    assert {alone.package, "napari"} <= installed
    assert not [name for name in installed if name.startswith(QT)]
    assert installed & set(PACKAGES) == {alone.package} | OTHERS_NEEDED[alone.package]


def test_npe2_finds_the_manifest_valid(alone: Alone) -> None:
    print(f"\n{alone.run('-m', 'npe2', 'validate', alone.package).strip()}")


def test_it_works_from_a_script_without_qt(alone: Alone, tmp_path: Path) -> None:
    no_qt = "\nimport sys; loaded = [n for n in sys.modules if n.startswith(('PyQt', 'PySide'))]; assert not loaded\n"
    print(f"\n{alone.package}: {alone.run('-c', SCRIPTS[alone.package] + no_qt, folder=tmp_path).strip()}")


def test_its_command_line_answers(alone: Alone) -> None:
    """Start-up times are printed, never asserted: the machine is shared."""
    print(f"\n{alone.run(STARTUP, alone.package)}")
