"""LIDC-IDRI as it is published: CT in DICOM, and what four radiologists outlined in XML."""
