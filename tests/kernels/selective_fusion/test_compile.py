"""Selective fusion's operators under torch's compilers."""

import suites
from operations import FUSION


class TestCompile(suites.Compile):
    operation = FUSION
