"""Each mistake a topology can have, with its sentence and the line it stands in."""

import pytest

from k8slab.errors import InvalidTopology, UsageError
from k8slab.topology import store
from k8slab.topology.resolve import resolve
from k8slab.topology.resolved import Topology
from k8slab.topology.source import parse

HEAD = """\
name: small
network: {subnet: 10.9.0.0/24}
nodes:
  web: {role: web, count: 2, first: 10.9.0.10}
"""
WEB = """\
roles:
  web: {image: base, daemons: [http]}
daemons:
  http:
    command: serve
"""


def resolved(text: str, *, lab: str = "") -> Topology:
    return resolve(parse(text, "t.yaml"), lab=lab)


def problems_of(text: str, *, lab: str = "") -> list[str]:
    with pytest.raises(InvalidTopology) as raised:
        resolved(text, lab=lab)
    assert raised.value.exit_code == 2
    return [str(problem) for problem in raised.value.problems]


def with_role(settings: str) -> str:
    return HEAD + WEB.replace("{image: base, daemons: [http]}", "{" + settings + "}")


def with_daemon(lines: str) -> str:
    return HEAD + WEB.replace("    command: serve\n", lines)


def with_command(command: str) -> str:
    return with_daemon(f"    command: {command}\n")


def with_network(settings: str, nodes: str) -> str:
    return f"name: small\nnetwork: {{{settings}}}\nnodes:\n  {nodes}\n"


def test_the_base_of_these_tests_is_sound() -> None:
    assert [node.name for node in resolved(HEAD + WEB).nodes] == ["web-0", "web-1"]


def test_a_container_needs_two_characters_whatever_the_host_name_may_be() -> None:
    text = HEAD + "  w: {role: web, address: 10.9.0.20}\n" + WEB
    assert problems_of(text) == [
        "t.yaml:5: 'w' cannot name a container: the engine wants at least two characters. Give the node a longer name."
    ]
    assert resolved(text, lab="x").node("w").container == "x-w"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: small\ndescription: 2020-13-45\n",
            "t.yaml:2: not YAML: '2020-13-45' looks like a timestamp and is none; a text like this goes in quotes.",
        ),
        (
            'name: small\ndescription: "\\ud800"\n',
            "t.yaml:2: not YAML: '\\ud800' has half of a character in it.",
        ),
        (
            "name: !!int abc\n",
            "t.yaml:1: not YAML: 'abc' looks like a int and is none; a text like this goes in quotes.",
        ),
        (
            "\nname: &a [*a]\n",
            "t.yaml:2: name.0 is an alias of something that it is itself a part of. Write the value out.",
        ),
        (
            "\nname: &a {b: {c: *a}}\n",
            "t.yaml:2: name.b.c is an alias of something that it is itself a part of. Write the value out.",
        ),
        ("name: " + "[" * 5000, "t.yaml: its values are nested too deeply."),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
            "t.yaml:1: it has more than 20000 values, aliases included.",
        ),
    ],
    ids=["date", "surrogate", "tag", "alias", "deeper alias", "deep", "laughs"],
)
def test_what_breaks_the_parser_is_a_problem(text: str, said: str) -> None:
    assert problems_of(text) == [said]


