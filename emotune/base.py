"""The base class of settings and records, which are read from files."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)
