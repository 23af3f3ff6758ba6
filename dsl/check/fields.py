"""Fields."""


def field_faults(system):
    return []
