"""Tests of the wall of pictures, alone."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_caked.widgets._gallery import Gallery, Mark, Order

SCORES = np.array([0.2, 0.9, 0.5, np.nan, 0.7])


class Watched(np.ndarray):
    """An array that remembers which pictures were looked at."""

    seen: set[int]

    def __getitem__(self, key):
        if isinstance(key, int):
            self.seen.add(key)
        return super().__getitem__(key)


def pictures(count: int) -> Watched:
    array = np.zeros((count, 8, 8), np.uint8).view(Watched)
    array[:] = np.arange(count)[:, None, None] % 200
    array.seen = set()
    return array


@pytest.fixture
def gallery(qtbot):
    gallery = Gallery()
    qtbot.addWidget(gallery)
    gallery.resize(300, 220)
    gallery.show()
    qtbot.waitExposed(gallery)
    return gallery


@pytest.fixture
def asked(gallery):
    """What was asked for, and done: as the owner of the marks would."""
    asked, marks = [], np.zeros(0, np.uint8)

    def mark(indices, wanted):
        nonlocal marks
        asked.append((indices.tolist(), Mark(wanted)))
        marks = np.resize(marks, len(gallery.order)) if len(marks) != len(gallery.order) else marks
        marks[indices] = wanted
        gallery.set_marks(marks)

    gallery.marked.connect(mark)
    return asked


def click(qtbot, gallery, index, button=Qt.MouseButton.LeftButton, modifier=Qt.KeyboardModifier.NoModifier):
    qtbot.mouseClick(gallery.viewport(), button, modifier, gallery.rect_of(index).center())


@pytest.mark.parametrize(
    "order, expected",
    [(Order.BEST, [1, 4, 2, 0, 3]), (Order.WORST, [3, 0, 2, 4, 1]), (Order.DOUBTFUL, [4, 1, 2, 0, 3])],
)
def test_pictures_come_in_the_order_asked_for(gallery, order, expected):
    gallery.show_pictures(pictures(5), SCORES)
    gallery.set_threshold(0.75)
    gallery.set_order(order)
    assert gallery.order.tolist() == expected
    left_to_right = sorted(range(5), key=lambda i: (gallery.rect_of(i).y(), gallery.rect_of(i).x()))
    assert left_to_right == expected


def test_of_a_hundred_thousand_pictures_those_in_view_are_read(qtbot, gallery):
    many = pictures(100_000)
    gallery.show_pictures(many, np.linspace(1, 0, len(many)))
    gallery.viewport().repaint()
    in_view = (gallery.viewport().height() // gallery.rect_of(0).height() + 2) * gallery.columns
    assert 0 < len(many.seen) <= in_view and 0 in many.seen
    many.seen.clear()
    gallery.scroll_to(77_777)
    gallery.viewport().repaint()
    assert 77_777 in many.seen and len(many.seen) <= in_view and 0 not in many.seen
    assert gallery.viewport().rect().contains(gallery.rect_of(77_777)) and gallery.current == 77_777


def test_what_is_painted_is_the_picture_and_fades_below_the_threshold(gallery):
    one = np.full((2, 8, 8), 200, np.uint8)
    gallery.show_pictures(one, np.array([0.9, 0.1]))
    gallery.set_threshold(0.5)
    image = gallery.viewport().grab().toImage()
    bright, faded = (image.pixelColor(gallery.rect_of(i).topLeft() + QPoint(20, 20)) for i in (0, 1))
    assert bright.lightness() == pytest.approx(200, abs=3) and faded != bright


def test_clicks_ask_for_marks_and_the_same_again_for_none(qtbot, gallery, asked):
    gallery.show_pictures(pictures(5), SCORES)
    click(qtbot, gallery, 2)
    click(qtbot, gallery, 0, Qt.MouseButton.RightButton)
    click(qtbot, gallery, 2, Qt.MouseButton.RightButton)
    click(qtbot, gallery, 2, Qt.MouseButton.RightButton)
    assert asked == [([2], Mark.GOOD), ([0], Mark.BAD), ([2], Mark.BAD), ([2], Mark.NONE)]
    qtbot.mouseClick(gallery.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(1, 1))
    assert len(asked) == 4  # between pictures


def test_shift_marks_all_since_the_last_click(qtbot, gallery, asked):
    gallery.show_pictures(pictures(5), SCORES)
    click(qtbot, gallery, 4, Qt.MouseButton.RightButton)
    click(qtbot, gallery, 0, Qt.MouseButton.RightButton, Qt.KeyboardModifier.ShiftModifier)
    assert asked[-1] == ([4, 2, 0], Mark.BAD)
    gallery.set_scores(SCORES[::-1].copy())  # what was clicked last is elsewhere now: the range begins anew
    click(qtbot, gallery, 1, modifier=Qt.KeyboardModifier.ShiftModifier)
    assert asked[-1] == ([1], Mark.GOOD)


def test_keys_move_and_mark(qtbot, gallery, asked):
    gallery.show_pictures(pictures(50), np.linspace(1, 0, 50))
    pointed = []
    gallery.pointed.connect(pointed.append)
    qtbot.keyClick(gallery, Qt.Key.Key_G)
    assert asked == []  # nothing is current yet
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_B, Qt.Key.Key_Left, Qt.Key.Key_G):
        qtbot.keyClick(gallery, key)
    at = 1 + gallery.columns
    assert asked == [([at], Mark.BAD), ([at - 1], Mark.GOOD)] and pointed == [0, 1, at, at - 1]
    for _ in range(60):
        qtbot.keyClick(gallery, Qt.Key.Key_Down)
    assert gallery.current == 49 and gallery.viewport().rect().contains(gallery.rect_of(49))


def test_the_current_picture_stays_the_current_one_when_scores_change(qtbot, gallery):
    gallery.show_pictures(pictures(5), SCORES)
    gallery.scroll_to(0)
    gallery.set_scores(np.array([0.99, 0.1, 0.2, 0.3, 0.4]))
    assert gallery.current == 0 and gallery.order[0] == 0


def test_larger_pictures_keep_their_place_and_stay_within_bounds(gallery):
    gallery.show_pictures(pictures(1000), np.linspace(1, 0, 1000))
    gallery.scroll_to(500)
    gallery.set_side(10_000)
    assert gallery.rect_of(0).width() == 256 and gallery.columns == 1
    gallery.set_side(1)
    assert gallery.rect_of(0).width() == 32


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((np.zeros((2, 3, 3), np.float32), np.zeros(2)), "not uint8"),
        ((np.zeros((2, 3), np.uint8), np.zeros(2)), "not uint8"),
        ((np.zeros((2, 3, 3), np.uint8), np.zeros(3)), "as many"),
        ((np.zeros((2, 3, 3), np.uint8), np.zeros(2), None, ("one",)), "as many"),
    ],
)
def test_what_does_not_fit_is_refused(gallery, arguments, said):
    with pytest.raises(ValueError, match=said):
        gallery.show_pictures(*arguments)


def test_without_pictures_it_says_so_and_takes_clicks(qtbot, gallery, asked):
    gallery.viewport().repaint()
    qtbot.mouseClick(gallery.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(40, 40))
    qtbot.keyClick(gallery, Qt.Key.Key_Right)
    assert asked == [] and gallery.current is None
