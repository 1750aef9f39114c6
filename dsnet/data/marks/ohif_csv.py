"""The table that OHIF's button "CSV" saves: a measurement a row, its points in the patient's mm.

OHIF does not quote: a label with a comma in it moves the columns behind it, and such a row is
refused.
"""

from __future__ import annotations

import numpy as np

from dsnet.data.marks.bounded import read_bytes
from dsnet.data.marks.record import FoundMark, Refused, millimetres, points, refuse, shown, text
from dsnet.data.tables import LONGEST_FIELD, read_table

_NEEDED = ("annotationtype", "sopinstanceuid", "points")
# Ends of the tools that measure diameters.
_ENDS = {"bidirectional": 4, "length": 2}


def is_ohif_csv(data: bytes) -> bool:
    """Whether a CSV is such a table, by its beginning."""
    first = data[: 16 * LONGEST_FIELD].lstrip(b"\xef\xbb\xbf\r\n").splitlines()[:1]
    names = (
        [name.strip().lower() for name in first[0].decode("latin-1").split(",")] if first else []
    )
    return set(_NEEDED) <= set(names)


def read_ohif_csv(
    source: str, data: bytes | None = None, refused: Refused | None = None
) -> list[FoundMark]:
    """The bidirectional and length measurements of a table of OHIF, as `world` alone.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a row that is no mark is told; without it that raises.

    Returns
    -------
    list of FoundMark
        `index` is the line, the header being line 1.

    Raises
    ------
    ValueError
        When the file is no such table; the message names it.
    """
    table = read_table(source, lower=True, data=read_bytes(source, data))
    if not set(_NEEDED) <= set(table.columns):
        raise ValueError(f"{source}: must have the columns {', '.join(_NEEDED)}")
    marks = []
    for row in table.rows:
        try:
            if row.error:
                raise ValueError(row.error)
            mark = _mark(row.fields, source, row.line)
        except ValueError as error:
            refuse(refused, source, f"row {row.line}: {error}")
            continue
        if mark is not None:
            marks.append(mark)
    return marks


def _mark(fields: dict[str, str], source: str, line: int) -> FoundMark | None:
    tool = fields["annotationtype"].rpartition(":")[2].strip().lower()
    if tool not in _ENDS:
        return None
    listed = [point.split() for point in fields["points"].split(";")]
    if len(listed) != _ENDS[tool] or any(len(point) != 3 for point in listed):
        raise ValueError(
            f"points must be {_ENDS[tool]} of three numbers, got {shown(fields['points'])}"
        )
    unit = text(fields.get("unit"))
    lengths = [_number(fields.get(name)) for name in ("length", "width")]
    person = (text(fields.get(name)) for name in ("patient name", "patient id"))
    return FoundMark(
        long_axis=None,
        world=points(np.ravel(listed), 3),
        frame_of_reference_uid=text(fields.get("frameofreferenceuid")) or None,
        series_uid=text(fields.get("seriesinstanceuid")) or None,
        instance_uid=text(fields["sopinstanceuid"]) or None,
        label=text(fields.get("label")),
        long_mm=millimetres(lengths[0], unit),
        short_mm=millimetres(lengths[1], unit) if tool == "bidirectional" else None,
        units=unit if lengths[0] is not None else "",
        person=tuple(filter(None, person)),
        source=source,
        format="ohif",
        index=line,
    )


def _number(written: str | None) -> float | None:
    try:
        return float(written or "")
    except ValueError:
        return None