@pytest.mark.parametrize("value", ["2020-13-45", "&a [*a]", "!!int x", "[" * 5000])
def test_what_breaks_the_parser_in_a_setting_is_a_usage_error(value: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        store.load(settings=[f"description={value}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            with_network("subnet: 255.255.255.0/24", "etcd: {role: etcd, count: 10, first: 255.255.255.250}"),
            "t.yaml:4: node etcd: there are no 10 addresses from 255.255.255.250 on.",
        ),
        (
            with_network("subnet: 10.9.0.0/30", "etcd: {role: etcd, count: 2, first: 10.9.0.1}"),
            "t.yaml:2: network.subnet 10.9.0.0/30 has no address left for the gateway. Take a wider one.",
        ),
        (
            with_network("subnet: 10.9.0.0/24, gateway: 10.9.0.255", "etcd: {role: etcd, count: 2, first: 10.9.0.1}"),
            "t.yaml:2: network.gateway 10.9.0.255 is no host's address in 10.9.0.0/24.",
        ),
        (
            with_network("subnet: 10.9.0.0/24, pods: 10.1.0.0/24", "min: {role: minion, count: 2, first: 10.9.0.1}"),
            "t.yaml:2: network.pods 10.1.0.0/24 holds 1 of the /24 ranges that 2 nodes need. "
            "Give it a shorter prefix, such as /16.",
        ),
    ],
    ids=["addresses", "gateway", "gateway is broadcast", "pods"],
)
def test_ranges_that_are_too_small_are_problems(text: str, said: str) -> None:
    assert problems_of(text) == [said]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ 1/0 }}", "division by zero"),
        ("{{ 10 ** 10000000000 }}", "10 ** 10000000000 is too large"),
        ("{{ 'a' * 10000000000 }}", "a repetition of 10000000000 times is too long"),
        (
            "{% for i in range(10000000) %}{% endfor %}",
            "Range too big. The sandbox blocks ranges larger than MAX_RANGE",
        ),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "it goes round in a circle or too deep"),
        ("{{ 'x' | round }}", "type str doesn't define __round__ method"),
        ("{{ members('http')[9].name }}", "list object has no element 9"),
        ("{{ '%d' % 'x' }}", "%d format: a real number is required, not str"),
        ("{{ 'x'.encode('nonsense') }}", "unknown encoding: nonsense"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ],
)
def test_what_fails_inside_of_a_template_is_one_problem(template: str, reason: str) -> None:
    (problem,) = problems_of(with_daemon(f'    command: serve\n    setup: "{template}"\n'))
    assert problem.startswith("t.yaml:10: daemon http: its setup cannot be filled in for web-0: ")
    assert reason in problem


def test_every_template_is_looked_at_once_for_each_daemon() -> None:
    text = with_daemon(
        """\
    command: serve {{ nothing }}
    ready: "{{ 1/0 }}"
    environment:
      A: "{{ neither }}"
    files:
      /etc/a.b: "{{ nor }}"
  unused:
    command: "{% if %}"
"""
    )
    assert [problem.partition(": ")[0::2] for problem in problems_of(text)] == [
        ("t.yaml:9", "daemon http: its command cannot be filled in for web-0: 'nothing' is undefined."),
        ("t.yaml:10", "daemon http: its ready cannot be filled in for web-0: division by zero."),
        ("t.yaml:12", "daemon http: its environment.A cannot be filled in for web-0: 'neither' is undefined."),
        ("t.yaml:14", "daemon http: its files./etc/a.b cannot be filled in for web-0: 'nor' is undefined."),
        (
            "t.yaml:16",
            "daemon unused: its command cannot be filled in: Expected an expression, got 'end of statement block'.",
        ),
    ]


def test_a_built_in_daemon_that_lacks_another_is_a_problem_of_its_node() -> None:
    text = HEAD + "roles:\n  web: {image: base, daemons: [controller-manager]}\n"
    (problem,) = problems_of(text)
    assert problem.startswith("t.yaml:4: daemon controller-manager: its command cannot be filled in for web-0: ")


