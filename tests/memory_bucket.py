"""The bucket in memory in which tests keep stores; conftest.py has its fixtures."""

ADDRESS = "memory://bucket/place/store"


def names(system):
    return sorted(path.rpartition("/")[2] for path in system.find("/bucket"))
