"""The same in NumPy and SciPy: read this first.

`dsnet.labeling` runs compiled code. Its stages stand here as plain arrays, one file each, and the
tests hold the compiled ones against them. Nothing in dsnet imports this package; numbers that both
need stand in the files that run.
"""
