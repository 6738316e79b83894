"""Messages between the window and its helper arrive as they were sent, and nothing else can arrive."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_caked.settings import PickSettings, PreprocessSettings, TrainingSettings
from napari_caked.widgets._messages import (
    Adapted,
    Devices,
    Done,
    Failed,
    GeneralJob,
    Job,
    Kept,
    Learned,
    ListDevices,
    Look,
    Looked,
    Memory,
    Opened,
    OpenPicker,
    OwnLabels,
    Pause,
    Picked,
    PickJob,
    Previewed,
    Read,
    Resume,
    ScorePlane,
    Stop,
    Trained,
    Validated,
    Warned,
)
from napari_caked.widgets._wire import receive, send
from napari_empiarreader.coordinates import ParticleTable

TABLE = ParticleTable(
    ("a.mrc", "b.mrc"),
    np.array([[0, 1.5, 2.5], [1, 3, 4]]),
    pd.DataFrame({"score": [0.25, 1.0], "logit": [-1.1, np.inf]}),
    {"provenance": {"settings": {"seed": 0}, "sizes": (1, 2), "names": ["x"]}},
)
JOB = Job(
    ("a.mrc", "b.mrc"),
    (64, 48),
    np.dtype(">i2"),
    None,
    "somewhere",
    ParticleTable(("a.mrc", "b.mrc"), np.zeros((3, 3))),
    TrainingSettings(120.0, preprocess=PreprocessSettings(particle_width=16.0), steps=7),
    PickSettings(device="cpu"),
    0.02,
)


def through(message):
    stream = io.BytesIO()
    send(stream, message)
    stream.seek(0)
    return receive(stream)


@pytest.mark.parametrize(
    "message",
    [
        ListDevices(),
        Done(),
        Read(3),
        Failed("no", "Traceback"),
        Devices((("cuda:0", "A GPU"),)),
        Learned(3, 9, (0.5, float("inf")), "CPU"),
        Trained(bytes(range(256)), 12.5),
        Look(None),
        Look(3, True),
        Pause(),
        Resume(),
        Stop(),
        Validated(7, 0.875, True),
        Warned("odd"),
        OpenPicker("/a/picker.safetensors"),
        Opened(b"\0model", 120.5, "conv31", PreprocessSettings(particle_width=16.0)),
        PickJob(("a.mrc",), (64, 48), np.dtype(">i2"), 1.5, "", b"\0model", PickSettings(device="cpu"), 0.02),
        Kept("/a/picker.safetensors", None),
        Memory(2**40, None),
        GeneralJob(("a.mrc",), (64, 48), np.dtype(">i2"), 1.5, "", 120.0, PickSettings(device="cpu"), 0.02, Look(3)),
        Looked(1, 8),
        Adapted(b"\0model", "matched", PreprocessSettings(), 8, False),
        OwnLabels(83, 8),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_arrives_as_it_was_sent(message):
    assert through(message) == message


def test_previews_arrive_with_and_without_their_scores():
    plane = ScorePlane(np.random.default_rng(0).random((5, 7)).astype(np.float16), (8.5, 9.0))
    arrived = through(Previewed(4, 1, TABLE, plane))
    assert (arrived.step, arrived.index, arrived.scores.spacing) == (4, 1, (8.5, 9.0))
    assert arrived.scores.scores.dtype == np.float16
    np.testing.assert_array_equal(arrived.scores.scores, plane.scores)
    np.testing.assert_array_equal(arrived.picks.coordinates, TABLE.coordinates)
    assert through(Previewed(4, 1, TABLE, None)).scores is None


def test_what_is_no_particle_and_the_model_to_improve_go_along():
    negatives = ParticleTable(("a.mrc", "b.mrc"), np.ones((1, 3)), metadata={"empty_micrographs": ["b.mrc"]})
    job = through(replace(JOB, negatives=negatives, start=b"\0model", look=Look(1, True)))
    assert job.negatives.metadata == {"empty_micrographs": ["b.mrc"]} and len(job.negatives) == 1
    assert (job.start, job.look) == (b"\0model", Look(1, True))
    assert through(JOB).negatives is None and through(JOB).start is None


def test_jobs_and_picks_arrive_with_their_tables():
    job = through(JOB)
    assert (job.names, job.shape, job.dtype, job.pixel_size) == (JOB.names, JOB.shape, JOB.dtype, None)
    assert (job.training, job.picking, job.least_score) == (JOB.training, JOB.picking, 0.02)
    assert len(job.labels) == 3
    picks = through(Picked(1, 2, TABLE)).picks
    np.testing.assert_array_equal(picks.coordinates, TABLE.coordinates)
    pd.testing.assert_frame_equal(picks.features, TABLE.features)
    assert picks.metadata == TABLE.metadata


@pytest.mark.parametrize("dtype", ["<f4", "<i2", "|u1", "<f2"])
def test_micrographs_arrive_bit_by_bit(dtype):
    image = np.random.default_rng(0).normal(0, 50, (33, 20)).astype(dtype)
    arrived = through(image)
    assert arrived.dtype == image.dtype
    np.testing.assert_array_equal(arrived, image)


def test_what_is_no_message_is_refused():
    with pytest.raises(EOFError):
        receive(io.BytesIO(b""))
    with pytest.raises(EOFError):
        receive(io.BytesIO(struct.pack("<Q", 100) + b"short"))
    with pytest.raises(TypeError, match="cannot hold"):
        send(io.BytesIO(), threading_thing := object())
    with pytest.raises(TypeError, match="Python objects"):
        send(io.BytesIO(), np.array(["text", None], dtype=object))
    objects = io.BytesIO()
    np.savez(objects, message=np.array([threading_thing], dtype=object))
    framed = struct.pack("<Q", objects.tell()) + objects.getvalue()
    with pytest.raises(ValueError, match="allow_pickle"):
        receive(io.BytesIO(framed))
