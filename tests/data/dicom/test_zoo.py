"""CT files of many kinds: HU as SimpleITK or a decompressed twin has them, or a plain refusal."""

import numpy as np
import pytest

from dsnet.data.dicom.slices import read_dicom
from shared_data import shared

pytest.importorskip("pydicom")
pytest.importorskip("pylibjpeg")
pytest.importorskip("jpeg_ls")

SYNTAXES, FRAMES = "one_slice_14_syntaxes", "fragments_and_frames"
OF_CTIMAGE = f"{SYNTAXES}/CTImage.dcm_"
SKULL_CIRCLE = "55772 pixels below -1500 HU are not called padding: left as they are"
PADDED = "55772 pixels of padding became air (-1000 HU)"
# What cannot be read, with its message.
REFUSED = {
    f"{OF_CTIMAGE}JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": "transfer syntax"
    " JPEG Full Progression, Non-Hierarchical (Process 10 and 12) (1.2.840.10008.1.2.4.55) is none"
    " that is read",
    f"{OF_CTIMAGE}JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": "transfer syntax JPEG"
    " Spectral Selection, Non-Hierarchical (Process 6 and 8) (1.2.840.10008.1.2.4.53) is none that"
    " is read",
    "others/gdcm-CR-MONO1-10-chest.dcm": "must be a CT image, got modality CR of class"
    " 1.2.840.10008.5.1.4.1.1.1",
    # FUJI: 8 bits, no rescale, and the class of a secondary capture.
    "others/gdcm-CT-MONO2-8-abdo.dcm": "must be a CT image, got modality CT of class"
    " 1.2.840.10008.5.1.4.1.1.7",
    # SimpleITK gives -33792..31743.
    "pydicom/JPEGLossless_1s_1f_i_16_16_bad.dcm": "its values begin at -33792: these are not HU",
    "pydicom/MAROTECH_CT_JP2Lossy.dcm": "must be a CT slice, got a localizer",
    # SimpleITK gives 0..65535: the header says no sign, and the values have one.
    "pydicom/TOSHIBA_J2K_SIZ1_PixRep0.dcm": "its values cannot be HU: stored without a sign, and"
    " no rescale takes them below 0",
}
# SimpleITK reads no JPEG-LS of several frames in fragments; twins that are lossless, or all but.
TWINS = {
    f"{FRAMES}/CT0012.fragmented_no_bot_jpeg_ls.80.dcm": 0,
    f"{FRAMES}/CT0012.fragmented_no_bot_jpeg_ls.81.dcm": 2,
}
# What decoders of lossy JPEG may differ by: one step of the stored values, times the slope.
STEPS = {
    f"{FRAMES}/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": 1,
    f"{OF_CTIMAGE}JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm": 32.1217,
    f"{OF_CTIMAGE}JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": 2.0003,
}
# Lossy codes of CTImage.dcm, and how far from it they are, as its publishers tell.
LOSSY = {
    "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm": 5,
    "JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm": 1,
    "JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm": 64.5,
    "JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": 36,
}
LOSSLESS = (
    "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
    "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm",
    "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
    "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm",
    "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm",
    "LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm",
    "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm",
    "RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm",
)
# What is told of each file besides; all others have nothing to tell.
NOTES = {
    **{f"{OF_CTIMAGE}{name}": [SKULL_CIRCLE] for name in (*LOSSLESS, *LOSSY)},
    f"{SYNTAXES}/CTImage.dcm": [SKULL_CIRCLE],
    **{
        f"{FRAMES}/CT1_UNC.{name}.dcm": [PADDED]
        for name in (
            "explicit_big_endian", "explicit_little_endian", "implicit_little_endian",
            "fragmented_bot_jpeg_ls.80", "fragmented_no_bot_jpeg_ls.80",
            "not_fragmented_bot_jpeg_ls.80", "not_fragmented_no_bot_jpeg_ls.80",
        )
    },
    # Stored values 1010 above those of its twins, under the same rescale.
    f"{FRAMES}/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": [
        "its values begin at -13 HU: there is neither air nor fat in it"
    ],
    "pydicom/693_J2KR.dcm": [PADDED],
    "pydicom/693_UNCR.dcm": [PADDED],
    # Lossy: the padding's value is spread.
    "pydicom/693_J2KI.dcm": ["56678 pixels of padding became air (-1000 HU)"],
    "pydicom/CT1_JLSN.dcm": [PADDED],
    "pydicom/J2K_pixelrep_mismatch.dcm": [SKULL_CIRCLE.replace("55772", "56252")],
    "pydicom/TOSHIBA_J2K_OpenJPEGv2Regression.dcm": [SKULL_CIRCLE.replace("55772", "56252")],
    **{
        f"series_ge_16x16/{name}": [
            f"its values begin at {low} HU: there is neither air nor fat in it"
        ]
        for name, low in (("7136", 77), ("7166", 991), ("7196", 498))
    },
    **{
        f"series_tilt_ge_18.5_813892/{number}.dcm": [PADDED.replace("55772", "62180")]
        for number in range(12, 18)
    },
}  # fmt: skip


def zoo():
    place = shared("dicom_ct_zoo")
    files = sorted(p for p in place.rglob("*") if p.is_file() and p.suffix not in (".csv", ".md"))
    return place, files


