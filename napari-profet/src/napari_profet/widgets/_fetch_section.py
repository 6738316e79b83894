"""The first section: an id, and what to take for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
)

from napari_profet.databases import Database, parse_identifier, split_identifiers
from napari_profet.errors import IdentifierError
from napari_profet.layers import ColourBy
from napari_profet.widgets._finding import FoundTable, Row, Wish, fetch_wish, open_structure
from napari_profet.widgets._hits_table import HitsTable
from napari_profet.widgets._jobs import Job, JobBar
from napari_profet.widgets._listing import fetch_list, fetch_listed_in

__all__ = ["FetchSection"]

_DATABASES = {"Told by the id": Database.AUTO, "PDB": Database.PDB, "AlphaFold DB": Database.ALPHAFOLD}
_COLOURS = {"Element": ColourBy.ELEMENT, "Chain": ColourBy.CHAIN, "B factor or confidence": ColourBy.B_FACTOR}
_FILES = "Structures (*.cif *.mmcif *.pdb *.ent *.cif.gz *.mmcif.gz *.pdb.gz *.ent.gz *.bcif *.bcif.gz);;All files (*)"
_LISTS = "Lists of ids (*.txt *.csv *.tsv *.fasta *.fa *.faa *.fas *.lst);;All files (*)"


class FetchSection(QGroupBox):
    """Gets structures by an id or from a file; ``found`` tells of each.

    Parameters
    ----------
    jobs
        Where the work is shown.
    """

    found = Signal(object)

    def __init__(self, jobs: JobBar) -> None:
        super().__init__("1  Fetch")
        self._jobs = jobs
        self.identifier = QLineEdit()
        self.identifier.setPlaceholderText("1abc, P12345, INS_HUMAN, INS@human, EMD-1234")
        self.identifier.setToolTip(
            "PDB id (1abc, pdb_00001abc); UniProt accession, entry name or gene@organism, for a table of that "
            "protein's structures; AF-P12345-F1 for a prediction; EMD-1234 for a map. Several ids, with commas or "
            "spaces between them: all are fetched, of a protein its prediction, and listed to choose from"
        )
        self.fetch_button = QPushButton("Fetch")
        self.database = QComboBox()
        self.database.addItems(list(_DATABASES))
        self.database.setToolTip("AlphaFold DB: take the prediction of a protein at once, without the table")
        self.assembly = QSpinBox()
        self.assembly.setRange(0, 999)
        self.assembly.setSpecialValueText("as deposited")
        self.assembly.setToolTip("Biological assembly of a PDB entry by its number; 1 is the depositors' first")
        self.colour_by = QComboBox()
        self.colour_by.addItems(list(_COLOURS))
        self.open_button = QPushButton("Open file…")
        self.open_button.setToolTip("A structure from mmCIF, PDB or BinaryCIF")
        self.list_button = QPushButton("Fetch list…")
        self.list_button.setToolTip("Fetch all ids of a text file, of a CSV table, or of the headers of a FASTA file")
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.table = HitsTable()
        self.take_button = QPushButton("Open the marked structure")
        for widget in (self.about, self.table, self.take_button):
            widget.hide()
        self._lay_out()
        self.identifier.returnPressed.connect(self.fetch)
        self.fetch_button.clicked.connect(self.fetch)
        self.open_button.clicked.connect(self._choose_file)
        self.list_button.clicked.connect(self._choose_list)
        self.take_button.clicked.connect(self._take_marked)
        self.table.opened.connect(self.take)
        jobs.busy.connect(lambda busy: self.setEnabled(not busy))

    def _lay_out(self) -> None:
        first = QHBoxLayout()
        first.addWidget(self.identifier, 1)
        first.addWidget(self.fetch_button)
        form = QFormLayout()
        form.addRow("Database", self.database)
        form.addRow("Assembly", self.assembly)
        form.addRow("Colour by", self.colour_by)
        layout = QVBoxLayout(self)
        layout.addLayout(first)
        layout.addLayout(form)
        layout.addWidget(self.about)
        layout.addWidget(self.table)
        layout.addWidget(self.take_button)
        last = QHBoxLayout()
        last.addWidget(self.open_button, 1)
        last.addWidget(self.list_button, 1)
        layout.addLayout(last)

    @property
    def colours(self) -> ColourBy:
        """What the colour of an atom is to say."""
        return _COLOURS[self.colour_by.currentText()]

    def fetch(self) -> None:
        """Fetch what the id means: a structure, a table of structures, or a map; of several ids, all."""
        identifiers = split_identifiers(self.identifier.text())
        wish = self._wish()
        if not identifiers:
            self._jobs.fail("Type an id first, such as 1abc or P12345.")
            return
        try:
            for identifier in identifiers:
                parse_identifier(identifier, wish.database)
        except IdentifierError as error:
            self._jobs.fail(str(error))
            return
        if len(identifiers) == 1:
            self._fetch(replace(wish, identifier=identifiers[0]))
        else:
            self._start_list(lambda job: fetch_list(identifiers, wish, job))

    def fetch_list(self, path: str | Path) -> None:
        """Fetch all that a file lists."""
        wish = self._wish()
        self._start_list(lambda job: fetch_listed_in(path, wish, job))

    def take(self, row: Row) -> None:
        """Fetch a structure of the table."""
        # Predictions have no assemblies.
        assembly = self.assembly.value() if row.database is Database.PDB else 0
        self._fetch(Wish(row.identifier, row.database, assembly, self.colours))

    def _take_marked(self) -> None:
        if self.table.chosen is not None:
            self.take(self.table.chosen)

    def open_file(self, path: str | Path) -> None:
        """Open a structure file."""
        colours = self.colours
        self._start(f"Opening {Path(path).name}", lambda job: open_structure(path, colours, job))

    def _wish(self) -> Wish:
        """What is filled in, but the id."""
        return Wish("", _DATABASES[self.database.currentText()], self.assembly.value(), self.colours)

    def _start_list(self, work: Callable[[Job], Any]) -> None:
        self._jobs.start("Fetching", work, self._arrived)

    def _fetch(self, wish: Wish) -> None:
        self._start(f"Fetching {wish.identifier}", lambda job: fetch_wish(wish, job))

    def _start(self, label: str, work: Callable[[Job], Any]) -> None:
        self._jobs.start(label, work, self._arrived, in_bytes=True)

    def _arrived(self, found: Any) -> None:
        if not isinstance(found, FoundTable):
            self.found.emit(found)
            return
        self.table.show_table(found)
        self.about.setText(found.title)
        for widget in (self.about, self.table, self.take_button):
            widget.show()
        self._jobs.say("\n".join([found.said, *found.notes]))

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a structure", "", _FILES)
        if path:
            self.open_file(path)

    def _choose_list(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Fetch the ids of a list", "", _LISTS)
        if path:
            self.fetch_list(path)
