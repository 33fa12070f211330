"""The meaning of recorded studies: settings and defaults that older versions did not have.

A journal holds its study with all settings. A setting that a newer version added is missing from an old record and
there has the meaning of the old version, which is not always the present default.
"""

from collections.abc import Mapping
from typing import Any


def complete_study(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded study with the settings that older versions did not record, at what they did.

    Before there was ``task.validation``, validation segments had the mask of the training.
    """
    base = dict(study.get("base") or {})
    task = base.get("task")
    if isinstance(task, Mapping) and task.get("kind") == "masked_values":
        base["task"] = {"validation": None, **task}
    return {**study, "base": base} if "base" in study else dict(study)
