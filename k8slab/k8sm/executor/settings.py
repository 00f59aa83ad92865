"""The flags of `km executor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from k8slab.daemon import LAST_PORT, FlagParser, whole
from k8slab.kube.durations import flag_seconds


@dataclass(frozen=True)
class Settings:
    """Empty ``address`` and ``hostname``: those of the agent. ``suicide_timeout``: seconds, 0 for never;
    ``launch_grace`` and ``node_status_update_frequency``: seconds."""

    api_servers: str
    address: str
    port: int
    hostname: str
    cluster_dns: str
    cluster_domain: str
    resolv_conf: Path
    manifests: Path | None
    docker_endpoint: str
    images: Path
    root: Path
    infra_image: str
    suicide_timeout: float
    launch_grace: float
    node_status_update_frequency: float
    verbosity: int


def settings(argv: Sequence[str]) -> Settings:
    """Raises SystemExit(2) with one line for flags that are wrong."""
    parser = FlagParser(
        prog="km executor", allow_abbrev=False, description="Runs a minion's pods; started by a Mesos agent."
    )
    parser.flag("api-servers", "the API servers, separated by commas", required=True)
    parser.flag("address", "the address to serve the kubelet's API on; the agent's by default", default="")
    parser.flag("port", "the port of the kubelet's API", default="10250")
    parser.flag("hostname-override", "the node's name; the agent's host name by default", default="")
    parser.flag("cluster-dns", "the cluster's DNS server", default="")
    parser.flag("cluster-domain", "the cluster's DNS domain", default="cluster.local")
    parser.flag("resolv-conf", "the resolver of pods that do not ask the cluster", default="/etc/resolv.conf")
    parser.flag("pod-manifest-path", "a directory of pods that run here by themselves", default="")
    parser.flag("docker-endpoint", "the node's Docker Engine", default="unix:///var/run/docker.sock")
    parser.flag("preloaded-images", "the directory of preloaded images", default="/usr/share/k8slab/images")
    parser.flag("root-dir", "where the pods' files are", default="/var/lib/kubelet")
    parser.flag("pod-infra-container-image", "the image of the pause container", default="k8slab/pause:1")
    parser.flag("suicide-timeout", "end after so long without pods; 0 never", default="20m0s")
    parser.flag("launch-grace-period", "a launched pod must be bound within this time", default="5m0s")
    parser.flag("node-status-update-frequency", "how often the node says that it lives", default="10s")
    parser.flag("v", "how much to log", default="0")
    flags = parser.parse_args(list(argv))
    try:
        return Settings(
            api_servers=flags.api_servers,
            address=flags.address,
            port=whole("--port", flags.port, 1, LAST_PORT),
            hostname=flags.hostname_override,
            cluster_dns=flags.cluster_dns,
            cluster_domain=flags.cluster_domain,
            resolv_conf=Path(flags.resolv_conf),
            manifests=Path(flags.pod_manifest_path) if flags.pod_manifest_path else None,
            docker_endpoint=flags.docker_endpoint,
            images=Path(flags.preloaded_images),
            root=Path(flags.root_dir),
            infra_image=flags.pod_infra_container_image,
            suicide_timeout=flag_seconds("--suicide-timeout", flags.suicide_timeout),
            launch_grace=flag_seconds("--launch-grace-period", flags.launch_grace_period),
            node_status_update_frequency=flag_seconds(
                "--node-status-update-frequency", flags.node_status_update_frequency, some=True
            ),
            verbosity=whole("--v", flags.v),
        )
    except ValueError as error:
        parser.error(str(error))
        raise
