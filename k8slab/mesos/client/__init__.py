"""The Mesos v1 HTTP API from the other side: finding the master, being a framework, being an executor."""

from k8slab.mesos.client.errors import MesosError

__all__ = ["MesosError"]
