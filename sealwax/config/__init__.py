"""Settings: declared in `table`, read in `environment`, gathered in `Settings`.

Entry points of processes call `start(name)`; commands call `load()`. Everything else takes a part
of the settings, or plain arguments.
"""

from sealwax.config.environment import child_environment, load, start
from sealwax.config.kinds import Address
from sealwax.config.settings import Settings

__all__ = ["Address", "Settings", "child_environment", "load", "start"]
