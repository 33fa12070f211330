"""What a command waits for, as lines that are printed while it waits.

The command line prints them (`emotune.cli.run_command`), and the display of a run on a terminal shows the newest one.
A program that imports emotune gets them from the logger.
"""

import logging

logger = logging.getLogger("emotune.waiting")
"""The logger of these lines; its level is INFO."""


def announce(activity: str) -> None:
    """Print what is waited for, such as ``starting Ray``."""
    logger.info("%s ...", activity)
