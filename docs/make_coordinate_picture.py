"""Make the picture of the page on coordinate formats: one particle as every format counts it.

python docs/make_coordinate_picture.py

Needs matplotlib. The numbers under the pictures come from the writers themselves.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from napari_empiarreader.coordinates import ParticleTable, write_particles

TARGET = Path(__file__).parent / "images" / "frames.png"

HEIGHT, WIDTH = 3000, 4000
Y, X, BOX = 900.0, 1400.0, 800.0

PANELS = (
    ("centre, from the top", "star", "also eman2, helix-box, epicker, xmipp, csv", {}),
    ("corner of the box, from the top", "box", "also cbox", {"box_size": BOX}),
    ("fraction, from the bottom", "cryosparc", "", {"shapes": (HEIGHT, WIDTH)}),
    ("centre, from the bottom", "csv", "with the columns of CryoPPP", {"shapes": (HEIGHT, WIDTH)}),
    ("centre, downsampled pixels", "topaz", "here with scale 8", {"scale": 8.0}),
)


def main() -> None:
    """Draw a panel for each way of counting, with the numbers that our writer puts in the file."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(16, 4.2), layout="constrained")
    for axis, (title, name, others, options) in zip(axes, PANELS, strict=True):
        x, y = _written(name, options)
        _micrograph(axis)
        _arrows(axis, name)
        axis.set_title(f"{name}: {title}", fontsize=10)
        axis.set_xlabel(f"x = {x:g}   y = {y:g}\n{others}", fontsize=9)
    figure.suptitle(
        f"One particle at row {Y:g}, column {X:g} of an array of {HEIGHT} x {WIDTH} pixels (row 0 on top), box {BOX:g}"
    )
    TARGET.parent.mkdir(exist_ok=True)
    figure.savefig(TARGET, dpi=90)
    print(TARGET)


def _written(name: str, options: dict) -> tuple[float, float]:
    """Numbers for x and y as they stand in the file."""
    metadata = {}
    if name == "csv":
        roles = {"x": "X-Coordinate", "y": "Y-Coordinate"}
        metadata = {"csv": {"columns": roles, "head": list(roles.values()), "delimiter": ","}}
    table = ParticleTable(("m.mrc",), np.array([[0, Y, X]]), metadata=metadata)
    with tempfile.TemporaryDirectory() as folder:
        path = write_particles(Path(folder) / "m", table, format=name, **options)[0]
        if name == "cryosparc":
            record = np.load(path)[0]
            return float(record["location/center_x_frac"]), float(record["location/center_y_frac"])
        words = path.read_text().replace(",", " ").split("\n")
        row = next(line for line in reversed(words) if line.strip()).split()
        start = 1 if name == "topaz" else 0
        return float(row[start]), float(row[start + 1])


def _micrograph(axis: Axes) -> None:
    axis.add_patch(Rectangle((0, 0), WIDTH, HEIGHT, facecolor="0.9", edgecolor="0.3"))
    axis.add_patch(Circle((X, Y), 300, facecolor="0.55"))
    axis.plot([X], [Y], "+", color="black")
    axis.set(xlim=(-350, WIDTH + 150), ylim=(HEIGHT + 350, -350), xticks=[], yticks=[], aspect="equal")
    for side in axis.spines.values():
        side.set_visible(False)


def _arrows(axis: Axes, name: str) -> None:
    """The two distances that the format holds."""
    x, y = (X - BOX / 2, Y - BOX / 2) if name == "box" else (X, Y)
    origin = HEIGHT if name in ("cryosparc", "csv") else 0
    if name == "box":
        axis.add_patch(Rectangle((x, y), BOX, BOX, fill=False, edgecolor="tab:blue"))
    style = {"arrowstyle": "->", "color": "tab:red", "lw": 1.6}
    axis.annotate("", (x, y), (0, y), arrowprops=style)
    axis.annotate("", (x, y), (x, origin), arrowprops=style)
    axis.plot([0], [origin], "o", color="tab:red", ms=7, clip_on=False)


if __name__ == "__main__":
    main()
