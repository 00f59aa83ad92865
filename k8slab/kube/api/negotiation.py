"""What a client sends and what it wants back: media types, bodies, compression."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import orjson

from k8slab.kube.api import errors, protobuf
from k8slab.kube.api.meta import is_too_deep

JSON: Final = "application/json"
YAML: Final = "application/yaml"
YAMLS: Final = (YAML, "text/yaml", "application/x-yaml", "application/apply-patch+yaml")
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
OFFERED: Final = (JSON, YAML)
READ: Final = (JSON, YAML, PROTOBUF)
GZIP_FROM: Final = 128 * 1024
LARGEST_BODY: Final = 3 * 1024 * 1024


@dataclass(frozen=True)
class Wanted:
    """``media`` is JSON or YAML; ``form`` is "" for the object itself, "Table", "PartialObjectMetadata" or its list."""

    media: str = JSON
    form: str = ""
    version: str = ""


@lru_cache(maxsize=256)
def accepted(header: str) -> Wanted:
    """The first form of the Accept header that we can make. Raises NotAcceptable when there is none."""
    if not header or header == JSON:
        return Wanted()
    for clause in header.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media in ("*/*", "application/*"):
            media = JSON
        if media not in OFFERED:
            continue
        form = given.get("as", "")
        if not form:
            return Wanted(media)
        if given.get("g") == "meta.k8s.io" and given.get("v") in ("v1", "v1beta1"):
            if form in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
                return Wanted(media, form.removesuffix("List"), f"meta.k8s.io/{given['v']}")
        elif given.get("g") == "apidiscovery.k8s.io" and form == "APIGroupDiscoveryList":
            return Wanted(media, form, f"apidiscovery.k8s.io/{given.get('v')}")
    raise errors.not_acceptable(OFFERED)


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def read_object(body: bytes, content_type: str) -> Any:
    """The value in a body. A missing type means JSON: kubectl sends some bodies without one. Raises 400 and 415."""
    media = media_type(content_type)
    if media in (JSON, "") or media.endswith("+json"):
        try:
            return judged(orjson.loads(body), body)
        except orjson.JSONDecodeError as trouble:
            raise errors.bad_request(f"the object provided is unrecognized (must be of type): {trouble}") from None
    if media in YAMLS:
        return read_yaml(body)
    if media == PROTOBUF:
        return protobuf.decode(body)
    raise errors.unsupported_media_type(READ)


def judged(value: Any, body: bytes) -> Any:
    """Raises BadRequest for what is nested too deep."""
    if is_too_deep(value, body):
        raise errors.too_deep()
    return value


def read_yaml(body: bytes) -> Any:
    import yaml

    try:
        # What JSON cannot say (binaries, sets, numbers without bounds) ends here; keys become strings.
        return orjson.loads(orjson.dumps(yaml.load(body, Loader=yaml_loader()), option=orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as trouble:
        raise errors.bad_request(f"error converting YAML to JSON: {trouble}") from None


@cache
def yaml_loader() -> Any:
    """The safe loader, without timestamps: they must stay the strings that they are in JSON."""
    import yaml

    loader = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    loader.yaml_implicit_resolvers = {  # type: ignore[attr-defined]
        mark: [(tag, shape) for tag, shape in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for mark, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return loader


def written(raw: bytes, media: str) -> bytes:
    """A JSON answer in the wanted media."""
    if media != YAML:
        return raw
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(orjson.loads(raw), Dumper=dumper, default_flow_style=False, sort_keys=False)
    return text.encode()


def compressed(raw: bytes, headers: Mapping[str, str]) -> bytes | None:
    """The body compressed when it is large and the client can read that, else None."""
    if len(raw) < GZIP_FROM or "gzip" not in headers.get("Accept-Encoding", ""):
        return None
    return gzip.compress(raw, compresslevel=1)
