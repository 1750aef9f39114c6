"""One kind of DICOM object a file."""

from dsnet.data.dicom.slices import read_dicom_slice

__all__ = ["read_dicom_slice"]
