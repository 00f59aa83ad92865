"""A datacenter that fits in a laptop: real etcd, ZooKeeper, Mesos and Kubernetes daemons on nodes of your own."""

__version__ = "0.1.0"
