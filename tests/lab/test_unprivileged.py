"""A user who is in the docker group and nothing else: no root, no sudo, no capability."""

from __future__ import annotations

import grp
import json
from pathlib import Path

from driving import NGINX, docker, until
from unprivileged import as_user, copy, home

__all__ = ["copy", "home"]


def test_a_user_of_the_docker_group_can_do_all_of_it(hermetic: None, home: Path, copy: Path) -> None:
    assert "docker" in {group.gr_name for group in grp.getgrall()}

    def good(*words: str) -> str:
        done = as_user(home, copy, *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    try:
        good("build")
        assert json.loads(good("run", "-o", "json"))["ready"]
        manifest = home / "nginx.yaml"
        manifest.write_text(NGINX.read_text())
        good("kubectl", "create", "-f", str(manifest))
        until("nginx runs", lambda: "Running" in good("kubectl", "get", "pods"), within=20)
        good("kill", "etcd-0")
        shown = json.loads(good("status", "-o", "json"))
        assert any(one["seen"].startswith("2 of 3") for one in shown["requirements"])
        good("kubectl", "delete", "pod", "nginx")
        good("start", "etcd")
        assert good("exec", "etcd-0", "--", "hostname").strip() == "etcd-0"
    finally:
        good("rm", "--lab", "k8s-mesos")
    assert docker("ps", "-aq", "--filter", "label=k8slab.lab") == ""
