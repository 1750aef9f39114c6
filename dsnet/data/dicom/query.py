"""What a DICOMweb server holds: asked by QIDO-RS, and by WADO-RS where that tells too little."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl
from urllib.parse import quote as quote_but_slashes

import pyarrow as pa

from dsnet.data.dicom.entry import TAGS, entries_of
from dsnet.data.dicom.header import quiet, told
from dsnet.data.dicom.places import Found
from dsnet.data.dicom.scan import read_entries
from dsnet.data.dicom.table import OTHER, REFUSED, SLICE, FileRows, instances_of_series
from dsnet.data.dicom.web import WebServer, web_address, web_server
from dsnet.dependencies import needed

_PAGE = 1000
# More would not end.
_MOST_PAGES = 100_000
_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITY, _ROWS, _FRAMES, _COUNT = "00080060", "00280010", "00280008", "00201209"
# What a slice's place and scale are told by; not every server tells them of an instance.
_PLACE = ("00200032", "00200037", "00280030")
_INCLUDED = (
    "00080008", "0008103E", "00180015", "00181120", "00200013", "00200032", "00200037",
    "00200052", "00280008", "00280010", "00280011", "00280030", "00083002",
)  # fmt: skip
# CT, MR and PET whose frames have places of their own, and what was converted to them.
_ENHANCED = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2.1", "2.2", "4.1", "4.4", "128.1", "130")
)
# Series of these hold no pictures (PS3.3, C.7.3.1.1.1).
_NO_PICTURES = ("SR", "PR", "KO", "DOC", "PLAN", "REG", "RTSTRUCT", "RTPLAN", "RWV", "ASMT", "FID")


def web_rows(
    place: str,
    before: pa.Table | None,
    problems: list[tuple[str, str]],
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[FileRows | pa.Table]:
    """The instances of a server, a row each, or the rows that were known of a whole series.

    Parameters
    ----------
    place : str
        See `web.web_address`.
    before : Table or None
        Of an earlier index: a series that has as many instances as then is not asked for again.
    problems : list
        Is given what could not be asked.
    progress : callable, optional
        Called with the series that were asked for, and how many are known of.

    Raises
    ------
    ValueError
        When the server cannot be reached, or does not answer with studies.
    """
    with needed("dicom", "reading DICOM"):
        import pydicom  # noqa: F401
    address = web_address(place)
    server = web_server(address.root)
    server.attempts.begin()
    done = known = 0
    for study, study_tags in _studies(server, address.study, address.query, problems):
        try:
            found = _series(server, study, address.series, problems)
        except ValueError as error:
            problems.append((f"{address.root}/studies/{study}", _without(error, address.root)))
            continue
        known += len(found)
        for series, tags in found:
            path = f"studies/{quote(study)}/series/{quote(series)}"
            kept = None if before is None else instances_of_series(before, f"{server.root}/{path}")
            count = _value(tags, _COUNT)
            if kept is not None and isinstance(count, int) and count == kept[1] > 0:
                yield kept[0]
            else:
                try:
                    yield from _instances(server, path, {**study_tags, **tags}, problems)
                except ValueError as error:
                    problems.append((f"{server.root}/{path}", _without(error, address.root)))
            done += 1
            if progress is not None:
                progress(done, known)


def web_files(
    place: str, modalities: Sequence[str], most: int, problems: list[tuple[str, str]]
) -> Iterator[tuple[str, bytes]]:
    """The files of the series of some modalities that a server holds: their addresses, and bytes.

    Parameters
    ----------
    place : str
        See `web.web_address`.
    modalities : sequence of str
        As "SR".
    most : int
        Bytes of a file; a larger one is a problem.
    problems : list
        Is given what could not be asked or fetched.

    Raises
    ------
    ValueError
        When the server cannot be reached, or does not answer with studies.
    """
    address = web_address(place)
    server = web_server(address.root)
    server.attempts.begin()
    for study, _ in _studies(server, address.study, address.query, problems):
        try:
            found = _series(server, study, address.series, problems)
        except ValueError as error:
            problems.append((f"{address.root}/studies/{study}", _without(error, address.root)))
            continue
        for series, tags in found:
            if _value(tags, _MODALITY) not in modalities:
                continue
            path = f"studies/{quote(study)}/series/{quote(series)}"
            try:
                pages = _pages(server, f"{path}/instances", [], problems, _value(tags, _COUNT))
                uids = [uid for uid, _ in _uids(pages, _INSTANCE, problems, server)]
            except ValueError as error:
                problems.append((f"{server.root}/{path}", _without(error, address.root)))
                continue
            for uid in uids:
                url = f"{server.root}/{path}/instances/{quote(uid)}"
                try:
                    data = server.attempts.tried(partial(_whole, server, url, most), url)
                except ValueError as error:
                    problems.append((url, _without(error, address.root)))
                else:
                    yield url, data


def _whole(server: WebServer, url: str, most: int) -> bytes:
    with server.instance(url, most) as file:
        return file.read()


def _studies(server: WebServer, study: str, query: str, problems) -> Iterator[tuple[str, dict]]:
    if study:
        yield study, {}
        return
    yield from _uids(
        _pages(server, "studies", parse_qsl(query), problems), _STUDY, problems, server
    )


def _series(server: WebServer, study: str, only: str, problems) -> list[tuple[str, dict]]:
    path = f"studies/{quote(study)}/series"
    asked = [("SeriesInstanceUID", only)] if only else []
    pages = _pages(server, path, [*asked, ("includefield", _COUNT)], problems)
    found = list(_uids(pages, _SERIES, problems, server))
    return [(uid, tags) for uid, tags in found if not only or uid == only]


def _instances(server: WebServer, path: str, tags: dict, problems) -> Iterator[FileRows]:
    """The rows of a series."""
    fields = [("includefield", name) for name in _INCLUDED]
    count = _value(tags, _COUNT)
    pages = _pages(server, f"{path}/instances", fields, problems, count)
    found = dict(_uids(pages, _INSTANCE, problems, server))
    whole = set()
    if _value(tags, _MODALITY) not in _NO_PICTURES and any(map(_is_poor, found.values())):
        for item in _metadata(server, path):
            uid = _value(item, _INSTANCE)
            if uid in found:
                found[uid] = {**found[uid], **item}
                whole.add(uid)
    for uid, item in found.items():
        source = f"{server.root}/{path}/instances/{quote(uid)}"
        if _value(tags, _MODALITY) in _NO_PICTURES:
            yield FileRows(Found(source, 0, 0), None, [], OTHER, "DICOM without a picture")
        elif _is_poor(item) and uid not in whole:
            yield read_entries(Found(source, 0, 0), None, source)
        else:
            yield _row(source, {**tags, **item})


def _is_poor(item: dict) -> bool:
    """Whether an answer tells not enough of a slice."""
    frames = _value(item, _FRAMES)
    if frames is None:
        frames = 2 if _value(item, _CLASS) in _ENHANCED else 1
    return _ROWS not in item or not all(name in item for name in _PLACE) or frames != 1


def _metadata(server: WebServer, path: str) -> list[dict]:
    try:
        return server.json(f"{path}/metadata")
    except ValueError:
        return []  # Not every server has it: then each instance's own header is read.


def _row(source: str, item: dict) -> FileRows:
    """The row of an instance by its tags in DICOM JSON."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataset import Dataset

    file = Found(source, 0, 0)
    names = {f"{tag_for_keyword(name):08X}" for name in TAGS}
    try:
        with quiet():
            chosen = {name: value for name, value in item.items() if name in names}
            dataset = Dataset.from_json(chosen, lambda *_: None)
            syntax = _value(item, "00083002")
            syntax = syntax if isinstance(syntax, str) else ""
            entries, wrong = entries_of(dataset, syntax, source)
    except Exception as error:  # pydicom raises many kinds of what is no DICOM JSON
        return FileRows(file, None, [], REFUSED, told(error))
    if not entries:
        return FileRows(file, None, [], OTHER, "DICOM without a picture")
    return FileRows(file, None, entries, SLICE, "; ".join(wrong) or None)


