"""Which secrets an executor is given, and how. Their values are never part of a specification."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from workmanager.model.names import OptionalEnvName
from workmanager.model.spec_base import Breaches, Model, Rule

MAX_SECRETS = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be a file's name: letters, digits, '.', '_', '-', no leading '.'")
    return text


def _variable_has_use(secret: "Secret") -> Breaches:
    if secret.variable and secret.as_ != "env":
        yield ("variable",), "has no meaning with as 'file'"


class Secret(Model):
    """A secret of the service's credential folder, as a file or an environment variable.

    As a file it is `$CREDENTIALS_DIRECTORY/NAME`, the way systemd hands them out.
    """

    name: Annotated[str, AfterValidator(_check_name)]
    as_: Annotated[Literal["file", "env"], Field(alias="as")] = "file"
    variable: OptionalEnvName = ""

    rules: ClassVar[tuple[Rule, ...]] = (Rule(frozenset({"variable", "as_"}), _variable_has_use),)

    @property
    def variable_name(self) -> str:
        """The environment variable it becomes: as given, else its name in capitals."""
        return self.variable or re.sub(r"[^A-Z0-9]", "_", self.name.upper())
