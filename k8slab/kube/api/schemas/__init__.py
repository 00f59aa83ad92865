"""The fields of every served type, as data: what decoding, strategic patches, apply and OpenAPI are driven by."""

from k8slab.kube.api.schemas.decoding import bare, decode
from k8slab.kube.api.schemas.model import SCALARS, Field, Type, descriptions, element, types

__all__ = ["SCALARS", "Field", "Type", "bare", "decode", "descriptions", "element", "types"]
