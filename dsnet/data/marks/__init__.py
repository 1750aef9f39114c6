"""Marks as PACS, viewers and challenges hand them on: a format a file, one record."""
