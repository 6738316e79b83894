"""The second section: what is in the structure, what shall go, and how that would look."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
)

from napari_profet.cleave import CleaveOptions, CleavePlan, cleave, plan_cleaving
from napari_profet.contents import contents_of, options_of
from napari_profet.errors import UserError
from napari_profet.layers import ColourBy, structure_from_layer
from napari_profet.layers_pairs import place_beside
from napari_profet.widgets._contents_tree import ContentsTree
from napari_profet.widgets._finding import FoundLayer, Known, find_errors, find_features, found_structure
from napari_profet.widgets._jobs import Job, JobBar, Latest
from napari_profet.widgets._layer_choice import LayerChoice, is_structure
from napari_profet.widgets._preview import Preview, legend_of

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_profet.structure import Structure

__all__ = ["CleaveSection", "Snapshot"]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A layer as it was, for a worker thread: its points, attributes, and which of them were shown."""

    data: np.ndarray
    attributes: dict[str, Any]
    shown: np.ndarray

    @classmethod
    def of(cls, layer: Points) -> Snapshot:
        """Take one; atoms that are moved later stay where they were in it."""
        data, attributes, _ = layer.as_layer_data_tuple()
        return cls(np.array(data), attributes, np.array(layer.shown))

    def structure(self) -> Structure:
        """The atoms that were shown."""
        return structure_from_layer(self.data, self.attributes)


