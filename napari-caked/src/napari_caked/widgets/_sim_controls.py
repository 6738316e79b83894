"""Parts of the simulator's form: a slider that shows its number with its unit, and the boxes they lie in."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QGroupBox, QHBoxLayout, QSlider, QSpinBox, QWidget

from napari_caked.widgets._pick_panel import section

__all__ = ["Dial", "box", "folded", "length", "row", "whole"]

_STEPS = 1000


class Dial(QWidget):
    """A number, as a slider and as a field beside it.

    Parameters
    ----------
    low, high
        Between which the slider moves.
    value
        At first.
    unit
        Shown behind the number.
    decimals
        Of the field.
    most
        Greatest number that may be typed; by default ``high``.
    """

    changed = Signal()

    def __init__(
        self, low: float, high: float, value: float, unit: str = "", *, decimals: int = 2, most: float | None = None
    ) -> None:
        super().__init__()
        self._low, self._high = low, high
        self.slider, self.field = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self.slider.setRange(0, _STEPS)
        self.field.setRange(low, high if most is None else most)
        self.field.setDecimals(decimals)
        self.field.setSingleStep(10 ** math.floor(math.log10((high - low) / 10)))
        self.field.setSuffix(f" {unit}" if unit else "")
        self.field.setMinimumWidth(100)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.field)
        self.setValue(value)
        self.slider.valueChanged.connect(self._on_slider)
        self.field.valueChanged.connect(self._on_field)

    def value(self) -> float:
        """The number."""
        return self.field.value()

    def setValue(self, value: float) -> None:  # noqa: N802  (as Qt's fields have it)
        """Set the number."""
        self.field.setValue(value)
        self._follow()

    def _on_slider(self, step: int) -> None:
        self.field.setValue(self._low + step / _STEPS * (self._high - self._low))

    def _on_field(self, _value: float) -> None:
        self._follow()
        self.changed.emit()

    def _follow(self) -> None:
        """Bring the slider to where the number is."""
        step = round((self.field.value() - self._low) / (self._high - self._low) * _STEPS)
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(min(max(step, 0), _STEPS))
        self.slider.blockSignals(blocked)


def whole(least: int, most: int, value: int, unit: str = "") -> QSpinBox:
    """Field for a whole number."""
    field = QSpinBox()
    field.setRange(least, most)
    field.setValue(value)
    field.setSuffix(f" {unit}" if unit else "")
    return field


def length(nothing: str, unit: str = "Å", decimals: int = 1) -> QDoubleSpinBox:
    """Field for a number with a unit; zero is shown as ``nothing``."""
    field = QDoubleSpinBox()
    field.setRange(0, 1_000_000)
    field.setDecimals(decimals)
    field.setSuffix(f" {unit}")
    field.setSpecialValueText(nothing)
    return field


def box(title: str) -> tuple[QGroupBox, QFormLayout]:
    """Group of fields with their names."""
    group = QGroupBox(title)
    form = QFormLayout(group)
    form.setContentsMargins(8, 8, 8, 8)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return group, form


def row(*parts: tuple[QWidget, int]) -> QWidget:
    """Widgets beside each other, with how much each stretches."""
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget, stretch in parts:
        layout.addWidget(widget, stretch)
    return line


def folded(title: str, *fields: tuple[str, QWidget]) -> QWidget:
    """Fields with their names, folded away until they are wanted."""
    inside = QWidget()
    form = QFormLayout(inside)
    form.setContentsMargins(0, 0, 0, 0)
    for name, field in fields:
        form.addRow(name, field)
    return section(title, inside)
