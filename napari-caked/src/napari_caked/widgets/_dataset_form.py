"""The form of the window of data sets: what there is to choose, press and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Points, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QStackedWidget,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_caked.layers import is_ours
from napari_caked.widgets._dataset_classes import ClassTable
from napari_caked.widgets._dataset_layers import LayerTicks
from napari_caked.widgets._dataset_recipe import RecipeEditor
from napari_caked.widgets._dataset_sheet import ContactSheet
from napari_caked.widgets._dataset_sources import RULES
from napari_caked.widgets._dataset_strip import Strip
from napari_caked.widgets._sim_controls import length, row
from napari_empiarreader.widgets.layer_choice import LayerChoice
from napari_empiarreader.widgets.progress_bar import CalmProgressBar

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["BY_NAME", "DatasetForm"]

BY_NAME = "name of the layer"
_SAID = {
    "prefix": "_ by default",
    "folder": "",
    "pattern": r"(?P<class>[a-z]+)-(?P<group>grid\d)",
    "csv": "file with a line name,class for each item",
    "one": "name of the class; nothing for none",
}


def _is_stack(layer: Layer) -> bool:
    return isinstance(layer, Image) and layer.ndim in (2, 3) and not layer.rgb and not is_ours(layer)


def _says_places(layer: Layer) -> bool:
    return isinstance(layer, Points | Labels | Shapes) and layer.ndim in (2, 3) and not is_ours(layer)


class DatasetForm:
    """Lays the window out in ``parent`` and keeps its parts under their names.

    Parameters
    ----------
    parent
        Gets the layout.
    viewer
        Whose layers are offered.
    """

    def __init__(self, parent: QWidget, viewer: napari.viewer.Viewer) -> None:
        self.tabs = QTabWidget()
        self.tabs.addTab(self._items(viewer), "Items")
        self.tabs.addTab(self._steps(), "Recipe")
        self.tabs.addTab(self._building(), "Build")
        column = QVBoxLayout(parent)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.tabs, 1)
        self.progress, self.overall = CalmProgressBar(), CalmProgressBar()
        self.overall.setMaximumHeight(14)
        for bar in (self.progress, self.overall):
            bar.hide()
            column.addWidget(bar)
        self.status = _words("Choose where the items come from, then show them.")
        column.addWidget(self.status)

    # ---- items --------------------------------------------------------------------------------------------------

    def _items(self, viewer: napari.viewer.Viewer) -> QWidget:
        self.kind = QComboBox()
        self.kind.addItems(["Boxes on micrographs (layers)", "Files in a folder", "Particle images (STAR, .cs, .mrcs)"])
        self.pages = QStackedWidget()
        self.pages.addWidget(self._layers(viewer))
        self.pages.addWidget(self._folder())
        self.pages.addWidget(self._table())
        self.kind.currentIndexChanged.connect(self._turn)
        self._turn(0)
        self.show_items, self.stop_listing = QPushButton("Show items"), QPushButton("Cancel")
        self.classes = ClassTable()
        self.about = _words("")
        self.sheet = ContactSheet()
        return _column(
            self.kind,
            self.pages,
            row((self.show_items, 1), (self.stop_listing, 0)),
            self.classes,
            self.about,
            self.sheet,
        )

    def _turn(self, page: int) -> None:
        """Show a page, no higher than it is."""
        self.pages.setCurrentIndex(page)
        current = self.pages.currentWidget()
        if current is not None:
            self.pages.setMaximumHeight(current.sizeHint().height())

    def _layers(self, viewer: napari.viewer.Viewer) -> QWidget:
        self.micrographs = LayerChoice(viewer, _is_stack, "an Image layer")
        self.layers = LayerTicks(viewer, _says_places)
        self.layers.setToolTip("Points, painted Labels and drawn Shapes on the micrographs")
        self.feature = QComboBox()
        self.feature.addItem(BY_NAME)
        self.feature.setToolTip("What says the class: the name of a layer, or a feature of what is in it")
        self.box, self.pixel_size = length("?", decimals=1), length("?", decimals=4)
        self.box.setToolTip("Side of an item")
        return _form(
            ("Micrographs", self.micrographs),
            ("Layers", self.layers),
            ("Class by", self.feature),
            ("Box", self.box),
            ("Pixel size", self.pixel_size),
        )

    def _folder(self) -> QWidget:
        self.folder, self.open_folder = QLineEdit(), _dots()
        self.rule = QComboBox()
        for rule, words in RULES.items():
            self.rule.addItem(words, rule)
        self.said, self.open_csv = QLineEdit(), _dots()
        self.groups = QLineEdit()
        self.groups.setPlaceholderText("each file is one; or (?P<group>emd_\\d+)")
        self.groups.setToolTip("What a split must not part: a regular expression that finds it in the name")
        self.voxel_size = length("as the files say", decimals=4)
        self.permissive = QCheckBox("leave out what cannot be used")
        self.example = _words("")
        self.rule.currentIndexChanged.connect(self._on_rule)
        self._on_rule()
        return _form(
            ("Folder", row((self.folder, 1), (self.open_folder, 0))),
            ("Class by", row((self.rule, 1), (self.said, 1), (self.open_csv, 0))),
            ("", self.example),
            ("Groups", self.groups),
            ("Voxel size", self.voxel_size),
            ("", self.permissive),
        )

    def _table(self) -> QWidget:
        self.table, self.open_table = QLineEdit(), _dots()
        self.table.setToolTip("The table that names the images of a stack, or the stack alone")
        self.class_column, self.group_column = QLineEdit(), QLineEdit()
        self.class_column.setPlaceholderText("all are of one; or a column: rlnClassNumber, alignments2D/class")
        self.group_column.setPlaceholderText("each micrograph is one; or a column")
        self.group_column.setToolTip("What a split must not part")
        self.image_size = length("as the files say", decimals=4)
        self.rows_permissive = QCheckBox("leave out what cannot be used")
        return _form(
            ("Table", row((self.table, 1), (self.open_table, 0))),
            ("Class by", self.class_column),
            ("Groups", self.group_column),
            ("Pixel size", self.image_size),
            ("", self.rows_permissive),
        )

    def _on_rule(self) -> None:
        rule = self.rule.currentData()
        self.said.setPlaceholderText(_SAID[rule])
        self.said.setVisible(rule != "folder")
        self.open_csv.setVisible(rule == "csv")

    def show_example(self, words: str) -> None:
        """Say what the rule of a folder makes of its first names."""
        self.example.setText(words)
        self._turn(self.kind.currentIndex())

    # ---- recipe and building ------------------------------------------------------------------------------------

    def _steps(self) -> QWidget:
        self.recipe = RecipeEditor()
        self.open_recipe, self.save_recipe = QPushButton("Open…"), QPushButton("Save…")
        self.another = QPushButton("Another throw")
        self.another.setToolTip("Throw the dice of the augmentations anew")
        self.seed = QSpinBox()
        self.seed.setMaximum(1_000_000)
        self.seed.setPrefix("seed ")
        self.strip, area = Strip(), QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self.strip)
        self.latency = _words("Click an item on the sheet to preview it.")
        files = row((self.open_recipe, 1), (self.save_recipe, 1), (self.another, 1), (self.seed, 0))
        return _column(self.recipe, files, self.latency, area)

    def _building(self) -> QWidget:
        self.share, self.split_seed = QDoubleSpinBox(), QSpinBox()
        self.share.setRange(0, 90)
        self.share.setDecimals(0)
        self.share.setSuffix(" %")
        self.share.setValue(10)
        self.share.setSpecialValueText("no split")
        self.split_seed.setPrefix("seed ")
        self.split_seed.setMaximum(1_000_000)
        self.split = _words("")
        self.path, self.choose_path = QLineEdit(), _dots()
        self.path.setPlaceholderText("NAME.dataset.zarr")
        self.half = QCheckBox("16-bit floats: half the bytes, three digits")
        self.overwrite = QCheckBox("replace another data set of this name")
        self.build, self.cancel = QPushButton("Build"), QPushButton("Cancel")
        self.open_store = QPushButton("Open as layers")
        self.particle = QComboBox()
        self.particle.setToolTip("The class of the particles; all other classes are taken for what is no particle")
        self.train = QPushButton("Send to training")
        self.train.setToolTip("Add a layer of labels, and one of what is no particle, for 'Train particle picker'")
        form = _form(
            ("Validation", row((self.share, 1), (self.split_seed, 0))),
            ("", self.split),
            ("Data set", row((self.path, 1), (self.choose_path, 0))),
            ("", self.half),
            ("", self.overwrite),
        )
        after = _form(("Particles are", row((self.particle, 1), (self.train, 1))))
        page = _column(form, row((self.build, 1), (self.cancel, 1), (self.open_store, 1)), after)
        page.layout().addStretch(1)  # type: ignore[union-attr]
        return page

    def set_busy(self, *, listing: bool, building: bool, listed: bool, built: bool, trainable: bool) -> None:
        """Offer what can be done now."""
        for part in (self.kind, self.pages, self.show_items):
            part.setEnabled(not listing and not building)
        self.stop_listing.setEnabled(listing)
        self.open_recipe.setEnabled(self.recipe.add.isEnabled())
        self.build.setEnabled(listed and not building)
        self.cancel.setEnabled(building)
        self.open_store.setEnabled(built and not building)
        for part in (self.train, self.particle):
            part.setEnabled(trainable and not building)


def _words(text: str) -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label


def _dots() -> QToolButton:
    button = QToolButton()
    button.setText("…")
    return button


def _form(*lines: tuple[str, QWidget]) -> QWidget:
    holder = QWidget()
    form = QFormLayout(holder)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    for name, field in lines:
        form.addRow(name, field)
    return holder


def _column(*widgets: QWidget) -> QWidget:
    """One below the other; the last one grows."""
    holder = QWidget()
    column = QVBoxLayout(holder)
    column.setContentsMargins(4, 6, 4, 4)
    for widget in widgets:
        column.addWidget(widget, 1 if widget is widgets[-1] and not isinstance(widget, QLabel) else 0)
    return holder
