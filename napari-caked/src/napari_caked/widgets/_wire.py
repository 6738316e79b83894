"""How the messages travel between the window and its helper process: JSON and arrays, no pickle.

A message is one ``.npz`` archive behind its length: the entry ``message`` is JSON, every array and every run of bytes
in it an entry of its own. Only the classes named here can come out of it.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import fields, is_dataclass
from typing import IO, Any

import numpy as np

from napari_caked import settings
from napari_caked.simulate import settings as simulation_settings
from napari_caked.widgets import _dataset_messages as dataset_messages
from napari_caked.widgets import _messages as messages
from napari_caked.widgets import _prune_messages as pruning_messages
from napari_caked.widgets import _sim_messages as simulation_messages
from napari_empiarreader.coordinates import ParticleTable

__all__ = ["receive", "send"]

_OF_WINDOWS = dataset_messages, pruning_messages, simulation_settings, simulation_messages


def _name_of(cls: type) -> str:
    """Name of a class, told apart from those of other modules."""
    return f"{cls.__module__}.{cls.__qualname__}"


_CLASSES = {
    _name_of(cls): cls
    for cls in (
        *(getattr(messages, name) for name in messages.__all__ if name not in ("Command", "Message")),
        *(getattr(module, name) for module in (settings, *_OF_WINDOWS) for name in module.__all__),
        ParticleTable,
    )
}
_LENGTH = struct.Struct("<Q")


def send(stream: IO[bytes], message: object) -> None:
    """Write one message, and make sure that it leaves."""
    arrays: dict[str, np.ndarray] = {}
    tree = _packed(message, arrays)
    buffer = io.BytesIO()
    np.savez(buffer, message=np.array(json.dumps(tree)), **arrays)  # type: ignore[arg-type]
    stream.write(_LENGTH.pack(buffer.tell()))
    stream.write(buffer.getbuffer())
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        The other side is gone.
    ValueError
        What comes is no message.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    with np.load(io.BytesIO(_exactly(stream, length)), allow_pickle=False) as arrays:
        return _unpacked(json.loads(str(arrays["message"])), arrays)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError(f"the other side ended after {len(data)} of {count} bytes")
    return data


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON for ``value``; what is not JSON becomes ``{"is": kind, ...}``."""
    import pandas as pd

    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise TypeError("a message cannot hold an array of Python objects")
    if isinstance(value, np.ndarray | bytes):
        name = f"a{len(arrays)}"
        arrays[name] = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
        return {"is": "array" if isinstance(value, np.ndarray) else "bytes", "of": name}
    if isinstance(value, np.dtype):
        return {"is": "dtype", "of": value.str}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _packed(_plain(column.to_numpy()), arrays) for name, column in value.items()}
        return {"is": "frame", "of": columns, "rows": len(value)}
    if isinstance(value, dict):
        return {"is": "dict", "of": {str(name): _packed(item, arrays) for name, item in value.items()}}
    if isinstance(value, list | tuple):
        return {"is": type(value).__name__, "of": [_packed(item, arrays) for item in value]}
    if is_dataclass(value) and _name_of(type(value)) in _CLASSES:
        parts = {field.name: _packed(getattr(value, field.name), arrays) for field in fields(value)}
        return {"is": "object", "class": _name_of(type(value)), "of": parts}
    raise TypeError(f"a message cannot hold a {type(value).__name__}")


def _plain(column: np.ndarray) -> np.ndarray:
    """Column of a table; pandas keeps words as Python objects."""
    words = column.dtype.hasobject and all(isinstance(value, str) for value in column)
    return column.astype(np.str_) if words else column


def _unpacked(value: Any, arrays: Any) -> Any:
    import pandas as pd

    if not isinstance(value, dict):
        return value
    content = value["of"]
    match value["is"]:
        case "array":
            return arrays[content]
        case "bytes":
            return arrays[content].tobytes()
        case "dtype":
            return np.dtype(content)
        case "frame":
            columns = {name: _unpacked(column, arrays) for name, column in content.items()}
            return pd.DataFrame(columns, index=range(value["rows"]))
        case "dict":
            return {name: _unpacked(item, arrays) for name, item in content.items()}
        case "list":
            return [_unpacked(item, arrays) for item in content]
        case "tuple":
            return tuple(_unpacked(item, arrays) for item in content)
        case "object":
            return _CLASSES[value["class"]](**{name: _unpacked(item, arrays) for name, item in content.items()})
    raise ValueError(f"no message holds a {value['is']!r}")
