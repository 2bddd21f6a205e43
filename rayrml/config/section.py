"""What every section of a configuration is: a frozen model that converts nothing, and makes paths absolute."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator

from rayrml import storage


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


PathString = Annotated[str, AfterValidator(storage.absolute)]
AnyCase = BeforeValidator(_lower)


class Section(pydantic.BaseModel):
    """A JSON object in which unknown keys are mistakes and values are not converted."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)
