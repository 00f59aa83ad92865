"""A person's terminal and pipes, connected with programs inside a real container."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from driving import docker, until

from k8slab.lab import specs
from k8slab.lab.runtime.base import MachineSpec, Mount
from k8slab.lab.runtime.engine import DockerRuntime, connect
from k8slab.lab.steps import docker_create

ROOT = Path(__file__).resolve().parents[2]
NODE = "k8slab-terminal-test"
NAMELESS = f"{NODE}-nameless"
IMAGE = "k8slab/base"
DRIVER = """
import sys
from contextlib import closing
from k8slab.lab.runtime.base import MachineSpec, Mount
from k8slab.lab.runtime.engine import DockerRuntime, connect
from k8slab.lab.runtime.terminal import DockerConsole

console, (verb, *words) = DockerConsole(DockerRuntime(connect())), sys.argv[1:]
terminal = sys.stdin.isatty() and sys.stdout.isatty()
if verb == "attach":
    sys.exit(console.attach("NODE", words, terminal=terminal))
if verb == "follow":
    with closing(console.follow("NODE", words)) as pieces:
        try:
            while True:
                piece = next(pieces)
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                if b"enough" in piece:
                    break
        except StopIteration as end:
            sys.exit(end.value)
if verb == "aside":
    folder, *words = words
    spec = MachineSpec(name="NODE-aside", image="IMAGE", command=tuple(words), mounts=(Mount(folder, folder),))
    sys.exit(console.run_aside(spec, network_of="NODE", terminal=terminal, user="12345:12345", workdir=folder))