class CleaveSection(QGroupBox):
    """Shows what is in a structure, previews what would go, and makes the cleaved one as a new layer.

    ``found`` tells of a cleaved structure, ``errors`` of a layer of aligned errors.

    Parameters
    ----------
    viewer
        Where the structures are.
    jobs
        Where the work is shown.
    colours
        Asked for what the colours of a new layer are to say.
    """

    found = Signal(object)
    errors = Signal(object)

    def __init__(self, viewer: Viewer, jobs: JobBar, colours: Callable[[], ColourBy]) -> None:
        super().__init__("2  Choose what goes, and cleave")
        self._viewer, self._jobs, self._colours = viewer, jobs, colours
        self._known: dict[Hashable, Known] = {}
        self._preview = Preview()
        self._looks, self._plans = Latest(self._cannot_look, 0), Latest(self._cannot_plan)
        self._before: tuple[Points, Points] | None = None
        self._build()
        self._lay_out()
        self._connect()
        self._show(self.structure.layer)

    def _build(self) -> None:
        self.structure = LayerChoice(self._viewer, is_structure, "no structure yet")
        self.tree = ContentsTree()
        self.accessions = QLineEdit()
        self.accessions.setPlaceholderText("P12345")
        self.accessions.setToolTip("UniProt entries of the proteins, with commas; the structure's own are filled in")
        self.features_button = QPushButton("Get features")
        self.features_button.setToolTip("Ask UniProt for signal peptides, propeptides, domains of these proteins")
        self.ranges = QLineEdit()
        self.ranges.setPlaceholderText("A:1-25, H:52A-52C, label:B:3-9")
        self.ranges.setToolTip("Residues that go: chain and authors' numbers; after label: those of the dictionary")
        self.selection = QLineEdit()
        self.selection.setPlaceholderText("//A/10-20 or (HIS,ASP)")
        self.selection.setToolTip("Atoms that go, in gemmi's selection syntax; the sequence stays as it is")
        self.plddt = QDoubleSpinBox()
        self.plddt.setRange(0, 100)
        self.plddt.setDecimals(0)
        self.plddt.setSpecialValueText("whatever it is")
        self.plddt.setToolTip("Residues of a prediction with a lower mean confidence go; 70 is a common choice")
        self.errors_button = QPushButton("Show aligned errors")
        self.errors_button.setToolTip(
            "Predicted aligned errors (PAE) from AlphaFold DB as an Image layer; point at a pair of residues in it, "
            "and both are marked in the structure"
        )
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.notes = QLabel()
        for label in (self.legend, self.notes):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.cleave_button = QPushButton("Cleave")
        self.cleave_button.setToolTip("Make a new layer without what goes; this one is only hidden")
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Remove the cleaved layer and show the one it was made from")
        self.save_button = QPushButton("Save…")
        self.save_button.setToolTip("Write the chosen structure as mmCIF or PDB")

    def _lay_out(self) -> None:
        uniprot = QHBoxLayout()
        uniprot.addWidget(self.accessions, 1)
        uniprot.addWidget(self.features_button)
        form = QFormLayout()
        form.addRow("Structure", self.structure)
        form.addRow("UniProt", uniprot)
        more = QFormLayout()
        more.addRow("Residues", self.ranges)
        more.addRow("Selection", self.selection)
        more.addRow("pLDDT below", self.plddt)
        more.addRow("PAE", self.errors_button)
        self._more = more
        buttons = QHBoxLayout()
        for button in (self.cleave_button, self.undo_button, self.save_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.tree)
        layout.addLayout(more)
        layout.addWidget(self.legend)
        layout.addWidget(self.notes)
        layout.addLayout(buttons)

    def _connect(self) -> None:
        self.structure.chosen.connect(self._show)
        self.tree.ticked.connect(self.preview)
        for line in (self.ranges, self.selection):
            line.textChanged.connect(self.preview)
        self.plddt.valueChanged.connect(self.preview)
        self.accessions.returnPressed.connect(self.get_features)
        self.features_button.clicked.connect(self.get_features)
        self.errors_button.clicked.connect(self.get_errors)
        self.cleave_button.clicked.connect(self.cleave)
        self.undo_button.clicked.connect(self.undo)
        self.save_button.clicked.connect(self._choose_target)
        self._jobs.busy.connect(lambda busy: self._enable())
        # Of the widget nothing is left then but these.
        for question in (self._looks, self._plans):
            self.destroyed.connect(question.drop)

    # ---- what is in it ---------------------------------------------------------------------------------------

    def remember(self, layer: Points, known: Known) -> None:
        """Keep what is known of a structure's layer, and show it if it is the chosen one."""
        self._known[layer.unique_id] = known
        if self.structure.layer == layer:
            self._show(layer)

    def _show(self, layer: Points | None) -> None:
        self.abandon()
        for line in (self.ranges, self.selection):
            line.blockSignals(True)
            line.clear()
            line.blockSignals(False)
        self.plddt.blockSignals(True)
        self.plddt.setValue(0)
        self.plddt.blockSignals(False)
        self.tree.show_contents(None)
        self.accessions.clear()
        self._enable()
        if layer is None:
            return
        if layer.unique_id in self._known:
            self._fill(self._known[layer.unique_id])
            return
        snapshot = Snapshot.of(layer)
        self._looks.ask(lambda: Known(contents_of(snapshot.structure())), lambda known: self.remember(layer, known))

    def _fill(self, known: Known) -> None:
        self.tree.show_contents(known.contents)
        self.accessions.setText(", ".join(known.contents.accessions))
        self._say_notes((*known.notes, *known.contents.notes))
        self._enable()

    def get_features(self) -> None:
        """Ask UniProt for the features of the proteins that are named."""
        layer = self.structure.layer
        names = [name.strip() for name in self.accessions.text().split(",") if name.strip()]
        if layer is None or not names:
            self._jobs.fail("Open a structure and name a UniProt entry, such as P12345, first.")
            return
        snapshot = Snapshot.of(layer)

        def arrived(known: Known) -> None:
            found = ", ".join(protein.accession for protein in known.proteins)
            self._jobs.say(f"UniProt has {found or 'none of them'}.")
            self.remember(layer, known)

        self._jobs.start("Asking UniProt", lambda job: find_features(snapshot.structure(), names, job), arrived)

    def get_errors(self) -> None:
        """Fetch the predicted aligned errors of the chosen structure, and put them beside it."""
        layer = self.structure.layer
        snapshot, identifier = Snapshot.of(layer), layer.metadata["structure"]["id"]

        def arrived(errors: Any) -> None:
            data, attributes, kind = errors
            self.errors.emit((data, attributes | place_beside(layer, len(data)), kind))
            self._jobs.say("Point at a pair of residues in the square; a click keeps them marked.")

        self._jobs.start(
            f"Aligned errors of {identifier}",
            lambda job: find_errors(identifier, snapshot.structure(), job),
            arrived,
            in_bytes=True,
        )

    # ---- the preview -----------------------------------------------------------------------------------------

    def preview(self) -> None:
        """Paint what would go, and count it, a moment from now."""
        layer = self.structure.layer
        self._enable()
        try:
            options = self._options()
        except UserError as error:
            self._plans.drop()
            self._nothing_planned(str(error))
            return
        if layer is None or options == CleaveOptions():
            self._plans.drop()
            self._nothing_planned("")
            return
        snapshot, proteins = Snapshot.of(layer), self._proteins(layer)
        self._plans.ask(
            lambda: plan_cleaving(snapshot.structure(), options, proteins),
            lambda plan: self._planned(layer, plan, snapshot.shown),
        )

    def _planned(self, layer: Points, plan: CleavePlan, shown: np.ndarray) -> None:
        self._preview.show(layer, plan, shown)
        self.legend.setText(legend_of(plan) or "Nothing would go.")
        self._say_notes(plan.notes)

    def _nothing_planned(self, message: str) -> None:
        self._preview.clear()
        self.legend.clear()
        self.notes.setText(message)

    def _cannot_plan(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error
        self._nothing_planned(str(error))

    def _cannot_look(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error
        self._jobs.fail(str(error))

    def _say_notes(self, notes: tuple[str, ...]) -> None:
        self.notes.setText("\n".join(f"• {note}" for note in notes))

    def _options(self) -> CleaveOptions:
        least = self.plddt.value() or None
        return options_of(self.tree.chosen, ranges=self.ranges.text(), selection=self.selection.text(), plddt=least)

    def _proteins(self, layer: Points) -> tuple[Any, ...]:
        known = self._known.get(layer.unique_id)
        return known.proteins if known else ()

    # ---- cleaving --------------------------------------------------------------------------------------------

    def cleave(self) -> None:
        """Make a layer of the structure without what goes; the old one is hidden."""
        layer = self.structure.layer
        try:
            options = self._options()
        except UserError as error:
            self._jobs.fail(str(error))
            return
        if layer is None or options == CleaveOptions():
            self._jobs.fail("Open a structure and tick what shall go first.")
            return
        snapshot, proteins = Snapshot.of(layer), self._proteins(layer)
        name, colours = layer.name, self._colours()

        def work(job: Job) -> FoundLayer:
            structure = snapshot.structure()
            result = cleave(structure, plan_cleaving(structure, options, proteins))
            job.check()
            found = found_structure(result, colours, job, proteins=proteins)
            found.layer[1]["name"] = f"{name} cleaved"
            gone = len(structure) - len(result)
            message = f"{gone:,} of the {len(structure):,} atoms of {name} are gone; that layer is hidden."
            return FoundLayer(found.layer, message, found.known)

        def arrived(found: FoundLayer) -> None:
            self._preview.clear()
            layer.visible = False
            self.found.emit(found)
            self._before = (self.structure.layer, layer)
            self._enable()

        self._jobs.start(f"Cleaving {layer.name}", work, arrived)

    def undo(self) -> None:
        """Remove the layer that was cleaved last, and show the one it was made from."""
        if self._before is None:
            return
        made, before = self._before
        self._before = None
        if made in self._viewer.layers:
            self._viewer.layers.remove(made)
        before.visible = True
        self.structure.choose(before)
        self._enable()

    def save(self, path: str | Path) -> None:
        """Write the chosen structure, as mmCIF or PDB by the name's ending."""
        from napari_profet._writer import write_atoms

        snapshot = Snapshot.of(self.structure.layer)
        self._jobs.start(
            f"Writing {Path(path).name}",
            lambda job: write_atoms(str(path), snapshot.data, snapshot.attributes),
            lambda paths: self._jobs.say(f"{paths[0]} is written."),
        )

    def _choose_target(self) -> None:
        start = f"{self.structure.layer.name.replace(' ', '_')}.cif"
        path, _ = QFileDialog.getSaveFileName(self, "Save the structure", start, "mmCIF (*.cif *.cif.gz);;PDB (*.pdb)")
        if path:
            self.save(path)

    def abandon(self) -> None:
        """Forget what was asked, and give the atoms their colours again."""
        self._looks.drop()
        self._plans.drop()
        self._nothing_planned("")

    def _enable(self) -> None:
        idle, there = self._jobs.job is None, self.structure.layer is not None
        for row in (self.plddt, self.errors_button):
            self._more.setRowVisible(row, self._predicted)
        for button in (self.errors_button, self.cleave_button, self.save_button, self.features_button):
            button.setEnabled(idle and there)
        self.undo_button.setEnabled(idle and self._before is not None and self._before[0] in self._viewer.layers)

    @property
    def _predicted(self) -> bool:
        layer = self.structure.layer
        return layer is not None and layer.metadata["structure"].get("b_factor") == "pLDDT"
