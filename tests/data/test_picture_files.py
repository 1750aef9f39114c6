"""Picture files: what is read, what is refused before it is decoded, what is left out and told."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from dsnet.data.ct_image import looks_like_hu, read_ct_png, read_picture
from dsnet.data.datasets.folders import find_image_mask_pictures
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.datasets.picture_files import find_picture_files, tell_left_out
from dsnet.data.mask_values import binary_mask
from dsnet.data.picture_file import PICTURE_ENDINGS, read_pixels

DEPTHS = [np.uint8, np.uint16]
ENDINGS = [(e, d) for e in PICTURE_ENDINGS for d in DEPTHS if (e, d) != (".bmp", np.uint16)]


def noise(dtype, shape=(21, 30)):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, shape, endpoint=True).astype(dtype)


def write(path, pixels, *options):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, options)


@pytest.mark.parametrize("ending, dtype", ENDINGS)
def test_lossless_formats_are_read_as_stored(tmp_path, ending, dtype):
    pixels = noise(dtype)
    path = tmp_path / f"a{ending.upper()}"
    write(path, pixels)
    found = read_pixels(path)
    assert found.dtype == dtype and np.array_equal(found, pixels)


@pytest.mark.parametrize("ending, dtype", ENDINGS)
def test_every_cut_of_every_format_is_noticed(tmp_path, ending, dtype):
    write(tmp_path / f"whole{ending}", noise(dtype))
    data = (tmp_path / f"whole{ending}").read_bytes()
    for length in [*range(0, min(160, len(data))), *range(160, len(data), 41), len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(ValueError, match="cut: "):
            read_pixels(tmp_path / "cut")


@pytest.mark.parametrize("compression", [5, 8, 32946, 32773])
def test_compressed_tiffs_are_read_or_refused(tmp_path, compression):
    pixels = noise(np.uint16, (40, 33)) // 256
    write(tmp_path / "whole.tif", pixels, cv2.IMWRITE_TIFF_COMPRESSION, compression)
    assert np.array_equal(read_pixels(tmp_path / "whole.tif"), pixels)
    data = (tmp_path / "whole.tif").read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut.tif").write_bytes(data[:length])
        try:
            assert np.array_equal(read_pixels(tmp_path / "cut.tif"), pixels)
        except ValueError as error:
            assert "cut.tif: " in str(error)


def test_tiffs_whose_greys_a_decoder_would_change_are_refused(tmp_path):
    pixels = noise(np.uint8)
    write(tmp_path / "plain.tif", pixels, cv2.IMWRITE_TIFF_COMPRESSION, 1)
    data = bytearray((tmp_path / "plain.tif").read_bytes())
    (begin,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, begin)
    tags = {struct.unpack_from("<H", data, begin + 2 + 12 * i)[0]: i for i in range(count)}
    assert np.array_equal(read_pixels(tmp_path / "plain.tif"), pixels)
    for tag, value, told in (
        (259, 7, "compression"), (262, 0, "photometric"), (262, 3, "photometric"),
        (274, 6, "orientation"), (339, 2, "sample format"), (258, 1, "bits"), (277, 2, "samples"),
    ):  # fmt: skip
        odd = bytearray(data)
        if tag not in tags:  # in the place of a tag that may be absent
            tags[tag] = tags[296] if 296 in tags else tags[max(tags)]
        place = begin + 2 + 12 * tags[tag]
        struct.pack_into("<HHII", odd, place, tag, 3, 1, value)
        (tmp_path / "odd.tif").write_bytes(odd)
        with pytest.raises(ValueError, match=rf"odd\.tif: the TIFF .*{told}"):
            read_pixels(tmp_path / "odd.tif")
    cv2.imwritemulti(str(tmp_path / "pages.tif"), [pixels, pixels])
    with pytest.raises(ValueError, match="several pages"):
        read_pixels(tmp_path / "pages.tif")


def png(pixels_stated, data=b""):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", *pixels_stated, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_several_frames_are_refused(tmp_path):
    data = png((1, 1), zlib.compress(b"\0\0\7"))
    (tmp_path / "one.png").write_bytes(data)
    assert read_pixels(tmp_path / "one.png").tolist() == [[7]]
    frames = struct.pack(">I", 8) + b"acTL" + bytes(8)
    frames += struct.pack(">I", zlib.crc32(frames[4:]))
    (tmp_path / "two.png").write_bytes(data[:33] + frames + data[33:])
    with pytest.raises(ValueError, match=r"two\.png: the PNG holds several frames"):
        read_pixels(tmp_path / "two.png")


def bmp(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 8, *[0] * 6)


@pytest.mark.parametrize(
    "data", [png((20_000, 20_000)), b"P5\n20000 20000\n65535\n", bmp(20_000, 20_000)]
)
def test_headers_of_too_many_pixels_allocate_nothing(tmp_path, monkeypatch, data):
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *a: pytest.fail("was decoded"))
    with pytest.raises(ValueError, match=r"a\.png: the (PNG|PGM|BMP) (could not|is cut short)"):
        read_pixels(tmp_path / "a.png")


def test_the_bound_is_an_option(tmp_path):
    write(tmp_path / "a.png", noise(np.uint16, (20, 30)))
    assert read_ct_png(tmp_path / "a.png", 600).shape == (20, 30)
    with pytest.raises(ValueError, match="states 30x20 pixels, more than the 599 allowed"):
        read_ct_png(tmp_path / "a.png", 599)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere")
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(2**40)
    for name, told in (
        ("pipe", "regular file"), ("zero", "regular file"), ("folder", "Is a directory|regular"),
        ("lost", "No such file"), ("sparse", "must be of at most"), ("nu\0l", "null"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            read_picture(tmp_path / f"{name}.png")


def test_transparent_and_coloured_pictures_are_refused(tmp_path):
    grey = noise(np.uint8)
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    write(tmp_path / "opaque.png", opaque)
    assert np.array_equal(read_pixels(tmp_path / "opaque.png"), grey)
    opaque[3, 4, 3] = 254
    write(tmp_path / "seen-through.png", opaque)
    with pytest.raises(ValueError, match="must not be transparent"):
        read_pixels(tmp_path / "seen-through.png")


def test_hidden_files_and_other_endings_are_counted(tmp_path):
    for name in ("b/x.PNG", "a.tif", "B.Png"):
        write(tmp_path / f"{name}.png", noise(np.uint8))
        (tmp_path / f"{name}.png").rename(tmp_path / name)
    for name in ("._a.png", ".ipynb_checkpoints/a-checkpoint.png", "c.jpg", "d.JPG", "readme"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b/linked").symlink_to(tmp_path / "b")
    files, left_out = find_picture_files(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "B.Png",
        "a.tif",
        "b/x.PNG",
    ]
    assert left_out == {
        "hidden": 2,
        "of ending .jpg": 2,
        "without an ending": 1,
        "links to folders": 1,
    }
    assert tell_left_out(left_out) == (
        "2 hidden, 1 links to folders, 2 of ending .jpg, 1 without an ending"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_counted(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o000)
    assert find_picture_files(tmp_path)[1] == {"folders that cannot be read": 1}


def test_masks_of_other_endings_are_found(tmp_path):
    image = noise(np.uint8)
    mask = (image > 200).astype(np.uint8)
    for name in ("images/a.tif", "images/B.PNG", "images/c.png", "images/c.bmp", "images/d.png",
                 "masks/a.png", "masks/B.png", "masks/c.png", "masks/d.bmp", "masks/d.tif",
                 "masks/lone.png"):  # fmt: skip
        picture = image if name.startswith("images") else mask
        path = tmp_path / name
        write(path.with_suffix(path.suffix.lower()), picture)
        path.with_suffix(path.suffix.lower()).rename(path)
    pictures = find_image_mask_pictures(tmp_path / "images", tmp_path / "masks")
    found = {picture.key: picture for picture in pictures}
    assert sorted(found) == ["B", "a", "c.bmp", "c.png", "d"]
    for key in ("a", "B", "c.png"):
        assert np.array_equal(found[key].read().masks, [mask != 0])
    with pytest.raises(ValueError, match="no mask of that name"):
        found["c.bmp"].read()
    with pytest.raises(ValueError, match=r"several masks of that name: d\.bmp, d\.tif"):
        found["d"].read()
    assert pictures.left_out == {"masks without a picture": 1}


def test_a_name_that_is_no_utf8_has_a_key_that_can_be_stored(tmp_path):
    folder = os.fsencode(tmp_path)
    write(tmp_path / "a.png", np.eye(12, dtype=np.uint8))
    data = (tmp_path / "a.png").read_bytes()
    for kind in (b"images", b"masks"):
        os.mkdir(os.path.join(folder, kind))
        with open(os.path.join(folder, kind, b"caf\xe9.png"), "wb") as file:
            file.write(data)
    (picture,) = find_image_mask_pictures(tmp_path / "images", tmp_path / "masks")
    assert picture.key == "caf\\udce9" and picture.read().masks.sum() == 12


def test_readers_without_a_file_count(tmp_path):
    nodule = tmp_path / "P/nodule-0"
    disc = np.eye(12, dtype=np.uint8) * 255
    write(nodule / "images/slice-0.png", noise(np.uint8, (12, 12)))
    write(nodule / "mask-0/slice-0.png", disc)
    write(nodule / "mask-1/slice-0.tif", disc)
    for reader in (2, 3):
        (nodule / f"mask-{reader}").mkdir()
    write(nodule / "images/slice-1.png", noise(np.uint8, (12, 12)))
    picture, nobody = find_rater_pictures(tmp_path)
    with pytest.raises(ValueError, match=r"slice-1\.png: no mask .* any of its 4 readers"):
        nobody.read()
    crop = picture.read()
    assert crop.masks.shape == (4, 12, 12) and crop.masks.any(axis=(1, 2)).tolist() == [1, 1, 0, 0]
    assert crop.metadata == {"patient": "P", "raters": 4}
    assert crop.notes == (
        "2 of 4 readers have no mask of this slice: they count as having marked nothing",
    )


def disc(side=64, radius=9, top=255):
    y, x = np.mgrid[:side, :side]
    return (((x - side // 2) ** 2 + (y - side // 2) ** 2 < radius**2) * top).astype(np.uint16)


def test_masks_of_two_values_are_what_is_not_0():
    for top in (1, 2, 128, 255, 65535):
        mask, note = binary_mask(disc(top=top))
        assert np.array_equal(mask, disc() > 0) and note == ""
    assert not binary_mask(np.zeros((5, 5), np.uint8))[0].any()
    assert binary_mask(np.full((5, 5), 7, np.uint8))[0].all()


@pytest.mark.parametrize("top", [255, 65535])
def test_softened_masks_are_cut_at_one_half(top):
    drawn = disc()
    jpeg = cv2.imdecode(cv2.imencode(".jpg", drawn.astype(np.uint8))[1], cv2.IMREAD_GRAYSCALE)
    half = cv2.resize(drawn.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    smooth = np.clip(cv2.resize(half, (64, 64), interpolation=cv2.INTER_CUBIC), 0, 255)
    for soft in (jpeg.astype(float), smooth.astype(float)):
        pixels = np.rint(soft * (top / 255)).astype(np.uint8 if top == 255 else np.uint16)
        mask, note = binary_mask(pixels)
        assert np.array_equal(mask, soft >= 127.5) and mask.sum() == np.count_nonzero(drawn)
        assert note.endswith(f"the lesion is what is at least {(top + 1) // 2}")


def test_labels_are_lesions_with_a_note():
    labels = disc(top=1) + disc(radius=4, top=2)
    mask, note = binary_mask(labels)
    assert np.array_equal(mask, labels > 0)
    assert note == "mask has 3 values in 0..3: all but 0 are the lesion"


@pytest.mark.parametrize(
    "pixels",
    [
        disc(top=100) + disc(radius=4, top=100),  # coloured instances
        disc(top=128) + disc(radius=4, top=127),  # a trimap
        disc(top=254) + 1,
        noise(np.uint8, (64, 64)),
        np.broadcast_to(np.arange(256, dtype=np.uint8), (20, 256)),  # a ramp
        (noise(np.uint16, (64, 64)) // 512 + 30),
    ],
)
def test_other_masks_are_refused(pixels):
    with pytest.raises(ValueError, match="mask must be"):
        binary_mask(pixels)


def test_hu_looks_unlike_windowed_pictures():
    random = np.random.default_rng(1)
    hu = random.normal(-600, 300, (50, 50)) + 32768
    assert looks_like_hu(hu.astype(np.uint16))
    hu[:9] = 0  # outside of the scanner's circle
    assert looks_like_hu(hu.astype(np.uint16))
    for picture in (noise(np.uint16), noise(np.uint8), np.full((9, 9), 32768, np.uint16)):
        assert not looks_like_hu(picture)
