"""MetaImage volumes as tests write them: a second, plain writer of the format."""

import zlib

import numpy as np

TYPES = {
    "i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT",
    "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}  # fmt: skip


def write_meta(
    path, voxels, *, spacing=(0.625, 0.625, 3.6), compressed=False, big_endian=False, **changed
):
    """Write [slices, H, W] voxels as `path`; `spacing` (x, y, z), `changed`: lines of the header.

    A line that is None is left out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = voxels.dtype.str[1:]
    data = voxels.astype((">" if big_endian else "<") + kind).tobytes()
    data = zlib.compress(data) if compressed else data
    local = path.suffix == ".mha"
    voxels_file = path.with_suffix(".zraw" if compressed else ".raw")
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(big_endian),
        "CompressedData": str(compressed),
        "CompressedDataSize": str(len(data)) if compressed else None,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-12.5 30 4.25",
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, voxels.shape[::-1])),
        "ElementType": TYPES[kind],
        "ElementDataFile": "LOCAL" if local else voxels_file.name,
    }
    last = {"ElementDataFile": lines.pop("ElementDataFile")}
    lines = {**lines, **changed, **last, **{k: v for k, v in changed.items() if k in last}}
    header = "".join(f"{k} = {v}\n" for k, v in lines.items() if v is not None).encode()
    path.write_bytes(header + (data if local else b""))
    if not local:
        voxels_file.write_bytes(data)


def prostate(slices=4, height=48, width=40, seed=0, dtype=np.int16):
    """An MR volume of a bright ellipsoid with noise, and its outline."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(
        np.linspace(-1, 1, slices + 2)[1:-1],
        np.linspace(-1.6, 1.6, height),
        np.linspace(-1.5, 1.5, width),
        indexing="ij",
    )
    outline = x**2 + y**2 + z**2 < 0.8
    image = 200 + 400 * outline + rng.normal(0, 25, outline.shape)
    return np.clip(image, 0, 1000).astype(dtype), outline.astype(np.int8)
