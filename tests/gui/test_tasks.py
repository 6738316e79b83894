"""Work in threads: shown in napari's activity dock, cancelled from there, never in each other's way."""

import threading
import time

import pytest
from napari.utils.progress import progress
from qtpy.QtCore import QThreadPool

from napari_empiarreader.widgets._tasks import Tasks

pytestmark = pytest.mark.gui


class Owner:
    """What a widget has to do with its tasks."""

    def __init__(self):
        self.tasks = Tasks(self.changed)
        self.answers, self.errors = [], []

    def changed(self):
        """Nothing to draw here."""

    def run(self, function, *arguments, **named):
        return self.tasks.run(function, *arguments, done=self.answers.append, failed=self.errors.append, **named)


@pytest.fixture
def owner(make_napari_viewer):
    make_napari_viewer(show=True)
    return Owner()


def bars():
    return [bar for bar in progress._all_instances if type(bar).__name__ == "_DockBar"]


def test_long_work_has_a_bar_in_the_activity_dock_whose_button_ends_it(qtbot, owner):
    ended = threading.Event()

    def work(progress):
        try:
            for step in range(10_000):
                progress(step, 5 * 2**31, f"step {step}")
                time.sleep(0.01)
        finally:
            ended.set()

    task = owner.run(work, title="Long work", reports=True)
    assert bars() == []  # short work shows none
    qtbot.waitUntil(lambda: len(bars()) == 1 and "step" in bars()[0].desc, timeout=10_000)
    assert bars()[0].total < 2**31  # Qt counts no further
    bars()[0].cancel()
    qtbot.waitUntil(ended.is_set, timeout=5_000)
    qtbot.waitUntil(lambda: owner.tasks.threads == 0, timeout=5_000)
    assert task.cancelled and bars() == [] and owner.answers == [] and owner.errors == []


def test_every_error_arrives_also_those_that_qt_would_swallow(qtbot, owner):
    def fail(error):
        raise error

    for error in (RuntimeError("out of memory"), ValueError("bad"), KeyError("x")):
        owner.run(fail, error)
    qtbot.waitUntil(lambda: len(owner.errors) == 3, timeout=5_000)
    assert {type(error) for error in owner.errors} == {RuntimeError, ValueError, KeyError}
    assert owner.tasks.running == []


def test_work_that_waits_takes_no_thread_from_other_work(qtbot, owner):
    released = threading.Event()
    many = QThreadPool.globalInstance().maxThreadCount() + 2
    for _ in range(many):
        owner.run(released.wait, 20)
    owner.run(lambda: "answer")
    qtbot.waitUntil(lambda: owner.answers == ["answer"], timeout=10_000)
    released.set()
    qtbot.waitUntil(lambda: owner.tasks.threads == 0, timeout=10_000)
    assert QThreadPool.globalInstance().maxThreadCount() == many - 2


def test_gentle_work_answers_when_it_is_cancelled_and_not_when_it_is_dropped(qtbot, owner):
    def work(stop):
        assert stop.wait(20)
        return "as far as I came"

    stop = threading.Event()
    owner.run(work, stop, gently=stop).cancel()
    qtbot.waitUntil(lambda: owner.answers == ["as far as I came"], timeout=5_000)
    stop = threading.Event()
    owner.run(work, stop, gently=stop)
    owner.tasks.close()
    qtbot.waitUntil(lambda: owner.tasks.threads == 0, timeout=5_000)
    assert owner.answers == ["as far as I came"]
    assert owner.run(lambda: "too late").cancelled and owner.tasks.threads == 0
