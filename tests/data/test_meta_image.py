"""MetaImage volumes are read as they were written, or refused in a line that names the file."""

import zlib

import numpy as np
import pytest

from dsnet.data import meta_image
from dsnet.data.meta_image import read_meta_header, read_meta_volume
from meta_images import TYPES, write_meta


def noise(kind, shape=(3, 5, 7)):
    rng = np.random.default_rng(3)
    if kind.startswith("f"):
        return rng.normal(0, 1e3, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("ending", [".mhd", ".mha"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("big_endian", [False, True])
def test_voxels_come_back_as_written(tmp_path, kind, ending, compressed, big_endian):
    voxels = noise(kind)
    path = tmp_path / f"v{ending}"
    write_meta(path, voxels, compressed=compressed, big_endian=big_endian)
    header = read_meta_header(path)
    assert header.shape == voxels.shape and header.spacing == (3.6, 0.625, 0.625)
    assert header.position == (-12.5, 30, 4.25) and header.directions == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    found = read_meta_volume(header)
    assert found.dtype == voxels.dtype and np.array_equal(found, voxels)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", ["v.mhd", "v.mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_itk_writes_is_read_as_itk_reads_it(tmp_path, kind, name, compressed):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    voxels = noise(kind, (4, 6, 9))
    image = itk.GetImageFromArray(voxels)
    image.SetSpacing((0.4, 0.7, 3.3))
    image.SetOrigin((-10.5, 2, 7))
    itk.WriteImage(image, str(tmp_path / name), useCompression=compressed)
    header = read_meta_header(tmp_path / name)
    found = read_meta_volume(header)
    assert found.dtype == voxels.dtype and np.array_equal(found, voxels)
    assert header.spacing == pytest.approx((3.3, 0.7, 0.4)) and header.position == (-10.5, 2, 7)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_we_take_itk_takes_for_the_same(tmp_path, big_endian, compressed):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    voxels = noise("i2")
    path = tmp_path / "v.mhd"
    write_meta(path, voxels, compressed=compressed, big_endian=big_endian)
    theirs = itk.GetArrayFromImage(itk.ReadImage(str(path)))
    assert np.array_equal(read_meta_volume(read_meta_header(path)), theirs)
    # Voxels after another header, whose length is known or not.
    path = tmp_path / "skipped.mhd"
    for skipped in ("11", "-1"):
        write_meta(path, voxels, big_endian=big_endian, HeaderSize=skipped)
        raw = path.with_suffix(".raw")
        raw.write_bytes(b"eleven byte" + raw.read_bytes())
        theirs = itk.GetArrayFromImage(itk.ReadImage(str(path)))
        assert np.array_equal(read_meta_volume(read_meta_header(path)), theirs)


def test_voxels_after_another_header_are_found(tmp_path):
    voxels = noise("u2")
    path = tmp_path / "v.mhd"
    for skipped in ("5", "-1"):
        write_meta(path, voxels, HeaderSize=skipped)
        raw = path.with_suffix(".raw")
        raw.write_bytes(b"12345" + raw.read_bytes())
        assert np.array_equal(read_meta_volume(read_meta_header(path)), voxels)


def test_what_a_header_leaves_out_is_not_guessed(tmp_path):
    path = tmp_path / "v.mhd"
    write_meta(path, noise("u1"), ElementSpacing=None, Offset=None, TransformMatrix=None)
    header = read_meta_header(path)
    assert header.spacing is None and header.position == header.directions == ()
    write_meta(
        path, noise("u1"), ElementSpacing=None, ElementSize="1 2 3", Offset=None, Origin="4 5 6"
    )
    assert read_meta_header(path).spacing == (3, 2, 1)
    assert read_meta_header(path).position == (4, 5, 6)


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"NDims": "2"}, "NDims must be 3, got 2"),
        ({"NDims": None}, "NDims must be 3, got none"),
        ({"ObjectType": "Mesh"}, "ObjectType must be Image, got 'Mesh'"),
        ({"BinaryData": "False"}, "voxels as text are not read"),
        ({"BinaryData": "yes"}, "BinaryData must be True or False, got 'yes'"),
        ({"ElementByteOrderMSB": "True"}, "must be alike, got both True and False"),
        ({"ElementNumberOfChannels": "3"}, "ElementNumberOfChannels must be 1, got '3'"),
        ({"DimSize": "5 7"}, "DimSize must be three numbers >= 1, got 5 7"),
        ({"DimSize": "5 0 7"}, "DimSize must be three numbers >= 1"),
        ({"DimSize": "5 7 x"}, "DimSize must be numbers, got '5 7 x'"),
        ({"DimSize": "1_0 7 3"}, "DimSize must be numbers"),
        ({"DimSize": "100000 100000 1"}, "states 100000x100000 pixels, more than"),
        ({"DimSize": "4096 4096 4096"}, "states 4096x4096x4096 voxels, more than"),
        ({"ElementType": "MET_LONG"}, "ElementType must be one of .*, got MET_LONG"),
        ({"ElementType": None}, "ElementType must be one of .*, got none"),
        ({"ElementSpacing": "0.6 0 3"}, "ElementSpacing must be > 0"),
        ({"ElementSpacing": "0.6 -1 3"}, "ElementSpacing must be > 0"),
        ({"ElementSpacing": "0.6 0.6"}, "ElementSpacing must be 3 finite numbers"),
        ({"ElementSpacing": "0.6 nan 1"}, "ElementSpacing must be 3 finite numbers"),
        ({"TransformMatrix": "1 0 0"}, "TransformMatrix must be 9 finite numbers"),
        ({"HeaderSize": "-2"}, "HeaderSize must be one number in -1"),
        ({"HeaderSize": "99999999999"}, "HeaderSize must be one number in -1"),
        ({"ElementDataFile": "LIST"}, "ElementDataFile must be one file"),
        ({"ElementDataFile": "v%03d.raw 1 3 1"}, "ElementDataFile must be one file"),
        ({"ElementDataFile": ""}, "ElementDataFile must be one file"),
        ({"ElementDataFile": "../v.raw"}, "must lie beside its header, got '../v.raw'"),
        ({"ElementDataFile": "/etc/passwd"}, "must lie beside its header"),
        ({"ElementDataFile": None}, "cut short: it names no ElementDataFile"),
    ],
)
def test_headers_that_say_what_is_not_read_are_refused(tmp_path, changed, told):
    path = tmp_path / "odd.mhd"
    write_meta(path, noise("i2"), **changed)
    with pytest.raises(ValueError, match=rf"odd\.mhd: .*{told}"):
        read_meta_header(path)


