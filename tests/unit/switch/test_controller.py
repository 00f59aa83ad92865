from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Bench


async def test_the_first_scan_wires_all_in_one_batch_and_each_proves_another(bench: Bench) -> None:
    for node in ("a", "b", "c"):
        bench.engine.start(node)
    bench.run()
    state = await bench.wired("a", "b", "c")
    assert bench.wire.plugged == [["a", "b", "c"]]
    assert {node: each.verified_from for node, each in state.nodes.items()} == {"a": "c", "b": "a", "c": "b"}
    assert bench.wire.open_namespaces == 0


async def test_an_empty_lab_is_ready(bench: Bench) -> None:
    bench.run()
    state = await bench.wired()
    assert state.nodes == {}
    assert state.bridge.name == "br0"


async def test_a_lone_node_is_proven_by_the_host_until_there_is_another(bench: Bench) -> None:
    bench.engine.start("a")
    bench.run()
    assert (await bench.wired("a")).nodes["a"].verified_from == "host"
    bench.engine.start("b")
    state = await bench.until(lambda s: "b" in s.nodes and s.nodes["b"].wired and s.nodes["a"].verified_from == "b")
    assert state.nodes["b"].verified_from == "a"


async def test_a_restarted_node_is_wired_anew(bench: Bench) -> None:
    first = bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.engine.restart("a")
    state = await bench.until(lambda s: s.nodes.get("a") is not None and s.nodes["a"].pid > first.pid + 1)
    state = await bench.wired("a", "b")
    assert bench.wire.plugged == [["a", "b"], ["a"]]
    assert state.nodes["a"].verified_from == "b"


async def test_a_stopped_node_has_no_entry(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.engine.stop("b")
    await bench.until(lambda s: set(s.nodes) == {"a"})


async def test_news_told_twice_change_nothing(bench: Bench) -> None:
    bench.engine.start("a")
    bench.run()
    await bench.wired("a")
    for _ in range(3):
        bench.engine.start("b")
        bench.engine.containers["id-b"] = replace(bench.engine.containers["id-b"], pid=500, started_at="500")
    await bench.wired("a", "b")
    assert bench.wire.plugged.count(["b"]) == 1


async def test_a_deleted_wire_is_reported_left_cut_and_mended_when_asked(bench: Bench) -> None:
    for node in ("a", "b", "c"):
        bench.engine.start(node)
    bench.run()
    await bench.wired("a", "b", "c")
    bench.wire.change("b")
    state = await bench.wired("a", "c")
    assert state.nodes["b"].problem == "Its wire was deleted."
    bench.controller.recheck()
    await bench.wired("a", "b", "c")
    assert bench.wire.plugged == [["a", "b", "c"], ["a", "b", "c"]]
    assert bench.firewall.ensured == 2


async def test_a_wire_that_comes_back_by_itself_is_proven_again(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.wire.change("b", up=False)
    state = await bench.wired("a")
    assert "is down" in state.nodes["b"].problem
    bench.wire.change("b", master=99)
    state = await bench.until(lambda s: "not plugged into br0" in s.nodes["b"].problem)
    bench.wire.change("b", up=True, master=1, carrier=False)
    state = await bench.until(lambda s: "carrier" in s.nodes["b"].problem)
    bench.wire.change("b", carrier=True)
    await bench.wired("a", "b")
    assert bench.wire.plugged == [["a", "b"]]


async def test_lost_kernel_news_are_made_up_for_by_looking(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.wire.lose_changes("a")
    await bench.wired("b")


async def test_a_node_no_packet_reaches_is_not_wired_and_says_why(bench: Bench) -> None:
    for node in ("a", "b"):
        bench.engine.start(node)
    bench.wire.deaf.add("b")
    bench.run()
    state = await bench.until(lambda s: "b" in s.nodes and bool(s.nodes["b"].problem))
    assert state.nodes["b"].problem == "No packet from a was answered within 3 s: a wall stands there."
    assert not state.nodes["b"].wired
    bench.wire.deaf.clear()
    bench.controller.recheck()
    state = await bench.wired("a", "b")
    assert state.nodes["b"].problem == ""


async def test_a_broken_neighbour_does_not_make_a_node_look_broken(bench: Bench) -> None:
    for node in ("a", "b", "c"):
        bench.engine.start(node)
    bench.wire.deaf.add("a")
    bench.run()
    state = await bench.wired("b", "c")
    assert state.nodes["b"].verified_from == "c"


async def test_a_bad_label_and_a_refusing_kernel_are_that_nodes_problems_alone(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b", wire="{}")
    bench.engine.start("c")
    bench.wire.refused["c"] = "The bridge is full."
    bench.run()
    state = await bench.wired("a")
    assert "not understood" in state.nodes["b"].problem
    assert state.nodes["c"].problem == "The bridge is full."


async def test_a_process_that_is_replaced_while_it_is_looked_at_is_not_wired(bench: Bench) -> None:
    bench.engine.start("a")
    swapped: list[int] = []

    def swap() -> None:
        if not swapped:
            swapped.append(1)
            bench.engine.start("a", tell=False)

    bench.wire.before_plug = swap
    bench.run()
    state = await bench.wired("a")
    assert state.nodes["a"].pid == bench.engine.containers["id-a"].pid
    assert bench.wire.plugged == [["a"]]


async def test_the_engine_comes_back_and_what_it_forgot_is_put_right(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.engine.go_away()
    bench.engine.start("c", tell=False)
    bench.engine.stop("b")
    bench.engine.up = True
    state = await bench.wired("a", "c")
    assert "b" not in state.nodes
    assert bench.firewall.ensured == 2
    assert bench.wire.plugged == [["a", "b"], ["c"]]


async def test_a_wire_cut_on_purpose_stays_cut_when_the_engine_comes_back(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.wire.change("b", up=False)
    await bench.wired("a")
    bench.engine.go_away()
    bench.engine.start("c", tell=False)
    bench.engine.up = True
    await bench.wired("a", "c")


async def test_a_bridge_made_anew_gets_all_wires_back(bench: Bench) -> None:
    bench.engine.start("a")
    bench.engine.start("b")
    bench.run()
    await bench.wired("a", "b")
    bench.wire.bridge = replace(bench.wire.bridge, index=2)
    bench.engine.go_away()
    bench.engine.up = True
    await bench.until(lambda s: bench.wire.plugged == [["a", "b"], ["a", "b"]] and s.nodes["b"].wired)
    assert {link.master for link in bench.wire.table.values()} == {2}


async def test_without_a_bridge_it_says_so_and_tries_again(bench: Bench) -> None:
    bench.wire.bridge_errors.append("The lab's subnet belongs to lab other.")
    bench.engine.start("a")
    bench.run()
    state = await bench.until(lambda s: bool(s.error))
    assert not state.ready
    state = await bench.wired("a")
    assert state.error == ""


async def test_a_firewall_that_refuses_is_the_labs_error(bench: Bench) -> None:
    bench.firewall.errors.append("iptables-nft-restore failed: no")
    bench.firewall.forwards = False
    bench.engine.start("a")
    bench.run()
    state = await bench.until(lambda s: "a" in s.nodes and s.nodes["a"].wired)
    assert (state.ready, state.error) == (False, "iptables-nft-restore failed: no")
    assert "ip_forward" in state.warning
    bench.controller.recheck()
    await bench.wired("a")
