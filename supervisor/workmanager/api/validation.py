"""What calls take, read by pydantic models, with every fault told."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from workmanager.errors import Fault, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

M = TypeVar("M", bound=BaseModel)


def read_model(model: type[M], value: Mapping[str, object]) -> M:
    """Read a JSON object as *model*.

    Raises:
        InvalidArgumentError: With every fault.
    """
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as exc:
        faults = [
            Fault(".".join(str(part) for part in fault["loc"]), fault["msg"])
            for fault in exc.errors(include_url=False, include_input=False)
        ]
        first = faults[0]
        raise InvalidArgumentError(f"{first.pointer}: {first.detail}", faults=faults) from exc
