"""What is tested of every operation alike: values, layouts, compilers, and what they compile to.

Each folder of an operation derives from these classes, says which operation it is about, and adds
what is the operation's own.
"""

from suites.ahead_of_time import AheadOfTime
from suites.compile import Compile
from suites.layouts import Layouts, any_case
from suites.transforms import Transforms
from suites.values import Values

__all__ = ["AheadOfTime", "Compile", "Layouts", "Transforms", "Values", "any_case"]