def read_frames(path):
    """Each frame, by its number where there are several."""
    try:
        return [read_dicom(path)]
    except ValueError as error:
        if "must be one grey frame, got 2 of 512x512" not in str(error):
            raise
    return [read_dicom(path, frame=frame) for frame in (1, 2)]


def by_simpleitk(path):
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float64)
    except RuntimeError:
        return None


def check(name, path, against):
    for found, other in zip(read_frames(path), against, strict=True):
        assert found.hu.dtype == np.float32
        padding = found.hu != other
        # Where nothing was measured it is air, and far below air there.
        padding &= (found.hu == -1000) & (other < -1400)
        step = STEPS.get(name, TWINS.get(name, 0))
        assert np.abs(found.hu - other)[~padding].max() <= (step or 0), name
        told = sum(int(n.split()[0]) for n in found.notes if "became air" in n)
        assert padding.sum() == told, name


def test_every_file_of_the_zoo_has_its_hu_or_is_refused():
    pytest.importorskip("SimpleITK")
    place, files = zoo()
    assert len(files) == 91
    refused = {}
    for path in files:
        name = path.relative_to(place).as_posix()
        try:
            first = read_frames(path)[0]
        except ValueError as error:
            refused[name] = str(error).removeprefix(f"{path}: ")
            continue
        assert list(first.notes) == NOTES.get(name, []), name
        against = by_simpleitk(path)
        assert (against is None) == (name in TWINS), name
        if name in TWINS:
            twin = place / FRAMES / "CT0012.explicit_little_endian.dcm"
            against = by_simpleitk(twin)
        check(name, path, against)
    assert refused == REFUSED


def test_the_syntaxes_of_one_slice_are_one_slice():
    place, _ = zoo()
    plain = read_dicom(place / SYNTAXES / "CTImage.dcm").hu
    assert (plain.min(), plain.max(), plain.shape) == (-3024, 1378, (512, 512))
    for name in LOSSLESS:
        assert np.array_equal(read_dicom(place / f"{OF_CTIMAGE}{name}").hu, plain), name
    for name, most in LOSSY.items():
        far = np.abs(read_dicom(place / f"{OF_CTIMAGE}{name}").hu - plain).max()
        assert 0 < far <= most, name


def test_two_frames_have_the_rescale_of_their_groups():
    place, _ = zoo()
    frames = [p for p in sorted((place / FRAMES).glob("CT0012.*")) if ".51" not in p.name]
    assert len(frames) == 9
    for path in frames:
        first, second = read_frames(path)
        least = [(f.hu.min(), f.hu.max()) for f in (first, second)]
        lossy = ".81" in path.name
        assert least == [(-1024, 174 if lossy else 172), (-1024, 149 if lossy else 148)], path
        assert first.spacing == second.spacing == pytest.approx((0.388672, 0.388672))


OTHERS = (
    ("dicom", "dcmqi", "ct3slice_01.dcm"), ("dicom", "dcmqi", "ct3slice_03.dcm"),
    ("dicom", "highdicom", "ct_image.dcm"), ("dicom", "lungmask_ct", "0.dcm"),
    ("measurements", "aim_v3_two_readers", "ct", "0022Baseline.dcm"),
    ("measurements", "aim_v3_two_readers", "ct", "0025Followup.dcm"),
    ("volumes", "nsclc_lung1_001", "dicom_8_slices", "1-057.dcm"),
    ("volumes", "nsclc_lung1_001", "dicom_8_slices", "1-064.dcm"),
)  # fmt: skip


@pytest.mark.parametrize("parts", OTHERS, ids="/".join)
def test_other_ct_files_have_the_hu_of_simpleitk(parts):
    pytest.importorskip("SimpleITK")
    path = shared(*parts)
    check("/".join(parts), path, by_simpleitk(path))


def test_padding_without_a_sign_in_values_with_one():
    found = read_dicom(shared("measurements", "aim_v3_two_readers", "ct", "0022Baseline.dcm"))
    assert found.notes == (PADDED,) and found.hu.min() == -1024


def test_slices_of_a_volume_are_those_of_its_nifti():
    nibabel = pytest.importorskip("nibabel")
    from dsnet.data.dicom.index import index_series, read_slice

    folder = shared("volumes", "nsclc_lung1_001")
    volume = np.asarray(nibabel.load(folder / "ct.nii.gz").dataobj)
    index = index_series(folder / "dicom_8_slices")
    (series,) = index
    assert index.order(series).notes == () and index.order(series).step == 3
    slices = [read_slice(entry).hu for entry in index.series(series)]
    # The crop of the volume, found by its first row of the first slice that matches somewhere.
    flat = [volume[..., k].T[::flip] for k in range(volume.shape[2]) for flip in (1, -1)]
    hits = sum(
        any(_contains(hu, crop) for crop in flat if crop.max() > 0)
        for hu in (slices[0], slices[-1])
    )
    assert hits == 2


def _contains(hu, crop):
    """Whether a crop lies somewhere in a slice, by its most uncommon value first."""
    height, width = crop.shape
    at = np.unravel_index(np.argmax(crop), crop.shape)
    for row, column in np.argwhere(hu == crop[at]):
        top, left = row - at[0], column - at[1]
        if top >= 0 and left >= 0:
            cut = hu[top : top + height, left : left + width]
            if cut.shape == crop.shape and np.array_equal(cut, crop):
                return True
    return False
