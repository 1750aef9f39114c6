"""What the compiler makes of selective fusion's kernels."""

import suites
from operations import FUSION


class TestAheadOfTime(suites.AheadOfTime):
    operation = FUSION
