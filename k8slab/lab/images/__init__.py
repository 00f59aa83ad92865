"""The images of nodes and pods: what they are made of (``recipes``) and how they are built (``build``)."""

from k8slab.lab.images.builder import build
from k8slab.lab.images.events import BuildEvent, BuildState, Built
from k8slab.lab.images.recipes import PodRecipe, Recipe, catalogue
from k8slab.lab.images.store import missing, outdated, remove

__all__ = [
    "BuildEvent",
    "BuildState",
    "Built",
    "PodRecipe",
    "Recipe",
    "build",
    "catalogue",
    "missing",
    "outdated",
    "remove",
]
