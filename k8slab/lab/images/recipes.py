"""What every image is made of, as data.

A ``Recipe`` is a node's image: Debian packages and shell steps upon the base, then the project's own Python package as
the last, thin layer. A ``PodRecipe`` is an image that pods run: only the files its programs need, on an empty root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def _mapping(**pairs: str) -> Mapping[str, str]:
    return MappingProxyType(pairs)


BASE = "k8slab/base"
POD_IMAGES_DIRECTORY = "/usr/share/k8slab/images"


@dataclass(frozen=True)
class Recipe:
    """A node's image.

    ``optional`` packages are installed where the distribution has them (Debian 13 splits what Debian 12 ships as one).
    ``parts`` names a folder beside this module that is laid over the root before the steps run. ``steps`` are shell
    lines that run in a container of the image; each one is a step of the build's progress. ``pod_images`` are names of
    pod recipes that the image carries for its own engine. ``python`` adds the daemons' libraries and the project.
    """

    name: str
    summary: str
    parent: str = BASE
    packages: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    parts: str = ""
    steps: tuple[str, ...] = ()
    pod_images: tuple[str, ...] = ()
    python: bool = True
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ("/usr/lib/k8slab/init",)
    environment: Mapping[str, str] = field(default_factory=_mapping)
    labels: Mapping[str, str] = field(default_factory=_mapping)


@dataclass(frozen=True)
class PodRecipe:
    """An image that pods run. ``name`` carries its tag.

    ``binaries`` are taken with every library they load, ``paths`` as they are; ``links`` maps a link to its target.
    """

    name: str
    summary: str
    packages: tuple[str, ...]
    binaries: tuple[str, ...]
    paths: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=_mapping)
    shell: bool = False
    parts: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(
        default_factory=lambda: _mapping(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    )
    ports: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"


BASE_PACKAGES = (
    "ca-certificates",
    "curl",
    "iproute2",
    "iptables",
    "iputils-ping",
    "procps",
    "python3",
    "python3-minimal",
    "s6",
)

PAUSE = PodRecipe(
    name="k8slab/pause:1",
    summary="holds a pod's namespaces and reaps its orphans",
    packages=("catatonit",),
    binaries=("/usr/bin/catatonit",),
    links=MappingProxyType({"/pause": "/usr/bin/catatonit"}),
    entrypoint=("/pause", "-P"),
)

NGINX = PodRecipe(
    name="k8slab/nginx:1.22",
    summary="Debian's nginx with a page that says which pod served it",
    packages=("nginx", "busybox"),
    binaries=("/usr/sbin/nginx",),
    paths=("/etc/nginx/mime.types",),
    shell=True,
    parts="nginx",
    command=("/usr/sbin/nginx", "-g", "daemon off;"),
    ports=("80/tcp",),
)

REDIS = PodRecipe(
    name="k8slab/redis:7",
    summary="Debian's Redis, as a master or (redis-slave) as a replica of the service redismaster",
    packages=("redis-server", "busybox"),
    binaries=("/usr/bin/redis-server", "/usr/bin/redis-cli"),
    shell=True,
    parts="redis",
    command=("redis-server", "/etc/redis/redis.conf"),
    ports=("6379/tcp",),
)

GUESTBOOK = PodRecipe(
    name="k8slab/guestbook:1",
    summary="the guestbook's frontend: a page, and the requests that it makes, over Redis",
    packages=("redis-tools", "busybox", "curl", "catatonit"),
    binaries=("/usr/bin/redis-cli", "/usr/bin/curl", "/usr/bin/catatonit"),
    shell=True,
    parts="guestbook",
    # A web server that is a container's first process hears no SIGTERM of its own accord.
    entrypoint=("/usr/bin/catatonit", "--"),
    command=("httpd", "-f", "-vv", "-p", "80", "-h", "/usr/share/guestbook", "-c", "/etc/httpd.conf"),
    ports=("80/tcp",),
)

CATALOGUE: tuple[Recipe | PodRecipe, ...] = (
    Recipe(
        name=BASE,
        summary="Debian with a supervisor, network tools, Python and the daemons' libraries",
        parent="",
        packages=BASE_PACKAGES,
    ),
    PAUSE,
    NGINX,
    REDIS,
    GUESTBOOK,
    Recipe(
        name="k8slab/mesos-master",
        summary="a Mesos master and the ZooKeeper that elects it",
        packages=("openjdk-17-jre-headless", "libzookeeper-java", "libslf4j-java"),
        parts="mesos-master",
        steps=("/usr/lib/k8slab/zookeeper-prepare",),
    ),
    Recipe(
        name="k8slab/minion",
        summary="a Mesos agent with a Docker Engine of its own",
        packages=("docker.io", "containerd", "runc"),
        optional=("docker-cli",),
        steps=("rm -f /usr/bin/containerd-stress /etc/init.d/docker /etc/default/docker",),
        pod_images=(PAUSE.name, NGINX.name, REDIS.name, GUESTBOOK.name),
    ),
    Recipe(
        name="k8slab/kubernetes-mesos",
        summary="the Kubernetes framework: API server, scheduler, controller manager, kubectl, an etcd",
        # With etcd, for hosts that have the whole control plane, and for a framework that brings its own.
        packages=("kubernetes-client", "etcd-server", "etcd-client"),
        environment=_mapping(ETCDCTL_API="3"),
    ),
    Recipe(
        name="k8slab/etcd",
        summary="an etcd member and etcdctl",
        packages=("etcd-server", "etcd-client"),
        environment=_mapping(ETCDCTL_API="3"),
    ),
    Recipe(
        name="k8slab/switch",
        summary="plugs the wires into the nodes",
        # For engines that speak nftables themselves instead of iptables.
        packages=("nftables",),
        command=("/usr/local/bin/k8slab-switch",),
    ),
)


def catalogue() -> tuple[Recipe | PodRecipe, ...]:
    """Every image there is a recipe for, each after those it needs."""
    return CATALOGUE
