"""One kind of DICOM object a file."""

from __future__ import annotations

from dsnet.data.dicom.slices import read_dicom_slice

__all__ = ["read_dicom_slice"]
