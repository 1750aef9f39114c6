"""What the compiler makes of CBAM's kernels."""

import suites
from operations import CBAM


class TestAheadOfTime(suites.AheadOfTime):
    operation = CBAM
