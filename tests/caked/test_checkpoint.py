"""Model files: the same picks after a round trip, and never a wrong model in silence."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_caked.calibration import Calibration
from napari_caked.checkpoint import PickerModel, checksum, load_model, save_model
from napari_caked.errors import CheckpointError
from napari_caked.models import MatchedFilterNetwork
from napari_caked.picking import PickSettings, pick
from napari_caked.preprocess import PreprocessSettings
from napari_caked.spacing import Spacing
from napari_empiarreader.errors import FileExistsAlreadyError


@pytest.fixture(scope="module")
def model() -> PickerModel:
    generator = torch.Generator().manual_seed(0)
    network = MatchedFilterNetwork(torch.exp(-(((torch.arange(15.0) - 8) / 2) ** 2)), channels=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return PickerModel(
        network.eval(),
        120.0,
        PreprocessSettings(normalization="affine"),
        Calibration(1.5, 0.25),
        {"seed": 3, "settings": {"steps": 5}},
        Spacing((0.4, 0.5, 0.8), (0.1, 0.625)),
    )


@pytest.fixture
def path(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    return tmp_path / "m.safetensors"


def rewrite(path, change_description=None, change_tensors=None, metadata=None):
    """Write the file again with something changed."""
    with safe_open(path, framework="pt") as file:
        kept = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if change_description:
        description = json.loads(kept["picker"])
        change_description(description)
        kept["picker"] = json.dumps(description)
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, path, kept if metadata is None else metadata)


def test_a_model_read_again_gives_identical_picks(path, model, ring_data):
    series, _ = ring_data(1)
    settings = PickSettings(threshold=0, device="cpu")
    before, after = pick(series, model, settings), pick(series, load_model(path), settings)
    assert len(before) > 10
    np.testing.assert_array_equal(before.coordinates, after.coordinates)
    np.testing.assert_array_equal(before.features["score"], after.features["score"])


def test_everything_else_is_read_again(path, model):
    read = load_model(path)
    assert read.particle_diameter == 120.0
    assert read.preprocess == model.preprocess
    assert read.calibration == Calibration(1.5, 0.25)
    assert read.provenance == {"seed": 3, "settings": {"steps": 5}}
    assert read.spacing == Spacing((0.4, 0.5, 0.8), (0.1, 0.625))
    assert not read.network.training


def test_an_existing_file_is_kept_unless_asked_otherwise(path, model):
    before = checksum(path)
    with pytest.raises(FileExistsAlreadyError, match=r"m\.safetensors"):
        save_model(path, model)
    assert checksum(path) == before
    save_model(path, model, overwrite=True)
    assert [file.name for file in path.parent.iterdir()] == ["m.safetensors"]


def test_an_error_while_writing_leaves_nothing(tmp_path, model):
    from dataclasses import replace

    with pytest.raises(TypeError):
        save_model(tmp_path / "m.safetensors", replace(model, provenance={"what": object()}))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such model file.*napari-caked train"):
        load_model(tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, -1])
def test_a_truncated_file_is_an_error_with_its_name(path, kept):
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)


class Bomb:
    def __reduce__(self):
        return (print, ("a pickle was opened",))


def test_a_pickle_is_refused_and_not_opened(tmp_path, capsys):
    path = tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"m\.safetensors: no readable safetensors"):
        load_model(path)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)
    assert "opened" not in capsys.readouterr().out


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["bare", "other format"])
def test_weights_of_another_program_are_an_error(tmp_path, metadata):
    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(3)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: .*no picker of napari-caked"):
        load_model(path)


def test_an_older_version_is_an_error_that_says_to_train_again(path):
    rewrite(path, lambda description: description.update(version=2))
    with pytest.raises(CheckpointError, match=r"m\.safetensors: written by an older napari-caked.*train again"):
        load_model(path)


def test_a_newer_version_is_an_error_that_says_to_update(path):
    rewrite(path, lambda description: description.update(version=99))
    with pytest.raises(CheckpointError, match=r"m\.safetensors: written by a newer napari-caked \(format 99.*update"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("calibration"),
        lambda d: d.pop("version"),
        lambda d: d.update(version="two"),
        lambda d: d.update(version=2.5),
        lambda d: d.update(network="unet"),
        lambda d: d.update(network=["matched"]),
        lambda d: d.update(configuration=None),
        lambda d: d["configuration"].update(channels=5),
        lambda d: d["configuration"].update(channels="many"),
        lambda d: d["configuration"].update(colour="red"),
        lambda d: d["configuration"].update(inner="many"),
        lambda d: d["configuration"].update(inner=-3),
        lambda d: d["configuration"].pop("profile"),
        lambda d: d.update(particle_diameter=None),
        lambda d: d.update(particle_diameter=float("nan")),
        lambda d: d.update(particle_diameter=-5.0),
        lambda d: d["calibration"].update(offset=float("inf")),
        lambda d: d["calibration"].update(slope=-1.0),
        lambda d: d["calibration"].update(share=2.0),
        lambda d: d.pop("spacing"),
        lambda d: d.update(spacing=7),
        lambda d: d["spacing"].update(factors=[2.0, 0.5]),
        lambda d: d["spacing"].update(edges=[0.4, "far", 0.8]),
        lambda d: d["spacing"].update(edges=7),
        lambda d: d.update(provenance=7),
        lambda d: d.update(preprocess={"colour": "red"}),
        lambda d: d.update(preprocess=7),
    ],
)
def test_a_description_that_makes_no_sense_is_an_error(path, change):
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("head.weight"),
        lambda t: t.pop("filter.profile"),
        lambda t: t.update(extra=torch.ones(2)),
        lambda t: t.update({"head.weight": torch.ones(1, 5, 1, 1)}),
        lambda t: t.update({"filter.profile": torch.ones(3, 3)}),
        lambda t: t.update({"filter.profile": torch.ones(1)}),
        lambda t: t["head.weight"].fill_(float("nan")),
        lambda t: t["filter.profile"].fill_(float("inf")),
        lambda t: t.update({"head.weight": t["head.weight"].half()}),
    ],
    ids=["missing", "no profile", "extra", "shape", "profile shape", "profile length", "nan", "infinite", "type"],
)
def test_tensors_that_make_no_sense_are_an_error(path, change):
    rewrite(path, change_tensors=change)
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null"])
def test_a_damaged_description_is_an_error(path, text):
    rewrite(path, metadata={"format": "napari-caked picker", "picker": text})
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)


@pytest.mark.parametrize("key", ["profile", "channels"])
@pytest.mark.parametrize("size", [10**6, 10**12, 10**18, 10**30, -1, 0], ids=str)
def test_a_hostile_size_is_an_error_and_takes_no_memory(path, key, size):
    resource = pytest.importorskip("resource", reason="Windows does not tell the memory of a process this way")
    rewrite(path, lambda d: d["configuration"].update({key: size}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("size", [10**12, -1], ids=str)
def test_a_hostile_size_of_another_network_is_an_error_too(path, size):
    rewrite(path, lambda d: d.update(network="conv31", configuration={"units": size}))
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)


def test_a_model_that_was_read_outlives_its_file(path, ring_data):
    """Given a file that somebody truncates while its model is in use, then the model works on."""
    series, _ = ring_data(1, size=164)
    read, settings = load_model(path), PickSettings(threshold=0, device="cpu")
    before = pick(series, read, settings)
    path.write_bytes(b"")
    np.testing.assert_array_equal(pick(series, read, settings).features["score"], before.features["score"])


def test_numbers_that_are_none_are_never_written(tmp_path, model):
    with pytest.raises(ValueError, match="calibration's offset is nan"):
        Calibration(1.0, float("nan"))
    assert np.isfinite([model.calibration.slope, model.calibration.offset]).all()
