"""Questions that are answered and not kept."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api.kind import Kind

ACCESS: Final = "authorization.k8s.io"
IDENTITY: Final = "authentication.k8s.io"


def _review(kind: str, group: str, *, namespaced: bool = False) -> Kind:
    return Kind(
        kind=kind,
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        group=group,
        namespaced=namespaced,
        verbs=("create",),
        stored=False,
    )


REVIEWS: Final[tuple[Kind, ...]] = (
    _review("LocalSubjectAccessReview", ACCESS, namespaced=True),
    _review("SelfSubjectAccessReview", ACCESS),
    _review("SelfSubjectRulesReview", ACCESS),
    _review("SubjectAccessReview", ACCESS),
    _review("SelfSubjectReview", IDENTITY),
    _review("TokenReview", IDENTITY),
)
