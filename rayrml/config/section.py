"""What every section of a configuration is: a frozen model that converts nothing, and makes paths absolute."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import AfterValidator

from rayrml import storage

PathString = Annotated[str, AfterValidator(storage.absolute)]


class Section(pydantic.BaseModel):
    """A JSON object in which unknown keys are mistakes and values are not converted."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)
