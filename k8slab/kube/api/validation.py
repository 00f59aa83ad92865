"""Rules that many kinds share, with the original's sentences: each returns what is wrong, nothing when all is well."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.meta import Object, parse_quantity

_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_LABEL_1035: Final = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_QUALIFIED: Final = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_LINK_LOCAL_MULTICAST: Final = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))
_LABEL_VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")
_URL_PATH: Final = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z")
_URL_PATH_RULE: Final = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"
LONGEST_ANNOTATIONS: Final = 256 * 1024

SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_RULE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
QUALIFIED_RULE: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def subdomain(name: str) -> list[str]:
    return _shaped(name, _SUBDOMAIN, 253, SUBDOMAIN_RULE)


def label(name: str) -> list[str]:
    return _shaped(name, _LABEL, 63, LABEL_RULE)


def label_1035(name: str) -> list[str]:
    return _shaped(name, _LABEL_1035, 63, LABEL_1035_RULE)


def path_segment(name: str) -> list[str]:
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{mark}'" for mark in ("/", "%") if mark in name]


def _shaped(name: str, shape: re.Pattern[str], longest: int, rule: str) -> list[str]:
    found = [] if len(name) <= longest else [f"must be no more than {longest} characters"]
    return found if shape.match(name) else [*found, rule]


def required(field: str, why: str = "") -> FieldProblem:
    return FieldProblem(field, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def invalid(field: str, value: Any, why: str) -> FieldProblem:
    return FieldProblem(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {why}")


def checked(field: str, value: str, complaints: Callable[[str], list[str]]) -> list[FieldProblem]:
    """Invalid once for each thing that ``complaints`` says about the value."""
    return [invalid(field, value, why) for why in complaints(value)]


def forbidden(field: str, why: str) -> FieldProblem:
    return FieldProblem(field, "FieldValueForbidden", f"Forbidden: {why}")


def duplicate(field: str, value: Any) -> FieldProblem:
    return FieldProblem(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def missing(field: str, value: Any) -> FieldProblem:
    return FieldProblem(field, "FieldValueNotFound", f"Not found: {_shown(value)}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldProblem:
    known = ", ".join(f'"{one}"' for one in sorted(supported))
    return FieldProblem(
        field, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {known}"
    )


def too_many(field: str, listed: Sized, most: int) -> list[FieldProblem]:
    count = len(listed)
    if count <= most:
        return []
    return [FieldProblem(field, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")]


def too_long(field: str, most: int) -> FieldProblem:
    return FieldProblem(field, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")


def immutable(field: str, value: Any) -> FieldProblem:
    return invalid(field, value, "field is immutable")


class Literal(str):
    """A value that a message shows as it is written, such as a structure in Go's notation."""


def go_map(values: Mapping[str, Any] | None) -> Literal:
    inside = ", ".join(f'"{key}":"{value}"' for key, value in sorted((values or {}).items()))
    return Literal(f"map[string]string{{{inside}}}" if values is not None else "map[string]string(nil)")


def go_selector(selector: Mapping[str, Any]) -> Literal:
    terms = selector.get("matchExpressions")
    shown = "[]v1.LabelSelectorRequirement(nil)"
    if terms:
        each = (
            f'v1.LabelSelectorRequirement{{Key:"{one.get("key") or ""}", Operator:"{one.get("operator") or ""}", '
            f"Values:{go_strings(one.get('values'))}}}"
            for one in terms
        )
        shown = f"[]v1.LabelSelectorRequirement{{{', '.join(each)}}}"
    return Literal(f"v1.LabelSelector{{MatchLabels:{go_map(selector.get('matchLabels'))}, MatchExpressions:{shown}}}")


def go_strings(values: Sequence[str] | None) -> Literal:
    return Literal("[]string(nil)" if values is None else "[]string{" + ", ".join(f'"{one}"' for one in values) + "}")


def _shown(value: Any) -> str:
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}":{_shown(item)}' for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "null" if value is None else str(value)


def not_negative(field: str, value: int | None) -> list[FieldProblem]:
    return [] if value is None or value >= 0 else [invalid(field, value, "must be greater than or equal to 0")]


def quantity(field: str, value: Any, *, positive: bool = False) -> list[FieldProblem]:
    amount = parse_quantity(value)
    if amount is None:
        rule = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        return [invalid(field, value, rule)]
    if positive and amount <= 0:
        return [invalid(field, value, "must be greater than zero")]
    return [] if amount >= 0 else [invalid(field, value, "must be greater than or equal to 0")]


def selector(field: str, wanted: Mapping[str, Any]) -> list[FieldProblem]:
    """A label selector's own form."""
    found = labels(f"{field}.matchLabels", wanted.get("matchLabels"))
    for index, term in enumerate(wanted.get("matchExpressions") or ()):
        path = f"{field}.matchExpressions[{index}]"
        key, operator, values = term.get("key") or "", term.get("operator") or "", term.get("values") or ()
        if operator in ("In", "NotIn") and not values:
            found.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden(f"{path}.values", why))
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            found.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
        found += checked(f"{path}.key", key, qualified_name)
        for place, value in enumerate(values):
            found += checked(f"{path}.values[{place}]", value, label_value)
    return found


def one_of(field: str, value: Any, supported: Iterable[str]) -> list[FieldProblem]:
    return [] if value in supported else [not_supported(field, value, supported)]


def port(field: str, value: Any) -> list[FieldProblem]:
    if isinstance(value, int) and 0 < value < 65536:
        return []
    return [invalid(field, value, "must be between 1 and 65535, inclusive")]


