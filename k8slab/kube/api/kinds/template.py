"""What kinds that make pods have in common: their template, their selector, and what is printed of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import Column, Subresource
from k8slab.kube.api.kinds.pod import spec_defaults
from k8slab.kube.api.kinds.pod_rules import spec_problems
from k8slab.kube.api.meta import Object, dig
from k8slab.kube.api.selectors import requirements_of, shown_requirements

SCALE: Final = Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1")

_PERCENT: Final = re.compile(r"[0-9]+%\Z")

Prepare = Callable[[Object, Object | None], None]


def starts_with_status(**initial: Any) -> Prepare:
    """A new object begins with this status, whatever a client sends; an update leaves the status as it was."""

    def prepare(new: Object, old: Object | None) -> None:
        new["status"] = dict(initial) if old is None else old.get("status") or dict(initial)

    return prepare


def template_defaults(template: dict[str, Any] | None) -> None:
    if template is not None:
        template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        spec_defaults(template.setdefault("spec", {}))


def template_problems(
    template: Mapping[str, Any] | None, path: str, *, restart: tuple[str, ...] = ("Always",)
) -> list[FieldProblem]:
    """``restart``: the policies that pods of this owner may have."""
    if template is None:
        return [validation.required(path)]
    spec = template.get("spec") or {}
    labels = dig(template, "metadata", "labels")
    found = validation.labels(f"{path}.labels", labels)
    annotations = dig(template, "metadata", "annotations") or {}
    for key in annotations:
        found += validation.checked(f"{path}.annotations", key, validation.annotation_key)
    found += spec_problems(spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        found.append(validation.forbidden(f"{path}.spec.ephemeralContainers", why))
    policy = spec.get("restartPolicy")
    if policy not in restart and policy in ("Always", "Never", "OnFailure"):
        if len(restart) == 1:
            found.append(validation.not_supported(f"{path}.spec.restartPolicy", policy, restart))
        else:
            valid = ", ".join(f'"{one}"' for one in restart)
            found.append(validation.required(f"{path}.spec.restartPolicy", f"valid values: {valid}"))
    if restart == ("Always",) and spec.get("activeDeadlineSeconds") is not None:
        found.append(
            validation.forbidden(
                f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"
            )
        )
    return found


def selector_problems(spec: Mapping[str, Any], path: str, owner: str) -> list[FieldProblem]:
    """The selector must be there, say something, and choose the template's pods. ``owner``: "deployment"…"""
    wanted = spec.get("selector")
    if wanted is None:
        return [validation.required(f"{path}.selector")]
    found = validation.selector(f"{path}.selector", wanted)
    if not wanted.get("matchLabels") and not wanted.get("matchExpressions"):
        why = f"empty selector is invalid for {owner}"
        found.append(validation.invalid(f"{path}.selector", validation.go_selector(wanted), why))
    elif not found:
        found += mismatch(wanted, dig(spec, "template", "metadata", "labels"), f"{path}.template.metadata.labels")
    return found


def mismatch(selector: Mapping[str, Any], labels: Mapping[str, str] | None, path: str) -> list[FieldProblem]:
    if all(requirement.holds(labels or {}) for requirement in requirements_of(selector)):
        return []
    why = "`selector` does not match template `labels`"
    return [validation.invalid(path, validation.go_map(labels), why)]


def selector_is_kept(new: Object, old: Object | None) -> list[FieldProblem]:
    if old is None or new["spec"].get("selector") == old["spec"].get("selector"):
        return []
    return [validation.immutable("spec.selector", validation.go_selector(new["spec"].get("selector") or {}))]


def counts_problems(spec: Mapping[str, Any], *fields: str) -> list[FieldProblem]:
    return [problem for name in fields for problem in validation.not_negative(f"spec.{name}", spec.get(name))]


def share(path: str, value: Any, *, most: int = 100) -> list[FieldProblem]:
    """A number of pods, or a percentage of them, ``most`` at the most."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int):
        return validation.not_negative(path, value)
    if not _PERCENT.match(value):
        why = (
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex "
            "used for validation is '[0-9]+%')"
        )
        return [validation.invalid(path, value, why)]
    digits = value[:-1].lstrip("0")
    if len(digits) > len(str(most)) or int(digits or 0) > most:
        return [validation.invalid(path, value, f"must not be greater than {most}%")]
    return []


def number(name: str, *path: str) -> Column:
    """A column of a whole number; 0 where there is none."""
    return Column(name, lambda obj: dig(obj, *path) or 0, type="integer")


def pod_spec_columns(*path: str) -> tuple[Column, ...]:
    """The wide columns that tell of a template's containers; ``path``: where the pod's spec is."""

    def listed(field: str) -> Callable[[Object], str]:
        return lambda obj: ",".join(one.get(field) or "" for one in dig(obj, *path, "containers") or ())

    return (Column("Containers", listed("name"), wide=True), Column("Images", listed("image"), wide=True))


def shown_selector(obj: Object) -> str:
    selector = dig(obj, "spec", "selector")
    return shown_requirements(selector) if selector else "<none>"


TEMPLATE_COLUMNS: Final = pod_spec_columns("spec", "template", "spec")
SELECTOR: Final = Column("Selector", shown_selector, wide=True)
