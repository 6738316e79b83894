"""Labelled data sets: choose what they are made of, look at it, try a recipe, build, send to training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QWidget

from napari_caked.datasets.items import UNLABELLED
from napari_caked.layers import pixel_size_of
from napari_caked.widgets import _dataset_messages as messages
from napari_caked.widgets._dataset_building import STARTING, Building, Reading, Source, ask_for_place
from napari_caked.widgets._dataset_choice import Choice
from napari_caked.widgets._dataset_folder import FolderPage
from napari_caked.widgets._dataset_form import BY_NAME, DatasetForm
from napari_caked.widgets._dataset_layers import offer_features, training_layers
from napari_caked.widgets._dataset_sources import Capture, captured
from napari_caked.widgets._dataset_table import TablePage
from napari_caked.widgets._dataset_trying import Trying, ask_for_recipe, ask_to_keep_recipe
from napari_caked.widgets._gallery import Mark
from napari_caked.widgets._process import Helper
from napari_caked.widgets._progress import Progress
from napari_caked.widgets._saving import describe
from napari_caked.widgets._sim_messages import Advanced
from napari_caked.widgets._work import Work
from napari_empiarreader.errors import NothingFoundError

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["DatasetBuilder"]

#: Milliseconds in which several changes count as one.
_SOON = 40
#: A box is so many times as wide as the particle, as the writers of this package have it.
_BOX = 1.5
#: Words in the names of classes that are not the particles.
_NO_PARTICLE = ("not ", "non", "bad", "junk", "ice", "carbon", "contamin", "background", "negative", "edge", "empty")


class DatasetBuilder(QWidget):
    """Build labelled data sets from layers, folders or particle images.

    Parameters
    ----------
    napari_viewer
        Whose layers.

    Attributes
    ----------
    choice
        Which of the listed items are taken, and as what; None before they are listed.
    building, trying
        The builds, and the previews of a recipe.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._work = Work()
        self._session: Helper | None = None
        self._source: tuple[Source, Reading | None] | None = None
        self._micrographs: Image | None = None
        self._sheet: messages.Sheet | None = None
        self._current = self._round = 0
        self._docked = self._listing = False
        self.choice: Choice | None = None
        self.form = DatasetForm(self, napari_viewer)
        self.progress = Progress(self, self.form.progress, self.form.overall, self._say)
        self.trying = Trying(self.form)
        self.building = Building(self.form, self._work, self.progress, self._say, self._offer)
        folder = FolderPage(self, self.form, self._work, lambda error: self._say(describe(error)))
        self._files: dict[int, FolderPage | TablePage] = {1: folder, 2: TablePage(self, self.form)}
        self._try_soon, self._split_soon = (self._timer(act) for act in (self._try, self._ask_split))
        self._connect()
        self._on_micrographs(self.form.micrographs.layer)
        self._on_layers()
        self._offer()
        self.setMinimumWidth(400)

    def _timer(self, act: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(_SOON)
        timer.timeout.connect(act)
        return timer

    def _connect(self) -> None:
        form = self.form
        form.micrographs.chosen.connect(self._on_micrographs)
        form.layers.changed.connect(self._on_layers)
        form.pixel_size.valueChanged.connect(self._on_pixel_size)
        form.show_items.clicked.connect(self.show_items)
        form.stop_listing.clicked.connect(self._stop_session)
        form.classes.ticked.connect(self._on_class)
        form.sheet.marked.connect(self._on_marked)
        form.sheet.renamed.connect(self.relabel)
        form.sheet.pointed.connect(self._on_pointed)
        form.recipe.changed.connect(self._try_soon.start)
        form.seed.valueChanged.connect(self._try_soon.start)
        form.another.clicked.connect(lambda: form.seed.setValue(form.seed.value() + 1))
        form.open_recipe.clicked.connect(lambda: self._about_recipe(ask_for_recipe))
        form.save_recipe.clicked.connect(lambda: self._about_recipe(ask_to_keep_recipe))
        for field in (form.share, form.split_seed):
            field.valueChanged.connect(self._split_soon.start)
        form.choose_path.clicked.connect(lambda: ask_for_place(self, form))
        form.build.clicked.connect(self.build)
        form.cancel.clicked.connect(self.building.cancel)
        form.open_store.clicked.connect(self.open_built)
        form.train.clicked.connect(self.send_to_training)
        # A main window that closes destroys its docks without a ParentChange.
        self.destroyed.connect(self._work.close)

    # ---- where the items come from ------------------------------------------------------------------------------

    def _on_micrographs(self, layer: Image | None) -> None:
        self.form.pixel_size.setValue((pixel_size_of(layer) if layer is not None else None) or 0)
        self._on_pixel_size()

    def _on_pixel_size(self) -> None:
        self.form.box.setSuffix(" Å" if self.form.pixel_size.value() else " px")

    def _on_layers(self) -> None:
        offer_features(self.form.feature, BY_NAME, self.form.layers.layers)

    def _capture(self) -> Capture:
        form = self.form
        if form.micrographs.layer is None:
            raise NothingFoundError("there are no micrographs; open some first")
        feature = form.feature.currentText()
        return captured(
            form.micrographs.layer,
            form.layers.layers,
            form.box.value(),
            None if feature == BY_NAME else feature,
            form.pixel_size.value() or None,
        )

    # ---- looking ------------------------------------------------------------------------------------------------

    @property
    def listing(self) -> bool:
        """Whether items are being listed."""
        return self._listing

    def show_items(self) -> None:
        """List the items, and show some of each class."""
        if self._listing or self.building.running:
            return
        self._stop_session()
        self._forget()
        try:
            if page := self._files.get(self.form.kind.currentIndex()):
                self._micrographs = None
                self._begin((page.require(), None))
                return
            capture = self._capture()
        except Exception as error:
            self._say(describe(error))
            return
        self._micrographs, self._listing = self.form.micrographs.layer, True
        self._say(messages.LISTING)
        self._offer()
        asked = self._round

        def begin(source: tuple[Source, Reading | None]) -> None:
            if asked == self._round:  # else it was cancelled meanwhile
                self._begin(source)

        self._work.run(capture.parts, done=begin, failed=self._fail_listing)

    def _begin(self, source: tuple[Source, Reading | None]) -> None:
        self._source, self._listing = source, True
        self.progress.begin((STARTING, messages.LISTING, messages.READING))
        helper = self._work.converse(
            messages.LookJob(source[0]),
            source[1],
            heard=lambda message: self._hear(message) if helper is self._session else None,
            failed=lambda error: self._fail_listing(error) if helper is self._session else None,
            ended=lambda: None,
        )
        self._session = helper
        self._offer()

    def _hear(self, message: Any) -> None:
        match message:
            case Advanced() if self._listing:
                self.progress.enter(message.what, message.total, message.done)
            case messages.Listed():
                self._take_listed(message)
            case messages.Sheet():
                self._take_sheet(message)
            case messages.Steps():
                self._take_steps(message)
            case messages.Divided():
                self.form.split.setText(message.words)
            case messages.Tried() | messages.NotTried() if self.choice is not None:
                self.trying.take(message, self.choice.listed.names)

    def _take_listed(self, listed: messages.Listed) -> None:
        self.choice = Choice(listed)
        self.form.classes.show_choice(self.choice)
        self.form.about.setText(listed.words)
        names = [name for label, name in self.choice.names.items() if label >= 0]
        self.form.particle.clear()
        self.form.particle.addItems(names)
        likely = [name for name in names if not any(word in name.lower() for word in _NO_PARTICLE)]
        self.form.particle.setCurrentText(likely[0] if likely else names[0] if names else "")

    def _take_sheet(self, sheet: messages.Sheet) -> None:
        choice = self.choice
        if choice is None:
            return
        self._sheet, self._listing = sheet, False
        self._current = int(sheet.indices[0])
        names = [str(choice.listed.names[i]) for i in sheet.indices]
        self.form.sheet.show_items(sheet.pictures, names, choice.listed.classes, choice.labels[sheet.indices])
        took = self.progress.elapsed
        self.progress.end()
        items, groups = len(choice.labels), choice.listed.groups
        self._say(f"{items:,} items of {groups:,} groups listed in {took}.")
        self._offer()

    def _take_steps(self, steps: messages.Steps) -> None:
        self.form.recipe.offer(steps.kinds)
        self._offer()
        self._ask_split()
        self._try()

    def _fail_listing(self, error: Exception) -> None:
        self._listing, self._session = False, None
        self.progress.end()
        self._say(describe(error))
        self._offer()

    def _stop_session(self) -> None:
        self._round += 1
        if self._session is not None:
            self._session.cancel()
        if self._listing:
            self.progress.end()
            self._say("Cancelled.")
        self._session, self._listing = None, False
        self._offer()

    def _forget(self) -> None:
        self.choice, self._sheet, self._source = None, None, None
        self.form.classes.show_choice(None)
        self.form.about.setText("")
        self.form.split.setText("")
        self.form.sheet.show_items(np.zeros((0, 1, 1), np.uint8), (), (), np.zeros(0))
        self.trying.forget()

    # ---- choosing -----------------------------------------------------------------------------------------------

    def _on_class(self, label: int, on: bool) -> None:
        if self.choice is not None:
            (self.choice.off.discard if on else self.choice.off.add)(label)
            self._on_choice()

    def _on_marked(self, places: np.ndarray, mark: int) -> None:
        """Leave items out, or take them again."""
        if self.choice is not None and self._sheet is not None:
            self.choice.left_out[self._sheet.indices[places]] = mark != Mark.NONE
            self._on_choice()

    def relabel(self, place: int, label: int) -> None:
        """Give the item of a picture on the sheet another class."""
        if self.choice is not None and self._sheet is not None:
            self.choice.labels[self._sheet.indices[place]] = label
            self._on_choice()

    def _on_choice(self) -> None:
        choice, sheet = self.choice, self._sheet
        if choice is None or sheet is None:
            return
        at = sheet.indices
        self.form.classes.show_choice(self.choice)
        self.form.sheet.set_marks(np.where(choice.left_out[at], Mark.BAD, Mark.NONE))
        self.form.sheet.set_classes(choice.labels[at], choice.is_off[at])
        self._split_soon.start()
        self._offer()

    def _on_pointed(self, place: int) -> None:
        if self._sheet is not None:
            self._current = int(self._sheet.indices[place])
            self._try_soon.start()

    # ---- trying a recipe ----------------------------------------------------------------------------------------

    def _try(self) -> None:
        """Want the current item before and after each step."""
        if self._session is not None and self._sheet is not None:
            self.trying.ask(self._session, self._current)

    def _about_recipe(self, ask: Callable[[QWidget, DatasetForm], None]) -> None:
        try:
            ask(self, self.form)
        except Exception as error:
            self._say(describe(error))

    # ---- building -----------------------------------------------------------------------------------------------

    def _ask_split(self) -> None:
        if self._session is None or self.choice is None or not self.form.share.value():
            self.form.split.setText("")
            return
        share = self.form.share.value() / 100
        self._session.tell(messages.AskSplit(share, self.form.split_seed.value(), self.choice.taken))  # type: ignore[arg-type]

    def build(self) -> None:
        """Build the data set; what was stopped goes on."""
        if self.building.running:
            return
        try:
            if self.choice is None or self._source is None:
                raise NothingFoundError("there is nothing to build from; show the items first")
            self.building.start(self.choice, self._source)
        except Exception as error:
            self._say(describe(error))

    def open_built(self) -> None:
        """Show the data set that was built as layers, which are read when they are looked at."""
        if self.building.built is None:
            return
        from napari_caked._reader import read_datasets

        def add(found: list[Any]) -> None:
            for data in found:
                self._viewer.add_layer(Layer.create(*data))

        self._work.run(
            read_datasets, str(self.building.built), done=add, failed=lambda error: self._say(describe(error))
        )

    def send_to_training(self) -> None:
        """Add layers of labels, and of what is no particle, that the trainer takes."""
        choice, source = self.choice, self._source
        if choice is None or source is None or self._micrographs not in self._viewer.layers:
            self._say("The micrographs of these items are not in the viewer any more.")
            return
        said = source[0]
        if not isinstance(said, messages.OnMicrographs) or self._micrographs is None:
            return
        particle = choice.listed.classes.index(self.form.particle.currentText())
        taken = choice.taken
        known = taken[choice.labels[taken] != UNLABELLED]
        good = choice.labels[known] == particle
        places = choice.listed.places
        diameter = max(cut.box for cut in said.cuts) * said.pixel_size / _BOX if said.pixel_size else None
        made = training_layers(self._micrographs, said.names, places[known[good]], places[known[~good]], diameter)
        for data in made:
            self._viewer.add_layer(Layer.create(*data))
        counts = f"{int(good.sum()):,} labels, {int((~good).sum()):,} of what is no particle"
        self._say(f"{counts}. Choose the layers in 'Train particle picker'.")

    def _offer(self) -> None:
        choice = self.choice
        listed = self._sheet is not None and choice is not None and bool(len(choice.taken))
        places = choice is not None and bool(len(choice.listed.places)) and bool(choice.listed.classes)
        self.form.set_busy(
            listing=self._listing,
            building=self.building.running,
            listed=listed,
            built=self.building.built is not None,
            trainable=listed and places,
        )

    def _say(self, text: str) -> None:
        self.form.status.setText(text)

    # ---- beginning and end --------------------------------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari only takes the widget out of it, and does not destroy it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            docked = self.parent() is not None
            if docked != self._docked:
                self._docked = docked
                with suppress(RuntimeError):  # the window may be half gone
                    self.form.micrographs.follow(docked)
                    self.form.layers.follow(docked)
                    if not docked:
                        self._close()
        return super().event(event)

    def _close(self) -> None:
        self._work.close()
        self.building.forget()
        self._session, self._listing = None, False
        self.progress.end()
        self._forget()
        self._offer()
