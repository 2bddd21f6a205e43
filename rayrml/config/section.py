"""What every section of a configuration is: a frozen model that converts nothing."""

from __future__ import annotations

import pydantic


class Section(pydantic.BaseModel):
    """A JSON object in which unknown keys are mistakes and values are not converted."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)
