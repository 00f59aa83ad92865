"""The images, built on the real engine: what is in them, what is not, and what a failing build leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import docker.errors
import pytest

import k8slab
from k8slab.errors import BuildFailed, PreconditionMissing
from k8slab.lab import images
from k8slab.lab.images import Built, PodRecipe, Recipe, files, store
from k8slab.lab.images.recipes import BASE, CATALOGUE
from k8slab.lab.images.workshop import BUILD

PREFIX = "k8slab-imagetest"
Recipes = Callable[..., tuple[Recipe | PodRecipe, ...]]
ROLES = ["k8slab/etcd", "k8slab/mesos-master", "k8slab/minion", "k8slab/kubernetes-mesos", "k8slab/switch"]


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module", autouse=True)
def one_state_of_the_project() -> Iterator[None]:
    """The project as it is when the tests begin: it may be worked on meanwhile."""
    frozen = files.project()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "project", lambda: frozen)
        yield


@pytest.fixture(scope="module")
def built(client: docker.DockerClient) -> dict[str, Built]:
    return {each.image: each for each in images.build(client)}


@pytest.fixture
def own(client: docker.DockerClient, built: dict[str, Built]) -> Iterator[Recipes]:
    """The base and recipes under names of this test, whose images are removed in the end."""
    made: list[Recipe | PodRecipe] = []

    def recipes(*more: Recipe | PodRecipe) -> tuple[Recipe | PodRecipe, ...]:
        made.extend(more)
        return (CATALOGUE[0], *more)

    yield recipes
    images.remove(client, made)
    assert images.missing(client, [recipe.name for recipe in made]) == [recipe.name for recipe in made]


def recipe(name: str, **fields: object) -> Recipe:
    return Recipe(name=f"{PREFIX}/{name}", summary="of a test", **fields)  # type: ignore[arg-type]


def inside(client: docker.DockerClient, image: str, script: str) -> str:
    output = client.containers.run(image, ["sh", "-ec", script], remove=True, network_mode="none", stderr=True)
    return str(output.decode())


def marked(client: docker.DockerClient) -> list[str]:
    """Build containers and volumes that are there now."""
    containers = client.api.containers(all=True, filters={"name": "k8slab-build-"})
    volumes = client.api.volumes(filters={"label": BUILD})["Volumes"] or ()
    return [found["Names"][0] for found in containers] + [found["Name"] for found in volumes]


def test_a_second_build_finds_all_of_them_current(client: docker.DockerClient, built: dict[str, Built]) -> None:
    states = []
    again = images.build(client, on_event=lambda event: states.append(event.state))
    assert {each.state for each in again} == {"current"}
    assert {each.image: each.id for each in again} == {name: each.id for name, each in built.items()}
    assert set(states) == {"waiting", "current"}
    assert images.missing(client, built) == []
    assert images.outdated(client, built) == []
    assert images.missing(client, ["k8slab/etcd", "k8slab/no-such-image"]) == ["k8slab/no-such-image"]


def test_it_says_where_the_root_came_from(built: dict[str, Built]) -> None:
    assert built[BASE].origin.startswith(("made with mmdebstrap", "pulled: ", "given: "))


@pytest.mark.parametrize("image", ["k8slab/base", *ROLES])
def test_the_package_inside_is_the_hosts(client: docker.DockerClient, built: dict[str, Built], image: str) -> None:
    said = inside(client, image, "python3 -c 'import k8slab, sys; print(k8slab.__version__, k8slab.__file__)'")
    assert said.split() == [k8slab.__version__, "/usr/local/lib/k8slab/app/k8slab/__init__.py"]
    config = client.api.inspect_image(image)["Config"]
    assert not config["Entrypoint"]
    assert config["Labels"]["k8slab.version"] == k8slab.__version__


@pytest.mark.parametrize("image", ROLES)
def test_daemons_start_from_compiled_modules(client: docker.DockerClient, built: dict[str, Built], image: str) -> None:
    inside(client, image, "km --help && test -x /usr/local/bin/mesos-agent && test -x /usr/local/bin/k8slab-switch")
    uncompiled = """python3 -c "
from importlib.util import cache_from_source
from pathlib import Path
sources = list(Path('/usr/local/lib/k8slab').rglob('*.py'))
print(len(sources), [str(source) for source in sources if not Path(cache_from_source(source)).exists()])
" """
    count, _, missing = inside(client, image, uncompiled).strip().partition(" ")
    assert int(count) > 500
    assert missing == "[]"


