"""What every mapping of the config is: typed, frozen, without unknown keys."""

from pydantic import BaseModel, ConfigDict, field_validator


class Record(BaseModel):
    """A mapping of the config: no unknown keys, no changes. Field descriptions say what is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_or_no(cls, value: object) -> object:
        """Refuse YAML's yes, no, on, off: no field wants one, and pydantic would read numbers out of them."""
        if isinstance(value, bool):
            msg = "yes or no"
            raise ValueError(msg)  # noqa: TRY004 (pydantic wants this one)
        return value
