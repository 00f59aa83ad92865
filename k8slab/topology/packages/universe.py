"""The packages there are."""

from __future__ import annotations

from collections.abc import Mapping

from k8slab.topology.packages.kubernetes import KUBERNETES
from k8slab.topology.packages.package import Package

UNIVERSE: Mapping[str, Package] = {package.name: package for package in (KUBERNETES,)}