def port_name(field: str, value: str) -> list[FieldProblem]:
    """An IANA service name, as a port may be called."""
    rules = [
        (len(value) <= 15, "must be no more than 15 characters"),
        (re.fullmatch(r"[-a-z0-9]+", value), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        (re.search(r"[a-z]", value), "must contain at least one letter (a-z)"),
        ("--" not in value, "must not contain consecutive hyphens"),
        (not value.startswith("-") and not value.endswith("-"), "must not begin or end with a hyphen"),
    ]
    return [invalid(field, value, why) for holds, why in rules if not holds]


def address(field: str, value: Any) -> list[FieldProblem]:
    if _parsed(value) is None:
        return [invalid(field, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    return []


def family_address(field: str, value: str, family: str) -> list[FieldProblem]:
    """An address of one family, "IPv4" or "IPv6"."""
    found = _parsed(value)
    mapped = isinstance(found, IPv6Address) and found.ipv4_mapped is not None
    if found is None or mapped or f"IPv{found.version}" != family:
        return [invalid(field, value, f"must be a valid {family} address")]
    return []


def reachable_address(field: str, value: str) -> list[FieldProblem]:
    """An address that others can reach, as an endpoint's must be.

    The loopback range, which the original refuses, is let in: a server that listens there alone publishes itself so.
    """
    found = _parsed(value)
    if found is None:
        return [invalid(field, value, "must be a valid IP address")]
    rules = (
        (found.is_unspecified, "may not be unspecified (0.0.0.0 or ::)"),
        (found.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            any(found in net for net in _LINK_LOCAL_MULTICAST if net.version == found.version),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    )
    return [invalid(field, value, why) for holds, why in rules if holds]


def _parsed(value: Any) -> IPv4Address | IPv6Address | None:
    try:
        # A zone ("%eth0") means something on one machine only; the original knows none.
        return ip_address(value) if "%" not in value else None
    except ValueError:
        return None


def domain(field: str, value: str) -> list[FieldProblem]:
    """A fully qualified domain name."""
    if not value:
        return [required(field)]
    name = value.removesuffix(".")
    if wrong := subdomain(name):
        return [invalid(field, name, ",".join(wrong))]
    if "." not in name:
        return [invalid(field, name, "should be a domain with at least two segments separated by dots")]
    return [problem for part in name.split(".") for problem in checked(field, part, label)]


def domain_path(field: str, value: str) -> list[FieldProblem]:
    """A domain and a path within it, such as "acme.io/foo"."""
    if not value:
        return [required(field)]
    host, _, path = value.partition("/")
    if not host or not path:
        return [invalid(field, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found = checked(field, host, subdomain)
    if not _URL_PATH.match(path):
        found.append(invalid(field, path, _URL_PATH_RULE))
    return found


def network(field: str, value: str) -> list[FieldProblem]:
    try:
        ip_network(value, strict=False)
        if value.partition("/")[2].isdigit():
            return []
    except ValueError:
        pass
    return [invalid(field, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]


def labels(field: str, values: Mapping[str, Any] | None) -> list[FieldProblem]:
    found = []
    for key, value in (values or {}).items():
        found += checked(field, key, qualified_name)
        found += checked(field, value, label_value)
    return found


def label_value(value: str) -> list[str]:
    return _shaped(value, _LABEL_VALUE, 63, LABEL_VALUE_RULE)


def qualified_name(key: str) -> list[str]:
    prefix, slash, name = key.rpartition("/")
    found = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {why}" for why in subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if not _QUALIFIED.match(name):
        found.append(QUALIFIED_RULE)
    return found


def annotation_key(key: str) -> list[str]:
    return qualified_name(key.lower())


def metadata(obj: Object, old: Object | None, name_problems: Any, *, namespaced: bool) -> list[FieldProblem]:
    meta = obj["metadata"]
    found = []
    if meta.get("generateName"):
        stem = meta["generateName"]
        tried = stem[:-1] + "a" if stem.endswith("-") else stem
        found += [invalid("metadata.generateName", stem, why) for why in name_problems(tried)]
    if not meta.get("name"):
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        found += checked("metadata.name", meta["name"], name_problems)
    if namespaced and not meta.get("namespace"):
        found.append(required("metadata.namespace"))
    found += labels("metadata.labels", meta.get("labels"))
    annotations = meta.get("annotations") or {}
    for key in annotations:
        found += checked("metadata.annotations", key, annotation_key)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > LONGEST_ANNOTATIONS:
        found.append(too_long("metadata.annotations", LONGEST_ANNOTATIONS))
    for index, owner in enumerate(meta.get("ownerReferences") or ()):
        path = f"metadata.ownerReferences[{index}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                found.append(invalid(f"{path}.{field}", owner.get(field) or "", f"{field} must not be empty"))
    controllers = [
        f"{one.get('kind')}/{one.get('name')}" for one in meta.get("ownerReferences") or () if one.get("controller")
    ]
    if len(controllers) > 1:
        said = 'Only one reference can have Controller set to true. Found "true" in references for'
        shown = Literal("[]v1.OwnerReference{…}")
        found.append(invalid("metadata.ownerReferences", shown, f"{said} {controllers[0]} and {controllers[1]}"))
    for finalizer in meta.get("finalizers") or ():
        found += checked("metadata.finalizers", finalizer, qualified_name)
    if old is not None:
        for field in ("name", "namespace", "uid", "creationTimestamp"):
            if meta.get(field) != old["metadata"].get(field):
                found.append(immutable(f"metadata.{field}", meta.get(field)))
    return found
