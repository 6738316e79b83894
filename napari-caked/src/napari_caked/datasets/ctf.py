"""What particle tables say of the contrast transfer of each particle, in one set of words for all programs.

The words are keys of an item's ``origin``: ``defocus_u``, ``defocus_v`` (Å of under-focus, the largest and the
smallest), ``defocus_angle`` (degrees of the first from x towards y), ``voltage`` (kV), ``spherical_aberration`` (mm),
``amplitude_contrast`` (fraction) and ``phase_plate`` (degrees).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

    from napari_empiarreader.coordinates import ParticleTable

__all__ = ["CTF_WORDS", "RELION", "contrast_of", "with_optics", "with_optics_of"]

#: Our words, and RELION's columns for them.
RELION = {
    "defocus_u": "rlnDefocusU",
    "defocus_v": "rlnDefocusV",
    "defocus_angle": "rlnDefocusAngle",
    "voltage": "rlnVoltage",
    "spherical_aberration": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
    "phase_plate": "rlnPhaseShift",
}
#: Fields of cryoSPARC, and what makes our units of theirs.
_CRYOSPARC = {
    "defocus_u": ("ctf/df1_A", 1.0),
    "defocus_v": ("ctf/df2_A", 1.0),
    "defocus_angle": ("ctf/df_angle_rad", 180 / math.pi),
    "voltage": ("ctf/accel_kv", 1.0),
    "spherical_aberration": ("ctf/cs_mm", 1.0),
    "amplitude_contrast": ("ctf/amp_contrast", 1.0),
    "phase_plate": ("ctf/phase_shift_rad", 180 / math.pi),
}
CTF_WORDS = tuple(RELION)
_GROUP = "rlnOpticsGroup"


def contrast_of(features: pd.DataFrame) -> list[dict[str, float]]:
    """What each row of a table says of its contrast transfer; nothing for rows without a defocus."""
    import pandas as pd

    columns = {word: (name, 1.0) for word, name in RELION.items() if name in features}
    if "defocus_u" not in columns:
        columns = {word: one for word, one in _CRYOSPARC.items() if one[0] in features}
    if "defocus_u" not in columns:
        return [{} for _ in range(len(features))]
    numbers = {
        word: pd.to_numeric(features[name], errors="coerce").to_numpy(np.float64) * factor
        for word, (name, factor) in columns.items()
    }
    known = np.isfinite(numbers["defocus_u"])
    # Seven digits are what single precision files hold; 1e-4 of an Å and of a degree are exact enough for all.
    said = {word: np.round(values, 4).tolist() for word, values in numbers.items()}
    return [
        {word: values[row] for word, values in said.items() if math.isfinite(values[row])} if there else {}
        for row, there in enumerate(known.tolist())
    ]


def with_optics(rows: pd.DataFrame, blocks: Mapping[str, Any], where: str) -> pd.DataFrame:
    """Rows of a STAR file with the columns of their optics groups beside them; as they are in files without groups.

    Raises
    ------
    DatasetError
        A row is of a group that the file does not have, or that it has twice.
    """
    import pandas as pd

    optics = blocks.get("optics")
    optics = pd.DataFrame([optics]) if isinstance(optics, dict) else optics
    if optics is None or _GROUP not in optics or _GROUP not in rows:
        return rows
    added = [column for column in optics if column not in rows]
    keys = pd.Index(optics[_GROUP].astype(str))
    at = keys.get_indexer(pd.Index(rows[_GROUP].astype(str))) if keys.is_unique else np.array([-1])
    if (at < 0).any():
        row = int(np.flatnonzero(at < 0)[0])
        raise DatasetError(
            f"{where}: row {row + 1} is of the optics group {rows[_GROUP].iloc[row]}, and data_optics has "
            f"{', '.join(keys)}; give each group one row there"
        )
    return rows.assign(**{str(column): optics[column].to_numpy()[at] for column in added})


def with_optics_of(table: ParticleTable) -> pd.DataFrame:
    """Features of particles, with what their STAR file says of their optics groups."""
    return with_optics(table.features, table.metadata.get("star_blocks", {}), str(table.metadata.get("source", "")))
