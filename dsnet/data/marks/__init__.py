"""Marks as PACS, viewers and challenges hand them on: a format a file, one record."""

from __future__ import annotations

from dsnet.data.marks.find import find_marks, read_marks
from dsnet.data.marks.record import FoundMark, FoundMarks

__all__ = ["FoundMark", "FoundMarks", "find_marks", "read_marks"]
