"""The guestbook upon a framework that was installed as a package, whose pods find each other by name."""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import ROOT, k8slab, until

GUESTBOOK = ROOT / "examples" / "guestbook"
PODS = ("redis-master", "redis-slave-controller", "frontend-controller")
SERVICES = ("redis-master-service", "redis-slave-service", "frontend-service")


def kubectl(*words: str) -> str:
    return k8slab("kubectl", "--lab", "dcos", *words).out


@pytest.fixture
def dcos(tmp_path: Path) -> Iterator[None]:
    os.environ.setdefault("K8SLAB_SET", "egress=false")
    k8slab("rm", "--lab", "dcos")
    options = tmp_path / "options"
    options.write_text('{ "kubernetes": { "enable-dns": "1" } }')
    try:
        k8slab("run", "dcos")
        k8slab("package", "install", "kubernetes", "--lab", "dcos", "--options", str(options))
        yield
    finally:
        k8slab("rm", "--lab", "dcos")


@pytest.mark.timeout(600)
def test_the_guestbooks_pods_find_services_that_are_younger_than_they(dcos: None, tmp_path: Path) -> None:
    for name in PODS:
        file = tmp_path / f"{name}.json"
        file.write_text((GUESTBOOK / f"{name}.json").read_text().replace('"value": "env"', '"value": "dns"'))
        kubectl("create", "-f", str(file))
    frontends = ("get", "pods", "-l", "name=frontend")
    until("three frontends run", lambda: kubectl(*frontends).count(" Running ") == 3, within=90)
    # A variable that says where they are would come too late for these; slaves wait for their master's name.
    for name in SERVICES:
        kubectl("create", "-f", str(GUESTBOOK / f"{name}.json"))
    until("six pods run", lambda: kubectl("get", "pods").count("1/1     Running") == 6, within=90)
    frontend = kubectl(*frontends, "-o", "name").splitlines()[0]

    def asked(**words: str) -> str:
        page = f"http://localhost/guestbook.php?{urllib.parse.urlencode({'key': 'messages', **words})}"
        return kubectl("exec", frontend, "--", "curl", "-s", page)

    until("it is written", lambda: "Updated" in asked(cmd="set", value="hello"), within=60)
    until("it is read from a slave", lambda: json.loads(asked(cmd="get")) == {"data": "hello"}, within=30)
    assert kubectl("exec", frontend, "--", "sh", "-c", "env").count("REDISMASTER_SERVICE_HOST") == 0
