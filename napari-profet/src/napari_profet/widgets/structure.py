"""The widget from an id to a density: fetch, choose, cleave with preview, density, simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_profet.layers_pairs import link_pairs
from napari_profet.widgets._cleave_section import CleaveSection
from napari_profet.widgets._density_section import DensitySection
from napari_profet.widgets._fetch_section import FetchSection
from napari_profet.widgets._finding import FoundLayer
from napari_profet.widgets._jobs import JobBar
from napari_profet.widgets._layer_choice import is_structure

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["StructureToDensity"]


class StructureToDensity(QWidget):
    """Three sections that follow one another, and a line below them that says what is going on.

    Parameters
    ----------
    napari_viewer
        Where the layers go.

    Attributes
    ----------
    fetching, cleaving, density
        The sections.
    jobs
        The line below them: progress, cancel, messages.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._docked = False
        self.jobs = JobBar()
        self.fetching = FetchSection(self.jobs)
        self.cleaving = CleaveSection(napari_viewer, self.jobs, lambda: self.fetching.colours)
        self.density = DensitySection(napari_viewer, self.jobs, self.cleaving.structure)
        self._lay_out()
        self.fetching.found.connect(self._show)
        self.cleaving.found.connect(self._show)
        self.cleaving.errors.connect(self._add)
        self.density.made.connect(self._add)
        self.jobs.say("Give an id, or open a file.")

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 4, 0)
        for section in (self.fetching, self.cleaving, self.density):
            column.addWidget(section)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.jobs)
        self.setMinimumWidth(380)

    def _show(self, found: FoundLayer) -> None:
        """Add what was found, and say so."""
        layer = self._add(found.layer)
        if found.known is not None:
            self.cleaving.remember(layer, found.known)
        self.jobs.say(f"{layer.name}: {found.message}")

    def _add(self, layer_tuple: tuple[Any, dict[str, Any], str]) -> Layer:
        first = not self._viewer.layers
        layer = self._viewer.add_layer(Layer.create(*layer_tuple))
        if first:
            # A slice through a molecule shows next to nothing.
            self._viewer.dims.ndisplay = 3
            self._viewer.reset_view()
        if is_structure(layer):
            self.cleaving.structure.choose(layer)
        return layer

    def _tell(self, words: str) -> None:
        """Show which residues the mouse points at."""
        self.jobs.status.setText(words)

    # ---- the end ---------------------------------------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari then only takes this widget out of it, and tells nobody."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
                link_pairs(self._viewer).tell = self._tell
            elif self._docked:
                self._docked = False
                self.jobs.abandon()
                self.cleaving.abandon()
                # The link stays with the viewer; only this line is told no more.
                if (link := link_pairs(self._viewer)).tell == self._tell:
                    link.tell = None
        return bool(super().event(event))
