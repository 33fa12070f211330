"""The kinds of hyperparameter a space may have, in ConfigSpace's own words."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from emotune.base import Settings

Int = Annotated[int, Strict()]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Choice = Annotated[bool, Strict()] | Int | Float | Annotated[str, Strict()]


class Named(Settings):
    """What all hyperparameters have."""

    name: str = Field(min_length=1)
    """The setting it stands for, for instance ``optim.lr``."""

    meta: dict[str, Any] | None = None
    """Anything; not used."""


class FloatRange(Named):
    """A stretch of numbers."""

    lower: Float
    upper: Float
    default_value: Float | None = None
    log: Annotated[bool, Strict()] = False
    """Whether the logarithm is drawn evenly."""

    @model_validator(mode="after")
    def check_the_ends(self) -> "FloatRange":
        """Refuse what no number lies in, or no logarithm."""
        check_range(self.lower, upper=self.upper, log=self.log, default=self.default_value)
        return self


class IntRange(Named):
    """A stretch of whole numbers."""

    lower: Int
    upper: Int
    default_value: Int | None = None
    log: Annotated[bool, Strict()] = False
    """Whether the logarithm is drawn evenly."""

    @model_validator(mode="after")
    def check_the_ends(self) -> "IntRange":
        """Refuse what no number lies in, or no logarithm."""
        check_range(self.lower, upper=self.upper, log=self.log, default=self.default_value)
        return self


class UniformFloat(FloatRange):
    """Every number of the range alike."""

    type: Literal["uniform_float"]


class UniformInt(IntRange):
    """Every whole number of the range alike."""

    type: Literal["uniform_int"]


class NormalFloat(FloatRange):
    """Numbers near ``mu`` more often: a prior."""

    type: Literal["normal_float"]
    mu: Float
    sigma: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def check_the_middle(self) -> "NormalFloat":
        """Refuse a bell that is not over the range."""
        check_bell(self.mu, sigma=self.sigma, lower=self.lower, upper=self.upper)
        return self


class NormalInt(IntRange):
    """Whole numbers near ``mu`` more often: a prior."""

    type: Literal["normal_int"]
    mu: Float
    sigma: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def check_the_middle(self) -> "NormalInt":
        """Refuse a bell that is not over the range."""
        check_bell(self.mu, sigma=self.sigma, lower=self.lower, upper=self.upper)
        return self


class BetaFloat(FloatRange):
    """Numbers after a beta distribution: a prior."""

    type: Literal["beta_float"]
    alpha: Annotated[float, Field(ge=1)]
    beta: Annotated[float, Field(ge=1)]


class BetaInt(IntRange):
    """Whole numbers after a beta distribution: a prior."""

    type: Literal["beta_int"]
    alpha: Annotated[float, Field(ge=1)]
    beta: Annotated[float, Field(ge=1)]


class Categorical(Named):
    """One of some values without an order."""

    type: Literal["categorical"]
    choices: list[Choice] = Field(min_length=1)
    default_value: Choice | None = None
    weights: list[Annotated[float, Field(ge=0)]] | None = None
    """How often each choice is drawn, relative to the others."""

    @model_validator(mode="after")
    def check_the_choices(self) -> "Categorical":
        """Refuse a choice given twice, a foreign default and a wrong number of weights."""
        check_distinct(self.choices, default=self.default_value)
        if self.weights is not None and len(self.weights) != len(self.choices):
            raise ValueError(f"{len(self.weights)} weights for {len(self.choices)} choices")
        return self


class Ordinal(Named):
    """One of some values that have an order."""

    type: Literal["ordinal"]
    sequence: list[Choice] = Field(min_length=1)
    default_value: Choice | None = None

    @model_validator(mode="after")
    def check_the_sequence(self) -> "Ordinal":
        """Refuse a value given twice and a foreign default."""
        check_distinct(self.sequence, default=self.default_value)
        return self


class Fixed(Named):
    """One value, always."""

    type: Literal["constant"]
    value: Choice


Hyperparameter = Annotated[
    UniformFloat | UniformInt | NormalFloat | NormalInt | BetaFloat | BetaInt | Categorical | Ordinal | Fixed,
    Field(discriminator="type"),
]


def check_range(lower: int | float, *, upper: int | float, log: bool, default: int | float | None) -> None:
    """Refuse a range that no number lies in, or no logarithm, or not the default.

    Raises:
        ValueError: It is so.
    """
    if lower >= upper:
        raise ValueError(f"the lower end {lower} must be below the upper end {upper}")
    if log and lower <= 0:
        raise ValueError(f"a logarithmic range must begin above 0, not at {lower}")
    if default is not None and not lower <= default <= upper:
        raise ValueError(f"the default {default} is outside {lower} to {upper}")


def check_bell(mu: float, *, sigma: float, lower: int | float, upper: int | float) -> None:
    """Refuse a normal distribution whose middle is outside the range, or that is next to a point.

    Raises:
        ValueError: It is so.
    """
    if not lower <= mu <= upper:
        raise ValueError(f"mu {mu} is outside {lower} to {upper}")
    if sigma < 1e-3 * (upper - lower):
        raise ValueError(f"sigma {sigma} must be at least a thousandth of the range {lower} to {upper}")


def check_distinct(values: list[Any], *, default: Any) -> None:
    """Refuse a list that says a value twice, or a default that is none of them.

    Raises:
        ValueError: It is so.
    """
    if len(set(values)) < len(values):
        raise ValueError(f"the values {values} are not all different")
    if default is not None and default not in values:
        raise ValueError(f"the default {default!r} is none of {values}")