def test_one_malformed_part_does_not_hide_what_is_wrong_elsewhere() -> None:
    text = """\
name: Small
network: {subnet: 10.9.0.0/24, mtu: 1}
nodes:
  one: {role: nonsense, count: 2, first: 10.9.0.10}
  two: {role: web}
  bad_name: {role: web, address: 10.9.0.20}
roles:
  web: {image: base, daemons: [http, http, zz]}
  odd: {image: base, capabilities: [FLY]}
daemons:
  http: {command: "{{ x ", after: [yy]}
  all: {command: run}
  other: {command: run, stop_signal: STOP}
"""
    found = [problem.removeprefix("t.yaml:") for problem in problems_of(text)]
    assert [problem.partition(":")[0] for problem in found] == [
        *("1", "2", "4", "5", "6", "8", "8", "9", "11", "11", "12", "13")
    ]
    for said in (
        "1: name: String should match",
        "2: network.mtu: Input should be greater than or equal to 576.",
        "4: node one: there is no role 'nonsense'.",
        "5: nodes.two: a single node takes `address`",
        "6: 'bad_name' cannot be a host's name.",
        "8: role web: the daemon http stands twice.",
        "8: role web: there is no daemon 'zz'.",
        "9: roles.odd.capabilities.0: 'FLY' is no Linux capability",
        "11: daemon http: comes after 'yy', which there is not.",
        "11: daemon http: its command cannot be filled in:",
        "12: daemon all: 'all' means every daemon and can name none.",
        "13: daemons.other.stop_signal: String should match",
    ):
        assert any(problem.startswith(said) for problem in found), (said, found)


def test_two_circles_are_two_problems() -> None:
    more = "".join(f"  {one}: {{command: x, after: [{other}]}}\n" for one, other in ("ab", "ba", "cd", "dc"))
    assert len([problem for problem in problems_of(HEAD + WEB + more) if "in a circle" in problem]) == 2


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("image: 'Bad Image'", "roles.web.image: 'Bad Image' is no image's name, such as base or "),
        ("image: ''", "roles.web.image: '' is no image's name"),
        ("image: 'a:b:c'", "roles.web.image: 'a:b:c' is no image's name"),
        (
            "image: base, capabilities: [KILL, CAP_NET_ADMIN]",
            "roles.web.capabilities.1: 'CAP_NET_ADMIN' is no Linux capability; they are written without CAP_, "
            "such as NET_ADMIN.",
        ),
        ("image: base, capabilities: [net_admin]", "roles.web.capabilities.0: 'net_admin' is no Linux capability"),
        ("image: base, volumes: [var/lib]", "roles.web.volumes.0: 'var/lib' is no absolute path in its shortest form"),
        ("image: base, volumes: [/a/../b]", "roles.web.volumes.0: '/a/../b' is no absolute path"),
        ("image: base, volumes: [/a/]", "roles.web.volumes.0: '/a/' is no absolute path"),
        ("image: base, volumes: [//a]", "roles.web.volumes.0: '//a' is no absolute path"),
        ("image: base, volumes: [/]", "roles.web.volumes.0: '/' is no absolute path"),
        ("image: base, volumes: ['/a b']", "roles.web.volumes.0: '/a b' is no absolute path"),
        (
            "image: base, sysctls: {ipforward: '1'}",
            "roles.web.sysctls.ipforward: 'ipforward' is no kernel setting's name",
        ),
        ("image: base, sysctls: {'net. ip': '1'}", "roles.web.sysctls.net. ip: 'net. ip' is no kernel setting's name"),
        ("image: base, daemons: [http, http]", "role web: the daemon http stands twice. A node runs each daemon once."),
        (
            "image: base, volumes: [/srv/a/data, /srv/b/data]",
            "role web: /srv/a/data and /srv/b/data would share one volume, which is named by the path's last part. "
            "Let them end differently.",
        ),
        ("image: base, volumes: [/data, /data]", "role web: the volume /data stands twice."),
    ],
)
def test_each_mistake_in_a_role(role: str, said: str) -> None:
    (problem,) = problems_of(with_role(role))
    assert problem.startswith(f"t.yaml:6: {said}")