""".replace("NODE", NODE).replace("IMAGE", IMAGE)


@pytest.fixture(scope="module", autouse=True)
def node() -> Iterator[None]:
    subprocess.run(["docker", "rm", "-f", NODE], capture_output=True)
    docker("run", "-d", "--init", "--network", "none", "--name", NODE, IMAGE, "sleep", "600")
    yield
    docker("rm", "-f", NODE)


@contextmanager
def machine(spec: MachineSpec) -> Iterator[None]:
    """Made as nodes are: the engine has no part in its network."""
    subprocess.run(["docker", "rm", "-f", spec.name], capture_output=True)
    runtime = DockerRuntime(connect())
    runtime.create(spec)
    try:
        runtime.power(spec.name, "start")
        yield
    finally:
        docker("rm", "-f", spec.name)


def drive(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", DRIVER, *words], input=given, capture_output=True, timeout=60)


def programs() -> str:
    return docker("exec", NODE, "ps", "-eo", "args")


def test_streams_stay_apart_and_the_exit_code_comes_through() -> None:
    done = drive("attach", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_megabytes_go_in_and_out_unharmed() -> None:
    data = os.urandom(3_000_000)
    assert drive("attach", "cat", given=data).stdout == data
    assert drive("attach", "sha256sum", given=data).stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_not_a_byte_of_a_quick_program_is_lost() -> None:
    assert [drive("attach", "echo", str(number)).stdout for number in range(10)] == [
        f"{number}\n".encode() for number in range(10)
    ]


def test_following_ends_with_the_program_or_with_its_reader_and_leaves_nothing() -> None:
    done = drive("follow", "sh", "-c", "echo one; echo two >&2; exit 6")
    assert (done.returncode, done.stdout, done.stderr) == (6, b"one\n", b"two\n")
    docker("exec", NODE, "sh", "-c", "echo enough > /tmp/log")
    assert drive("follow", "tail", "-n", "5", "-F", "/tmp/log").stdout == b"enough\n"
    until("tail is gone", lambda: "tail" not in programs(), within=5)
    reader = subprocess.Popen([sys.executable, "-c", DRIVER, "follow", "tail", "-n", "0", "-F", "/tmp/log"])
    until("tail runs", lambda: "tail" in programs(), within=20)
    reader.kill()
    reader.wait()
    until("tail is gone with its reader", lambda: "tail" not in programs(), within=5)


def test_a_program_aside_sees_the_same_folder_as_the_same_user_in_the_nodes_network(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "note").write_text("here\n")
    done = drive("aside", str(tmp_path), "sh", "-c", "cat note -; id -u; ls /sys/class/net; exit 5", given=b"typed\n")
    assert done.returncode == 5
    assert done.stdout.split() == [b"here", b"typed", b"12345", b"lo"]
    assert docker("ps", "-aq", "--filter", f"name={NODE}-aside") == ""


def test_a_program_aside_knows_the_names_that_the_node_knows(tmp_path: Path) -> None:
    docker("exec", NODE, "sh", "-c", "echo 172.17.1.99 a-name-of-the-node >> /etc/hosts")
    tmp_path.chmod(0o755)
    done = drive("aside", str(tmp_path), "getent", "hosts", "a-name-of-the-node")
    assert done.stdout.split() == [b"172.17.1.99", b"a-name-of-the-node"]


def test_a_program_aside_runs_where_a_node_has_lost_its_names(tmp_path: Path) -> None:
    with machine(MachineSpec(name=NAMELESS, image=IMAGE, command=("sleep", "600"))):
        docker("exec", NAMELESS, "rm", "-f", "/etc/hosts", "/etc/resolv.conf")
        tmp_path.chmod(0o755)
        program = [sys.executable, "-c", DRIVER.replace(NODE, NAMELESS), "aside", str(tmp_path), "echo", "up"]
        done = subprocess.run(program, input=b"", capture_output=True, timeout=60)
        assert done.stdout == b"up\n"


def test_a_node_made_by_hand_keeps_the_names_of_the_lab_when_it_restarts() -> None:
    names = "127.0.0.1 localhost\n172.17.1.99 a-name-of-the-lab\n"
    files = {"/etc/hosts": specs.FileContent(names), "/etc/service/.keep": specs.FileContent("")}
    first = "/usr/lib/k8slab/init"
    spec = MachineSpec(
        name=f"{NODE}-by-hand",
        image=IMAGE,
        hostname="by-hand",
        command=(first,),
        environment={specs.FILES: specs.packed(files, "by-hand")},
        mounts=(Mount(f"{ROOT}/k8slab/lab/images/rootfs{first}", first, read_only=True),),
    )
    subprocess.run(["docker", "rm", "-f", spec.name], capture_output=True)
    try:
        subprocess.run(["sh", "-c", docker_create(spec)], check=True, capture_output=True)
        for verb in (("start",), ("restart", "-t", "0")):
            docker(*verb, spec.name)
            until("it knows them", lambda: docker("exec", spec.name, "cat", "/etc/hosts") == names.strip(), within=10)
    finally:
        docker("rm", "-f", spec.name)


def test_a_program_aside_goes_away_by_itself_when_its_caller_is_killed(tmp_path: Path) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "aside", str(tmp_path), "sh", "-c", "echo up; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"up\n"
        caller.kill()
    until("it is gone", lambda: docker("ps", "-aq", "--filter", f"name={NODE}-aside") == "", within=10)


def test_closed_streams_are_as_empty_ones() -> None:
    program = "import sys; from k8slab.cli.entry import main; sys.argv[0] = 'k8slab'; main()"
    for closed in ("<&-", "<&- >&-", ">&- 2>&-"):
        script = f'exec "$0" -c "$1" topology list {closed}'
        done = subprocess.run(["sh", "-c", script, sys.executable, program], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("k8s-mesos" in done.stdout) is (">&-" not in closed)


def test_a_terminal_is_raw_has_our_size_and_is_given_back() -> None:
    shell = pexpect.spawn(sys.executable, ["-c", DRIVER, "attach", "bash", "--norc"], dimensions=(30, 100), timeout=20)
    shell.expect("# ")
    shell.sendline("stty size")
    shell.expect("30 100")
    shell.sendline("sleep 1000")
    until("sleep runs", lambda: "sleep 1000" in programs(), within=5)
    shell.sendintr()
    shell.expect("# ")
    shell.setwinsize(25, 90)
    shell.sendline("while [ $(stty size | cut -d' ' -f1) != 25 ]; do read -t 0.1 x <> <(:); done; stty size")
    shell.expect("25 90")
    shell.sendline("exit 3")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 3


def test_a_machine_that_is_not_there_is_said_in_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER.replace(NODE, "no-such-machine"), "attach", "true"],
        capture_output=True,
        text=True,
    )
    assert "NodeFailed: There is no machine no-such-machine." in done.stderr
