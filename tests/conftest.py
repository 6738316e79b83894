"""What every test shares: settings of its own, no internet, the real data, and hands for the napari window."""

from __future__ import annotations

import copy
import functools
import gc
import ipaddress
import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

# Before napari or torch is imported: never touch the user's settings, never slice in the background,
# and leave processors for the others on this machine.
os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp(prefix="napari-")) / "settings.yaml"))
os.environ.setdefault("NAPARI_ASYNC", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process of tests for each core; more threads than cores only wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a spinning thread stalls whatever shares the cores
os.environ.setdefault("MKL_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    from napari import Viewer
    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QWidget

_CACHES = tempfile.TemporaryDirectory(prefix="empiar-cache-", ignore_cleanup_errors=True)

# A deadline per example says more about the other users of the machine than about our code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


#: The files that take longest, in the order in which they are handed to processes (``--no-loadscope-reorder``): one of
#: them at the end would leave the other process with nothing to do.
_LONGEST = (
    "gui/test_train_widget.py",
    "gui/test_prune_widget.py",
    "gui/test_dataset_widget.py",
    "caked/test_simulate_like.py",
    "caked/test_distributed.py",
    "caked/test_zero_clicks.py",
    "caked/test_density_first_widget.py",
    "caked/test_simulator_widget.py",
    "workflow/test_main_job.py",
    "gui/test_browser.py",
    "empiarreader/test_coordinates_frames.py",
    "profet/test_widget_cleaving.py",
    "gui/test_story.py",
    "empiarreader/test_archive_parts.py",
    "empiarreader/test_archive_catalogue.py",
    "gui/test_inspect_widget.py",
    "caked/test_cli_dataset.py",
    "caked/test_zero_clicks_widget.py",
    "caked/test_prune_command.py",
    "workflow/test_real_micrographs.py",
    "empiarreader/test_archive_faults.py",
    "profet/test_widget_fetching.py",
    "empiarreader/test_archive_download.py",
    "caked/test_training_networks.py",
    "gui/test_trainer_models.py",
    "caked/test_training_resuming.py",
    "caked/test_training.py",
    "caked/test_training_memory.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first; leave out the slow tests of the wheels, unless ``-m`` names them."""
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get("/".join(item.path.parts[-2:]), len(ranks)))
    if "packaging" in config.getoption("markexpr"):
        return
    wheels = [item for item in items if item.get_closest_marker("packaging")]
    if wheels:
        config.hook.pytest_deselected(items=wheels)
        items[:] = [item for item in items if not item.get_closest_marker("packaging")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of the canvas where nothing can paint one."""
    if not item.get_closest_marker("gui"):
        return
    if reason := _no_screen():
        pytest.skip(reason)
    _cheaper_viewers()


def pytest_collection_finish() -> None:
    """Take what the collection has imported out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Do the same for what a test with a window has imported: napari collects whenever a layer or a viewer goes.

    Otherwise each of these collections looks through all modules of napari, Qt and PyTorch, 0.1 s and more. No viewer
    is alive here, and what it left behind has just been collected.
    """
    yield
    if item.get_closest_marker("gui"):
        gc.freeze()


@functools.cache
def _cheaper_viewers() -> None:
    """Let viewers of tests start as usual, without what takes long in it and has nothing to do with our plugins.

    ``make_napari_viewer`` reads the manifests of all plugins again for each viewer, and resets settings one by one,
    each of which is then written to the disk. The moving picture that stands for work under way makes OpenGL in
    software compose the whole window again some 20 times a second.
    """
    from napari.settings import NapariSettings
    from npe2.manifest import _bases
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QMovie
    from qtpy.QtWidgets import QProgressBar

    if read := getattr(_bases, "_load_yaml_no_duplicates", None):  # not in every version
        known = functools.cache(read)
        _bases._load_yaml_no_duplicates = lambda stream: copy.deepcopy(known(stream.read()))
    NapariSettings._maybe_save = lambda self: None
    QMovie.start = lambda self: None
    as_usual, style_animation = QProgressBar.event, 213  # QEvent::StyleAnimationUpdate, which PyQt does not name

    def without_animation(bar: QProgressBar, event: QEvent) -> bool:
        kind = event.type()
        return getattr(kind, "value", kind) != style_animation and as_usual(bar, event)

    QProgressBar.event = without_animation


def _no_screen() -> str:
    """Why no canvas can be painted here, or nothing."""
    # At this time pytest-xvfb has started its virtual screen and set DISPLAY, if it found an Xvfb.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no screen and no Xvfb: 'python3 start.py test' installs it, or set DISPLAY"
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return f"QT_QPA_PLATFORM={os.environ['QT_QPA_PLATFORM']} has no OpenGL, the canvas would stay blank"
    return ""


@pytest.fixture(scope="session")
def cryo_test_data() -> Path:
    """Folder with real micrographs, from the environment variable CRYO_TEST_DATA."""
    folder = os.environ.get("CRYO_TEST_DATA")
    if not folder:
        pytest.skip("real micrographs: set CRYO_TEST_DATA to the folder that holds them")
    if not Path(folder).is_dir():
        pytest.fail(f"CRYO_TEST_DATA={folder} is no folder")
    return Path(folder)


# ---- no internet ---------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that looks up or connects to anything but this machine, also where the code hides the error.

    Only Python's sockets are watched; clients written in other languages are not.
    """
    reached: list[str] = []

    def refuse(host: object) -> None:
        reached.append(str(host))
        # No OSError: those are retried, or turned into "server unreachable", by good code.
        raise AssertionError(f"a test wants to reach {host}; tests talk to this machine only")

    def guard(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                refuse(address)
            return original(self, address)

        return connect

    lookup = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and name.endswith(".invalid"):
            # Reserved by RFC 2606 for names that do not exist: the answer is known without asking.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if name and not _is_loopback(name):
            refuse(name)
        return lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guard(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    if reached:
        hosts = ", ".join(sorted(set(reached)))
        pytest.fail(f"the test wanted to reach {hosts}; tests talk to this machine only", pytrace=False)


def _is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host in ("", "localhost", "ip6-localhost", "0.0.0.0", "::"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an archive cache of its own, never the user's; the folder is made only if something is stored."""
    monkeypatch.setenv("EMPIAR_CACHE", str(Path(_CACHES.name) / uuid.uuid4().hex))
    for variable in ("EMPIAR_CACHE_BYTES", "EMPIAR_OFFLINE", "EMPIAR_CONNECTIONS", "EMPIAR_SPLIT_SLOW_READS"):
        monkeypatch.delenv(variable, raising=False)


# ---- command lines -------------------------------------------------------------------------------------------


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the ``main`` of a command line in this process, which need not start and import everything first."""

    def run(
        main: Callable[[], None], *arguments: object, environment: Mapping[str, str], cwd: Path | None = None
    ) -> CompletedProcess[str]:
        words = ["command", *map(str, arguments)]
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.chdir(cwd or Path.cwd())
            patch.setattr(sys, "argv", words)
            main()
        return CompletedProcess(words, int(ended.value.code or 0), *capsys.readouterr())

    return run


# ---- helper processes ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _forge() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parent))
    from warm_helpers import Forge

    forge = Forge()
    yield forge
    forge.close()


@pytest.fixture
def warm_helpers(_forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the helper processes of windows start at once, where that can be done: see tests/warm_helpers.py."""
    if sys.platform == "linux":
        monkeypatch.setattr("napari_caked.widgets._process.subprocess", SimpleNamespace(PIPE=PIPE, Popen=_forge.start))


# ---- hands for the window ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _survive_without_gl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer in OpenGL's place under Qt's "offscreen" platform, where napari asks for limits and gets None.

    Widgets, layers, signals and buttons then work; the canvas is never painted.
    """
    if os.environ.get("QT_QPA_PLATFORM") != "offscreen" or os.environ.get("DISPLAY"):
        return
    try:
        from vispy.gloo import gl
    except ImportError:
        return
    monkeypatch.setattr(gl, "glGetParameter", lambda name: "texture_float" if name == gl.GL_EXTENSIONS else 8192)


@pytest.fixture
def canvas_widget() -> Callable[[Viewer], QWidget]:
    """Give the Qt widget that napari paints its layers on: the one place that knows napari's private name for it."""
    return lambda viewer: viewer.window._qt_viewer.canvas.native


@pytest.fixture
def grab(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Take a picture of the whole napari window, (y, x, RGBA), and save it as NAME.png.

    Pictures go to the test's own folder, or to the one in the environment variable SHOTS.
    """
    folder = Path(os.environ.get("SHOTS") or tmp_path)

    def grab_window(viewer: Viewer, name: str) -> np.ndarray:
        import imageio.v3 as imageio
        from qtpy.QtWidgets import QApplication

        # Layouts, docks and the first frame of the canvas each take a round of the event loop.
        for _ in range(20):
            QApplication.processEvents()
        picture = viewer.screenshot(canvas_only=False, flash=False)
        folder.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(folder / f"{name}.png", picture)
        return picture

    return grab_window


@pytest.fixture
def drag() -> Callable[..., None]:
    """Drag with the left button held: qtbot.mouseMove sends no pressed button, so the events are built by hand."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def drag_mouse(widget: QWidget, start: QPoint, stop: QPoint, steps: int = 5) -> None:
        def send(kind: QEvent.Type, at: Any, button: Qt.MouseButton, held: Qt.MouseButton) -> None:
            on_screen = QPointF(widget.mapToGlobal(at))
            modifier = Qt.KeyboardModifier.NoModifier
            QApplication.sendEvent(widget, QMouseEvent(kind, QPointF(at), on_screen, button, held, modifier))
            QApplication.processEvents()

        send(QEvent.Type.MouseButtonPress, start, left, left)
        for step in range(1, steps + 1):
            send(QEvent.Type.MouseMove, start + (stop - start) * (step / steps), none, left)
        send(QEvent.Type.MouseButtonRelease, stop, left, none)

    return drag_mouse
