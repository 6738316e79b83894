"""The recipe's part of the window: steps in their order, the parameters of one, and pictures after each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_caked.errors import DatasetError
from napari_caked.widgets._dataset_messages import Parameter, StepKind

__all__ = ["RecipeEditor", "field_of"]

_ROLE = Qt.ItemDataRole.UserRole
_MOST = 1e6


class RecipeEditor(QWidget):
    """A list of steps, and a form for the parameters of the one that is chosen.

    The steps before the first with chance are the transforms that a store holds applied; what comes after it is done
    anew in each epoch.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[str, StepKind] = {}
        self.steps = QListWidget()
        self.steps.setMaximumHeight(110)
        self.add = QPushButton("Add step")
        self.up, self.down, self.remove = QPushButton("Up"), QPushButton("Down"), QPushButton("Remove")
        self._menu = QMenu(self)
        self.add.setMenu(self._menu)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.form = QFormLayout()
        self.fields: dict[str, Any] = {}
        buttons = QHBoxLayout()
        for button in (self.add, self.up, self.down, self.remove):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(buttons)
        column.addWidget(self.steps)
        column.addWidget(self.about)
        column.addLayout(self.form)
        self.steps.currentRowChanged.connect(self._show_parameters)
        self.steps.itemChanged.connect(lambda _item: self.changed.emit())
        self.up.clicked.connect(lambda: self._move(-1))
        self.down.clicked.connect(lambda: self._move(1))
        self.remove.clicked.connect(self._remove)
        self.offer(())

    def offer(self, kinds: Sequence[StepKind]) -> None:
        """The steps that there are."""
        self._kinds = {kind.name: kind for kind in kinds}
        self._menu.clear()
        for title, chance in (("Transforms: the same in each epoch", False), ("Augmentations: by chance", True)):
            self._menu.addSection(title)
            for kind in kinds:
                if kind.chance == chance:
                    action = self._menu.addAction(kind.name)
                    assert action is not None
                    action.setToolTip(kind.words)
                    action.triggered.connect(lambda _on, name=kind.name: self.append(name))
        self._menu.setToolTipsVisible(True)
        self.add.setEnabled(bool(kinds))
        self.add.setToolTip("" if kinds else "Show items first: the steps come with PyTorch, which is started for that")
        self._offer()

    def append(self, name: str, parameters: dict[str, Any] | None = None) -> None:
        """Add a step; of what is not given, the defaults."""
        kind = self._kinds[name]
        values = {parameter.name: json.loads(parameter.default) for parameter in kind.parameters}
        item = QListWidgetItem(name)
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked)
        item.setData(_ROLE, json.dumps(values | (parameters or {})))
        item.setToolTip(kind.words)
        self.steps.addItem(item)
        self.steps.setCurrentItem(item)
        self.changed.emit()

    def to_json(self) -> str:
        """The recipe of the steps that are ticked, as :meth:`.Recipe.from_json` reads it."""
        rows = (self.steps.item(row) for row in range(self.steps.count()))
        names = [
            (row.text(), json.loads(row.data(_ROLE)))
            for row in rows
            if row and row.checkState() == Qt.CheckState.Checked
        ]
        first = next((i for i, (name, _) in enumerate(names) if self._kinds[name].chance), len(names))
        steps = [{"name": name, "parameters": parameters} for name, parameters in names]
        return json.dumps({"version": 1, "transforms": steps[:first], "augmentations": steps[first:]}, indent=2)

    def take_json(self, text: str) -> None:
        """Show a recipe in place of what there is.

        Raises
        ------
        DatasetError
            It is none, or has a step that this window does not know.
        """
        try:
            content = json.loads(text)
            steps = [(step["name"], step.get("parameters", {})) for step in _steps_in(content)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"this is no recipe ({error}); choose a file that was saved as one") from error
        unknown = [name for name, _ in steps if name not in self._kinds]
        if unknown:
            raise DatasetError(f"this window knows no step {', '.join(unknown)}; known are {', '.join(self._kinds)}")
        self.steps.clear()
        for name, parameters in steps:
            self.append(name, parameters)
        self.changed.emit()

    def _show_parameters(self, row: int) -> None:
        while self.form.rowCount():
            self.form.removeRow(0)
        self.fields.clear()
        item = self.steps.item(row)
        self._offer()
        self.about.setText(self._kinds[item.text()].words if item is not None else "")
        if item is None:
            return
        values = json.loads(item.data(_ROLE))
        for parameter in self._kinds[item.text()].parameters:
            field, read = field_of(parameter, values[parameter.name], self._take)
            field.setToolTip(parameter.words)
            self.fields[parameter.name] = (field, read)
            self.form.addRow(parameter.name.replace("_", " "), field)

    def _take(self) -> None:
        """Put what the fields say into the step."""
        item = self.steps.currentItem()
        if item is not None:
            blocked = self.steps.blockSignals(True)
            item.setData(_ROLE, json.dumps({name: read() for name, (_, read) in self.fields.items()}))
            self.steps.blockSignals(blocked)
            self.changed.emit()

    def _move(self, by: int) -> None:
        row = self.steps.currentRow()
        if 0 <= row + by < self.steps.count():
            self.steps.insertItem(row + by, self.steps.takeItem(row))
            self.steps.setCurrentRow(row + by)
            self.changed.emit()

    def _remove(self) -> None:
        if self.steps.currentRow() >= 0:
            self.steps.takeItem(self.steps.currentRow())
            self.changed.emit()

    def _offer(self) -> None:
        row = self.steps.currentRow()
        self.up.setEnabled(row > 0)
        self.down.setEnabled(0 <= row < self.steps.count() - 1)
        self.remove.setEnabled(row >= 0)