def test_damaged_headers_are_told_by_their_line(tmp_path):
    path = tmp_path / "odd.mhd"
    for text, told in (
        (b"", "cut short"),
        (b"NDims = 3\nDimSize 1 2 3\n", "line 2 is no NAME = VALUE"),
        (b"NDims = 3\nNDims = 3\n", "has NDims twice"),
        (b"ObjectType = Im\xffge\n", "line 1 is no NAME = VALUE"),
        (bytes(100), "line 1 is no NAME = VALUE"),
        (b"\x89PNG\r\n\x1a\n", "line 1 is no NAME = VALUE"),
    ):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=rf"odd\.mhd: .*{told}"):
            read_meta_header(path)
    with pytest.raises(ValueError, match=r"none\.mhd: No such file"):
        read_meta_header(tmp_path / "none.mhd")


@pytest.mark.parametrize("ending", [".mhd", ".mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_of_the_voxels_is_noticed(tmp_path, ending, compressed):
    path = tmp_path / f"v{ending}"
    write_meta(path, noise("i2"), compressed=compressed, CompressedDataSize=None)
    held = path if ending == ".mha" else path.with_suffix(".zraw" if compressed else ".raw")
    data = held.read_bytes()
    begin = read_meta_header(path).begin
    for length in range(begin, len(data)):
        held.write_bytes(data[:length])
        with pytest.raises(ValueError, match=rf"{held.name}: .*cut short"):
            read_meta_volume(read_meta_header(path))
    # Fewer voxels than there are: another size or type was meant.
    held.write_bytes(data + b"more")
    if not compressed:
        with pytest.raises(ValueError, match=r"longer than its header states: 210 bytes .* 214"):
            read_meta_volume(read_meta_header(path))


def test_compressed_voxels_that_are_damaged_or_too_many_are_told(tmp_path):
    voxels = noise("i2")
    path = tmp_path / "v.mhd"
    write_meta(path, voxels, compressed=True)
    raw = path.with_suffix(".zraw")
    data = bytearray(raw.read_bytes())
    data[len(data) // 2] ^= 255
    raw.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"v\.zraw: the compressed voxels are damaged"):
        read_meta_volume(read_meta_header(path))
    raw.write_bytes(zlib.compress(bytes(2 * voxels.nbytes)))
    write_meta_header = path.read_text().replace(f"CompressedDataSize = {len(data)}\n", "")
    path.write_text(write_meta_header)
    with pytest.raises(ValueError, match="longer than its header states"):
        read_meta_volume(read_meta_header(path))


def test_a_few_bytes_that_inflate_to_gigabytes_stop_at_what_is_stated(tmp_path, monkeypatch):
    path = tmp_path / "v.mhd"
    write_meta(path, noise("u1"), compressed=True, CompressedDataSize=None)
    squeeze = zlib.compressobj(9)
    bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(64)) + squeeze.flush()
    path.with_suffix(".zraw").write_bytes(bomb)
    made = []
    inflate = zlib.decompressobj

    class Watched:
        def __init__(self, *arguments):
            self.inner = inflate(*arguments)

        def decompress(self, data, most):
            made.append(most)
            return self.inner.decompress(data, most)

        eof = property(lambda self: self.inner.eof)

    monkeypatch.setattr(meta_image.zlib, "decompressobj", Watched)
    with pytest.raises(ValueError, match="longer than its header states"):
        read_meta_volume(read_meta_header(path))
    assert made == [3 * 5 * 7 + 1]