@pytest.mark.parametrize("image", ["k8slab/base", *ROLES])
def test_nothing_of_the_hosts_package_sources_stays(
    client: docker.DockerClient, built: dict[str, Built], image: str
) -> None:
    # A root that was pulled has sources of its own, as its makers put them there.
    of_its_own = "" if built[BASE].origin.startswith("made") else "exit 0;"
    left = inside(
        client,
        image,
        "find /run /var/lib/apt/lists /var/cache/apt -name '*k8slab*' -o -name '*.deb' -o -name '*Packages*';"
        f"cat /etc/machine-id; {of_its_own}"
        "find /etc/apt/sources.list* /etc/apt/auth.conf* -type f 2> /dev/null || true;"
        "grep -rl Acquire:: /etc/apt || true",
    )
    assert left == ""


def test_the_hosts_own_certificates_stay_out(client: docker.DockerClient, built: dict[str, Built]) -> None:
    trusted = inside(client, "k8slab/base", "cat /etc/ssl/certs/ca-certificates.crt")
    packaged = inside(client, "k8slab/base", "cat /usr/share/ca-certificates/mozilla/*.crt")

    def blocks(text: str) -> set[str]:
        return {block.split("-----END")[0].strip() for block in text.split("-----BEGIN CERTIFICATE-----")[1:]}

    assert blocks(trusted)
    assert blocks(trusted) <= blocks(packaged)


@pytest.mark.parametrize(
    ("image", "script"),
    [
        ("k8slab/etcd", "etcd --version; etcdctl version; id etcd"),
        ("k8slab/mesos-master", "test -s /usr/lib/k8slab/zookeeper.jsa; java -version"),
        ("k8slab/kubernetes-mesos", "kubectl version --client"),
        ("k8slab/minion", "dockerd --version; docker --version; containerd --version; runc --version"),
        ("k8slab/minion", "iptables-legacy --version; iptables-nft --version; getent group docker"),
        ("k8slab/switch", "ip -V; iptables-legacy --version; iptables-nft --version"),
        ("k8slab/base", "s6-svscan -h 2> /dev/null || test $? = 100; test -d /etc/service; curl --version; ping -V"),
    ],
)
def test_what_each_role_needs_is_there(
    client: docker.DockerClient, built: dict[str, Built], image: str, script: str
) -> None:
    assert inside(client, image, script.replace(";", " &&") if "||" not in script else script)


def test_zookeeper_starts_from_its_class_archive(client: docker.DockerClient, built: dict[str, Built]) -> None:
    script = """
    printf 'dataDir=/tmp/zk\\nclientPort=2181\\n4lw.commands.whitelist=srvr\\n' > /tmp/zoo.cfg
    K8SLAB_JAVA_OPTIONS=-Xlog:class+load:file=/tmp/classes /usr/lib/k8slab/zookeeper /tmp/zoo.cfg > /tmp/log &
    for attempt in $(seq 200); do
        echo srvr | curl -s --max-time 2 telnet://127.0.0.1:2181 | grep Mode && break
        sleep 0.05
    done
    grep -c 'org.apache.zookeeper.*shared objects file (top)' /tmp/classes
    """
    mode, shared = inside(client, "k8slab/mesos-master", script).splitlines()
    assert mode == "Mode: standalone"
    assert int(shared) > 100


def test_a_minion_carries_its_pods_images(client: docker.DockerClient, built: dict[str, Built]) -> None:
    folder = "/usr/share/k8slab/images"
    index = json.loads(inside(client, "k8slab/minion", f"cat {folder}/index.json"))
    assert set(index) == {"k8slab/pause:1", "k8slab/nginx:1.22", "k8slab/redis:7", "k8slab/guestbook:1"}
    for name, entry in index.items():
        config = inside(
            client, "k8slab/minion", f"tar -xOf {folder}/{entry['file']} {entry['id'][7:]}.json | sha256sum"
        )
        assert f"sha256:{config.split()[0]}" == entry["id"] == built[name].id


