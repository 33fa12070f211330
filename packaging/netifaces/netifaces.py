"""Empty stand-in for netifaces, so that emotune installs where there is no C compiler.

hpbandster names netifaces among its requirements, and its last release has no wheel. It
imports it only in its own network name server (``hpbandster.core.nameserver``), which emotune
never starts.
"""

__version__ = "0.11.0.post1"
