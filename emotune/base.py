"""The base class of everything a person or a disk hands us."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, and instances never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)
