"""Make the pictures of structures: the preview of cleaving and the density, in a real window.

xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_structure_pictures.py

The protein is made here and served from this machine; nothing is fetched.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from napari_profet import Structure, helix_bundle, write_structure

FOLDER = Path(__file__).parent / "images"
DATABANK = Path(__file__).parents[1] / "tests" / "profet" / "databank.py"
SIGNAL, LENGTH, TAG = 14, 54, 6
COPIES = 10


def main() -> None:
    """Fetch the made protein, preview its cleaving, cleave it, make its density; save what is to be seen."""
    with tempfile.TemporaryDirectory() as folder:
        bank = runpy.run_path(str(DATABANK))["Databank"]()
        serve(bank, Path(folder))
        try:
            show()
        finally:
            bank.close()


def serve(bank, folder: Path) -> None:
    """Put the protein into databases on this machine, and lead the widget there."""
    bank.add_pdb("1ABC", write_structure(folder / "1abc.cif", barrel()).read_bytes())
    places = {"start": {"value": 1}, "end": {"value": SIGNAL}}
    sequence = "A" * (LENGTH - TAG)
    bank.add_protein(
        "P12345",
        "BARREL_MADE",
        features=[{"type": "Signal", "location": places}],
        sequence={"value": sequence, "length": len(sequence)},
    )
    for name, value in bank.addresses.items():
        os.environ[f"PROFET_{name.upper().removesuffix('S') if name == 'emdb_urls' else name.upper()}"] = (
            " ".join(value) if isinstance(value, tuple) else value
        )
    os.environ["PROFET_CACHE"] = str(folder / "cache")


def barrel() -> Structure:
    """Tilted helices around an axis, each a chain with a signal peptide below and a tag above, among waters."""
    helix = helix_bundle(LENGTH, helices=1)
    tilt = _turn(np.radians(24), 0)
    positions, tables = [], []
    for copy in range(COPIES):
        turn = _turn(2 * np.pi * copy / COPIES, 1)
        positions.append((helix.positions @ tilt.T + (22.0, 0, 0)) @ turn.T)
        chain = chr(ord("A") + copy)
        table = helix.atoms.assign(chain=chain, label_chain=chain, b_factor=30.0)
        table.loc[table["residue_number"] > LENGTH - TAG, "residue_name"] = "HIS"
        tables.append(table)
    water = _waters(np.concatenate(positions))
    positions.append(water)
    tables.append(_water_table(len(water)))
    atoms = pd.concat(tables, ignore_index=True)
    atoms["serial"] = np.arange(1, len(atoms) + 1)
    return Structure("1ABC", np.concatenate(positions), atoms, _header())


def _turn(angle: float, about: int) -> np.ndarray:
    """Rotation about an axis of z, y, x, (3, 3)."""
    first, second = (axis for axis in range(3) if axis != about)
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


def _waters(atoms: np.ndarray) -> np.ndarray:
    """Places between 3 and 5 Å from the atoms, (n, 3)."""
    from scipy.spatial import cKDTree

    random = np.random.default_rng(3)
    places = random.uniform(atoms.min(axis=0) - 5, atoms.max(axis=0) + 5, (6000, 3))
    distance, _ = cKDTree(atoms).query(places)
    return places[(distance > 3) & (distance < 4)][:400]


def _water_table(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "record": "HETATM",
            "element": ["O"] * count,
            "atom_name": "O",
            "residue_name": "HOH",
            "label_chain": "W",
            "chain": "W",
            "entity": "2",
            "entity_type": "water",
            "residue_number": np.arange(1, count + 1),
            "b_factor": 40.0,
        }
    )


def _header() -> str:
    chains = [chr(ord("A") + copy) for copy in range(COPIES)]
    names = ["ALA"] * (LENGTH - TAG) + ["HIS"] * TAG
    lines = [
        "data_1ABC",
        "_entry.id 1ABC",
        "_struct.title 'A barrel of helices, made for this picture'",
        "loop_\n_entity.id\n_entity.type\n_entity.pdbx_description\n1 polymer Barrelin\n2 water water",
        "_entity_poly.entity_id 1",
        "_entity_poly.type polypeptide(L)",
        f"_entity_poly.pdbx_strand_id {','.join(chains)}",
        "loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id",
        *(f"1 {number} {name}" for number, name in enumerate(names, 1)),
        "loop_\n_struct_asym.id\n_struct_asym.entity_id",
        *(f"{chain} 1" for chain in chains),
        "W 2",
        "_struct_ref.id 1\n_struct_ref.entity_id 1\n_struct_ref.db_name UNP\n_struct_ref.pdbx_db_accession P12345",
        "loop_\n_struct_ref_seq.align_id\n_struct_ref_seq.ref_id\n_struct_ref_seq.pdbx_strand_id",
        "_struct_ref_seq.pdbx_db_accession\n_struct_ref_seq.seq_align_beg\n_struct_ref_seq.seq_align_end",
        "_struct_ref_seq.db_align_beg\n_struct_ref_seq.db_align_end",
        *(f"{number} 1 {chain} P12345 1 {LENGTH - TAG} 1 {LENGTH - TAG}" for number, chain in enumerate(chains, 1)),
        "loop_\n_struct_ref_seq_dif.align_id\n_struct_ref_seq_dif.pdbx_pdb_strand_id\n_struct_ref_seq_dif.seq_num",
        "_struct_ref_seq_dif.mon_id\n_struct_ref_seq_dif.details",
        *(
            f"{number} {chain} {place} HIS 'expression tag'"
            for number, chain in enumerate(chains, 1)
            for place in range(LENGTH - TAG + 1, LENGTH + 1)
        ),
    ]
    return "\n".join(lines) + "\n"


def show() -> None:
    """Use the widget as a person would."""
    import napari
    from qtpy.QtCore import Qt

    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-profet", "Structure to density")
    viewer.window.resize(1600, 1000)
    widget.fetching.identifier.setText("1abc")
    widget.fetching.fetch()
    _until(lambda: len(viewer.layers) == 1 and widget.jobs.job is None, "fetching")

    for label in ("Signal peptide", "Expression tag", "Waters"):
        widget.cleaving.tree.item_of(label).setCheckState(0, Qt.CheckState.Checked)
    _until(lambda: "water" in widget.cleaving.legend.text(), "the preview")
    viewer.window.resize(1600, 1000)
    _scroll(widget, widget.cleaving)
    _look(viewer, zoom=0.86)
    _save(viewer, "cleaving_preview.jpg")

    widget.cleaving.cleave()
    _until(lambda: len(viewer.layers) == 2 and widget.jobs.job is None, "cleaving")
    widget.density.resolution.setValue(5.0)
    widget.density.make()
    _until(lambda: len(viewer.layers) == 3 and widget.jobs.job is None, "the density")
    widget.density.show_surface()
    _until(lambda: len(viewer.layers) == 4 and widget.jobs.job is None, "the surface")
    widget.density.show_trace()
    _until(lambda: len(viewer.layers) == 5 and widget.jobs.job is None, "the trace")
    viewer.layers["1ABC cleaved"].visible = False
    _scroll(widget, widget.density)
    _look(viewer, zoom=1.3)
    _save(viewer, "density.jpg")
    viewer.close()


def _look(viewer, zoom: float) -> None:
    viewer.reset_view()
    viewer.scene.camera.angles = (0.0, 20.0, 80.0)
    viewer.scene.camera.zoom *= zoom
    _wait(2)


def _scroll(widget, section) -> None:
    from qtpy.QtWidgets import QScrollArea

    _wait(0.5)
    widget.findChild(QScrollArea).verticalScrollBar().setValue(section.y())
    _wait(0.5)


def _save(viewer, name: str) -> None:
    window = viewer.screenshot(canvas_only=False, flash=False)
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    if canvas[..., :3].std() < 5:
        sys.exit("the canvas is empty: this screen has no OpenGL")
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(window)[..., :3]).save(FOLDER / name, quality=88)
    print(FOLDER / name, window.shape)


def _until(done, what: str, seconds: float = 120.0) -> None:
    if not _wait(seconds, done):
        sys.exit(f"{what} did not end within {seconds:.0f} seconds")


def _wait(seconds: float, done=lambda: False) -> bool:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.01)
    return done()


if __name__ == "__main__":
    main()
