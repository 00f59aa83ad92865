"""Packages: what can be installed into a running lab, each with a machine of its own and options to set it up by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from k8slab.topology.model import CatalogueFile, DaemonFile, RoleFile
from k8slab.topology.source import parse


class Options(BaseModel):
    """A package's options. Each field is an option, by its alias, with its default and its description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _of_a_kind_that_json_has(cls, value: Any, info: ValidationInfo) -> Any:
        """What pydantic would take for another: true for the number 1, and YAML's binary for a text."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bytes):
            raise ValueError("input should be a text, not binary")
        if isinstance(value, bool) and kind in (int, float):
            raise ValueError(f"input should be a number, not {str(value).lower()}")
        return value

    def clashes(self) -> list[tuple[str, str]]:
        """Options that are well-formed and cannot be meant together: the name of one, and the sentence's end."""
        return []

    def daemons_left_out(self) -> set[str]:
        """Those of the package's daemons that are not run with these options."""
        return set()

    def notes(self) -> list[str]:
        """What whoever installs the package with these options should know."""
        return []


@dataclass(frozen=True)
class Package:
    """``file`` describes the one role that the package's machine has, and its daemons."""

    name: str
    version: str
    description: str
    options: type[Options]
    file: str

    def judged(self, given: Any) -> tuple[Options | None, list[tuple[str, str]]]:
        """The options, or what is wrong with ``given``: names of options ("" for all) and sentences' ends."""
        if not isinstance(given, Mapping):
            return None, [("", "are not a mapping of names to values.")]
        try:
            options = self.options.model_validate(given)
        except ValidationError as error:
            return None, [self._problem(item["loc"], item["type"], item["msg"]) for item in error.errors()]
        clashes = options.clashes()
        return (None, clashes) if clashes else (options, [])

    def effective(self, options: Options) -> dict[str, Any]:
        """Every option by its name, defaults included."""
        return options.model_dump(by_alias=True)

    def role(self, options: Options) -> tuple[str, RoleFile, dict[str, DaemonFile]]:
        """Its role's name, the role, and the daemons that run with these options."""
        described = _described(self.file)
        ((name, role),) = described.roles.items()
        out = options.daemons_left_out()
        kept = tuple(daemon for daemon in role.daemons if daemon not in out)
        return name, role.model_copy(update={"daemons": kept}), {one: described.daemons[one] for one in kept}

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a file of options: they stand under the package's name."""
        inner = self.options.model_json_schema(by_alias=True)
        inner.pop("title", None)
        for described in inner.get("properties", {}).values():
            described.pop("title", None)
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {self.name: inner},
            "additionalProperties": False,
        }

    def _problem(self, location: Sequence[str | int], kind: str, message: str) -> tuple[str, str]:
        option = ".".join(map(str, location))
        if kind != "extra_forbidden":
            return option, f"{_uncapitalized(message.removeprefix('Value error, ').removesuffix('.'))}."
        known = [field.alias or name for name, field in self.options.model_fields.items()]
        near = get_close_matches(option, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}."
        return option, f"there is no such option; {hint}"


@cache
def _described(file: str) -> CatalogueFile:
    text = (files("k8slab.topology.packages") / file).read_text(encoding="utf-8")
    return CatalogueFile.model_validate(parse(text, file).value)


def _uncapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]