def _steps_in(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [*content.get("transforms", []), *content.get("augmentations", [])]


def field_of(parameter: Parameter, value: Any, changed: Callable[[], None]) -> tuple[QWidget, Callable[[], Any]]:
    """A field for a parameter, and what reads it as JSON has it."""
    match parameter.kind:
        case "yes":
            tick = QCheckBox()
            tick.setChecked(bool(value))
            tick.toggled.connect(lambda _on: changed())
            return tick, tick.isChecked
        case "whole":
            whole = QSpinBox()
            whole.setRange(1, int(_MOST))
            whole.setValue(value)
            whole.setSuffix(f" {parameter.unit}".rstrip())
            whole.valueChanged.connect(lambda _value: changed())
            return whole, whole.value
        case "number":
            number = _number(parameter, value, changed)
            return number, number.value
        case "range":
            low, high = (_number(parameter, one, changed) for one in value)
            line = QWidget()
            row = QHBoxLayout(line)
            row.setContentsMargins(0, 0, 0, 0)
            for part in (low, QLabel("to"), high):
                row.addWidget(part, 0 if isinstance(part, QLabel) else 1)
            return line, lambda: [low.value(), high.value()]
        case "text" if choices := re.findall(r'``"(\w+)"``', parameter.words):
            box = QComboBox()
            box.addItems(choices)
            box.setCurrentText(str(value))
            box.currentIndexChanged.connect(lambda _index: changed())
            return box, box.currentText
    return _as_json(parameter, value, changed)


def _number(parameter: Parameter, value: float, changed: Callable[[], None]) -> QDoubleSpinBox:
    field = QDoubleSpinBox()
    field.setRange(-_MOST, _MOST)
    field.setDecimals(3)
    field.setSingleStep(max(abs(value) / 10, 0.01))
    field.setValue(value)
    field.setSuffix(f" {parameter.unit}".rstrip())
    field.setKeyboardTracking(False)
    if parameter.name == "probability":
        field.setRange(0, 1)
    field.valueChanged.connect(lambda _value: changed())
    return field


def _as_json(parameter: Parameter, value: Any, changed: Callable[[], None]) -> tuple[QWidget, Callable[[], Any]]:
    """One number or several with commas between them, or nothing."""
    line = QLineEdit("" if value is None else json.dumps(value).strip('[]"'))
    line.setPlaceholderText("none" if value is None else "")
    unit = QLabel(parameter.unit)
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(line, 1)
    row.addWidget(unit)
    line.editingFinished.connect(changed)

    def read() -> Any:
        text = line.text().strip()
        if not text:
            return None
        try:
            return json.loads(f"[{text}]" if "," in text else text)
        except ValueError:
            return text  # the recipe says what is wrong with it

    return holder, read