def _pages(
    server: WebServer, path: str, params: list[tuple[str, str]], problems, count: Any = None
) -> Iterator[list[dict]]:
    """Pages of an answer until one brings nothing new: a server may give less than was asked.

    Where it said beforehand how many there are, until these have come.
    """
    seen: set[str] = set()
    offset = 0
    for _ in range(_MOST_PAGES):
        asked = [*params, ("limit", str(_PAGE)), ("offset", str(offset))]
        try:
            page = server.json(path, asked)
        except ValueError as error:
            if not offset:
                raise
            problems.append((f"{server.root}/{path}", f"after {offset}: {error}"))
            return
        new = [
            item
            for item in page
            if (key := repr(sorted(item.items()))) not in seen and not seen.add(key)
        ]
        if not new:
            if len(page) >= _PAGE:
                reason = f"it gives no more than {offset} answers: others may be there"
                problems.append((f"{server.root}/{path}", reason))
            return
        yield new
        offset += len(page)
        if offset == count:
            return


def _uids(pages: Iterator[list[dict]], name: str, problems, server) -> Iterator[tuple[str, dict]]:
    """The UID of each object of an answer, and the object."""
    seen = set()
    for page in pages:
        for item in page:
            uid = _value(item, name)
            if not (isinstance(uid, str) and len(uid.strip(".")) > 0 and len(uid) <= 64):
                problems.append((server.root, f"it answers with {name} {str(uid)[:64]!r}, no UID"))
            elif uid not in seen:
                seen.add(uid)
                yield uid, item


def quote(name: str) -> str:
    """A name as one step of a path."""
    return quote_but_slashes(name, safe="")


def _value(item: dict, name: str) -> Any:
    """The first value of an attribute in DICOM JSON."""
    element = item.get(name)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _without(error: Exception, root: str) -> str:
    return str(error).replace(f"{root}/", "").replace(root, "the server")