@pytest.mark.parametrize(
    "image",
    ["base", "web-1.2", "nginx:1.22", "team/web", "registry.example:5000/team/web:V1", "web@sha256:" + "0" * 64],
)
def test_images_an_engine_knows_are_taken(image: str) -> None:
    assert resolved(with_role(f"image: '{image}', daemons: [http]")).nodes[0].image.endswith(image)


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ("    environment: {1A: x}\n", 10, "daemons.http.environment.1A: '1A' cannot name a variable"),
        (
            "    environment:\n      A: x\n      B-C: x\n",
            12,
            "daemons.http.environment.B-C: 'B-C' cannot name a variable",
        ),
        ("    files: {etc/a: x}\n", 10, "daemons.http.files.etc/a: 'etc/a' is no absolute path in its shortest form"),
        ("    files: {/etc/../a: x}\n", 10, "daemons.http.files./etc/../a: '/etc/../a' is no absolute path"),
        ("    timeout: .inf\n", 10, "daemons.http.timeout: Input should be a finite number"),
        ("    alias: all\n", 10, "daemon http: 'all' means every daemon and can name none."),
        ("    alias: A b\n", 10, "daemons.http.alias: String should match"),
        ("  'a/b': {command: x}\n", 10, "daemons.a/b: String should match"),
    ],
)
def test_each_mistake_in_a_daemon(lines: str, line: int, said: str) -> None:
    (problem,) = problems_of(with_daemon("    command: serve\n" + lines))
    assert problem.startswith(f"t.yaml:{line}: {said}")


@pytest.mark.parametrize(
    ("daemons", "said"),
    [
        (
            "  http: {command: x, alias: w}\n  more: {command: x, alias: w}\n",
            "t.yaml:10: daemon more: its alias 'w' means the daemon http already. Take another word.",
        ),
        (
            "  http: {command: x, alias: more}\n  more: {command: x}\n",
            "t.yaml:9: daemon http: its alias 'more' means the daemon more already. Take another word.",
        ),
        (
            "  http: {command: x, alias: zk}\n  more: {command: x}\n",
            "t.yaml:9: daemon http: its alias 'zk' means the daemon zookeeper already. Take another word.",
        ),
        (
            "  http: {command: x, alias: zookeeper}\n  more: {command: x}\n",
            "t.yaml:9: daemon http: its alias 'zookeeper' means the daemon zookeeper already. Take another word.",
        ),
    ],
)
def test_an_alias_means_one_daemon(daemons: str, said: str) -> None:
    nodes = HEAD + "  mm: {role: mesos-master, address: 10.9.0.4}\n"
    roles = "roles:\n  web: {image: base, daemons: [http, more]}\n"
    assert problems_of(nodes + roles + "daemons:\n" + daemons) == [said]


def test_a_daemon_is_not_named_by_the_alias_of_a_built_in_one() -> None:
    text = HEAD + "  mm: {role: mesos-master, address: 10.9.0.4}\n" + WEB.replace("http", "zk")
    assert problems_of(text) == [
        "t.yaml:9: daemon zk: its name is the alias of the daemon zookeeper already. Take another word."
    ]


def test_the_alias_of_a_built_in_daemon_is_free_where_it_does_not_run() -> None:
    assert resolved(with_daemon("    command: serve\n    alias: zk\n")).nodes[0].daemons[0].alias == "zk"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('''"python3 -c 'x {{ node.name }}"''', "has a quote that is never closed for web-0: python3 -c 'x web-0."),
        ("serve \\", "has a backslash that escapes nothing for web-0: serve \\."),
        ("''", "is empty for web-0."),
        ("'{# nothing #}'", "is empty for web-0."),
        ('"serve \\0"', "cannot be filled in for web-0: it has a NUL character in it."),
    ],
)
def test_a_command_is_a_line_that_a_shell_can_read(command: str, said: str) -> None:
    assert problems_of(with_command(command)) == [f"t.yaml:9: daemon http: its command {said}"]


def test_a_group_whose_name_ends_in_a_number_keeps_its_role() -> None:
    nodes = "  etcd: {role: etcd, count: 1, first: 10.9.0.20}\n  etcd-0: {role: web, count: 1, first: 10.9.0.30}\n"
    assert {node.name: node.role for node in resolved(HEAD + nodes + WEB).nodes} == {
        "web-0": "web",
        "web-1": "web",
        "etcd-0": "etcd",
        "etcd-0-0": "web",
    }