def test_pause_and_nginx_make_a_pod(client: docker.DockerClient, built: dict[str, Built]) -> None:
    assert built["k8slab/nginx:1.22"].size < 30_000_000
    pause = client.containers.run("k8slab/pause:1", detach=True, network_mode="none", name=f"{PREFIX}-pause")
    shared = f"container:{pause.id}"
    nginx = None
    try:
        nginx = client.containers.run(
            "k8slab/nginx:1.22",
            detach=True,
            network_mode=shared,
            pid_mode=shared,
            read_only=True,
            name=f"{PREFIX}-nginx",
        )
        fetch = ["curl", "-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "http://127.0.0.1/"]
        page = client.containers.run("k8slab/base", fetch, remove=True, network_mode=shared).decode()
        assert "Welcome to nginx" in page
        assert "k8slab" in page
        # An orphan becomes the child of the pod's first process, which has to reap it.
        orphans = "sh -c 'sleep 0 & sleep 0 & sleep 0 & exit'; i=0; while [ $i -lt 50 ]; do i=$((i+1)); "
        orphans += "grep -l '^State:.Z' /proc/[0-9]*/status 2> /dev/null || exit 0; usleep 20000; done; exit 1"
        code, zombies = nginx.exec_run(["sh", "-c", orphans])
        assert code == 0, zombies
        assert b"GET /" in nginx.logs()
    finally:
        if nginx is not None:
            nginx.remove(force=True)
        pause.stop(timeout=5)
        pause.reload()
        code = pause.attrs["State"]["ExitCode"]
        pause.remove(force=True)
    assert code != 137, "pause has to end by itself when it is told to"


def test_a_failing_package_shows_its_output_and_leaves_nothing(client: docker.DockerClient, own: Recipes) -> None:
    before = marked(client)
    bad = recipe("bad-package", packages=("no-such-package-anywhere",))
    with pytest.raises(BuildFailed) as raised:
        images.build(client, [bad.name], recipes=own(bad))
    assert "no-such-package-anywhere" in raised.value.what
    assert "Unable to locate package no-such-package-anywhere" in raised.value.output
    assert marked(client) == before
    assert images.missing(client, [bad.name]) == [bad.name]


def test_a_failing_step_shows_its_output(client: docker.DockerClient, own: Recipes) -> None:
    before = marked(client)
    bad = recipe("bad-step", steps=("echo this is the reason >&2; exit 7",))
    with pytest.raises(BuildFailed) as raised:
        images.build(client, [bad.name], recipes=own(bad))
    assert raised.value.output == "this is the reason"
    assert "exit code 7" in raised.value.why
    assert marked(client) == before


def test_a_full_disk_is_told_apart(client: docker.DockerClient, own: Recipes) -> None:
    full = recipe("full", steps=("dd if=/dev/zero of=/dev/full count=1",))
    with pytest.raises(BuildFailed) as raised:
        images.build(client, [full.name], recipes=own(full))
    assert "disk is full" in raised.value.what
    assert "docker system" in raised.value.remedy


def test_only_what_changed_is_built_again(client: docker.DockerClient, own: Recipes) -> None:
    first, second = recipe("first", steps=("echo 1 > /one",)), recipe("second", steps=("echo 2 > /two",))
    recipes = own(first, second)
    images.build(client, recipes=recipes)
    changed = replace(second, steps=("echo 3 > /two",))
    again = images.build(client, recipes=[*recipes[:-1], changed])
    assert [each.state for each in again] == ["current", "current", "built"]
    assert inside(client, second.name, "cat /one /two 2> /dev/null || true") == "3\n"


def test_what_a_container_still_needed_goes_with_a_later_build(
    client: docker.DockerClient, own: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SETTLED", -60)
    first = recipe("renewed", steps=("echo 1 > /one",))
    recipes = own(first)
    before = images.build(client, [first.name], recipes=recipes)[-1].id
    user = client.containers.create(first.name)
    try:
        changed = replace(first, steps=("echo 2 > /one",))
        images.build(client, [first.name], recipes=[recipes[0], changed])
        assert client.images.get(before).tags == []
    finally:
        user.remove(force=True)
    images.build(client, [first.name], recipes=[recipes[0], changed])
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(before)


def test_an_unknown_base_is_refused(client: docker.DockerClient, built: dict[str, Built]) -> None:
    base = replace(CATALOGUE[0], name=f"{PREFIX}/base")
    with pytest.raises(PreconditionMissing) as raised:
        images.build(client, base=f"{PREFIX}/nowhere:1", recipes=[base])
    assert f"{PREFIX}/nowhere:1" in raised.value.what


@pytest.mark.slow
def test_another_image_can_be_the_base(client: docker.DockerClient, own: Recipes) -> None:
    (_, base) = own(replace(CATALOGUE[0], name=f"{PREFIX}/base"))
    (made,) = images.build(client, base=BASE, recipes=[base])
    assert made.origin == f"given: {BASE}"
    assert inside(client, base.name, "km --help; find /etc/apt /var/cache/apt -name '*k8slab*' 1>&2")
    (again,) = images.build(client, base=BASE, recipes=[base])
    assert (again.state, again.id) == ("current", made.id)


BUILD_FOREVER = f"""
import docker
from k8slab.lab.images import Recipe, build
from k8slab.lab.images.recipes import CATALOGUE
endless = Recipe(name="{PREFIX}/endless", summary="", steps=("sleep infinity",))
build(docker.from_env(), recipes=[CATALOGUE[0], endless], on_event=lambda event: print(event.text, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_nothing(
    client: docker.DockerClient, own: Recipes, number: signal.Signals
) -> None:
    before = marked(client)
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD_FOREVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(k8slab.__file__).parent.parent,
    )
    assert process.stdout is not None
    assert any(line == "sleep infinity\n" for line in process.stdout)
    assert set(marked(client)) > set(before)
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    if number is signal.SIGKILL:
        images.build(client, recipes=own())
    assert set(marked(client)) <= set(before)
