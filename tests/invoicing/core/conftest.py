"""Property tests of the core run the same way every time, and never fail because the machine is busy."""

from hypothesis import settings

settings.register_profile("core", settings.get_profile("house"), derandomize=True, database=None)
settings.load_profile("core")
