"""Medians of several rounds, ours beside the others in the same round: machines are noisy, ratios are not."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import others

from k8slab.lab.lab import Lab, open_engine
from k8slab.topology import store

HERE = Path(__file__).resolve().parent
K8SLAB = Path(sys.executable).with_name("k8slab")
LAB = "bench"
WHOLE = "k8slab run --no-start (whole command)"
STEP = "  of which 11 nodes created, wired and proven"


def k8slab(*words: str) -> str:
    done = subprocess.run([str(K8SLAB), *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"k8slab {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def step_seconds() -> float:
    """From the beginning of the first step to the end of the last one: eleven nodes made, wired, and proven."""
    moments: list[float] = []
    topology = store.load(lab=LAB, settings=store.environment_settings(os.environ))
    Lab(open_engine(), topology).run(listener=lambda event: moments.append(time.monotonic()), start=False)
    return moments[-1] - moments[0]


def measure_run(rounds: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)
        print(f"  {name:<58} {value:7.2f} s", file=sys.stderr)

    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        note(
            WHOLE,
            seconds(lambda: k8slab("run", "--lab", LAB, "--no-start")),
        )
        k8slab("rm", "--lab", LAB)
        note(STEP, step_seconds())
        note("k8slab rm: of bare nodes", seconds(lambda: k8slab("rm", "--lab", LAB)))
        note("docker-compose up -d: 11 sleeping containers", seconds(others.compose_up))
        note("docker-compose down", seconds(others.compose_down))
        waits = others.pipework_up()
        note("docker run + ip, one by one, without ARP waits", waits.without_arp)
        note("docker run + ip, one by one, with ARP waits", waits.with_arp)
        others.pipework_down()
        begin = time.monotonic()
        ready = json.loads(k8slab("run", "--lab", LAB, "-o", "json"))
        note("k8slab run: everything ready (whole command)", time.monotonic() - begin)
        assert ready["ready"]
        for phase in ready["timings"]["phases"]:
            note(f"  of which {phase['name']}", phase["seconds"])
        note("  of which total by its own clock", ready["timings"]["total"])
        note("k8slab status", seconds(lambda: k8slab("status", "--lab", LAB)))
        note("k8slab rm: of the whole lab", seconds(lambda: k8slab("rm", "--lab", LAB)))
    return figures


def report(figures: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    print(f"\n{'':<58}  median    min    max   (seconds)")
    for name, values in figures.items():
        print(f"{name:<58} {medians[name]:7.2f} {min(values):6.2f} {max(values):6.2f}")
    ours, whole = medians[STEP], medians[WHOLE]
    print("\nratios for the same step, eleven machines with fixed addresses (in brackets: to our whole command):")
    for name in (
        "docker-compose up -d: 11 sleeping containers",
        "docker run + ip, one by one, without ARP waits",
        "docker run + ip, one by one, with ARP waits",
    ):
        print(f"  {name:<56} {medians[name] / ours:5.1f} times ours ({medians[name] / whole:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=["run", "wiring", "mesos", "api", "pods", "lab-pods", "all"])
    parser.add_argument("--runs", type=int, default=5)
    given, others_own = parser.parse_known_args()
    if others_own and given.what not in ("mesos", "api", "pods", "lab-pods"):
        parser.error(f"not known: {' '.join(others_own)}")
    for daemons in ("mesos", "api", "pods", "lab-pods"):
        if given.what in (daemons, "all"):
            subprocess.run([sys.executable, str(HERE / f"{daemons.replace('-', '_')}.py"), *others_own], check=True)
    if given.what in ("wiring", "all"):
        subprocess.run([sys.executable, str(HERE / "wiring.py")], check=True)
    if given.what in ("run", "all"):
        try:
            report(measure_run(given.runs))
        finally:
            k8slab("rm", "--lab", LAB)
            others.compose_down()
            others.pipework_down()


if __name__ == "__main__":
    main()
