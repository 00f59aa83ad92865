"""A Debian root from this machine's own package sources: mmdebstrap writes it straight into the engine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import docker.errors

from k8slab.errors import PreconditionMissing
from k8slab.lab.images import apt
from k8slab.lab.images.workshop import LAST_LINES, Workshop, failed, lines, pieces

LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
KEPT = ("/usr/share/doc/*/copyright",)

# Daemons are started by the lab, never by a package being installed.
POLICY = "#!/bin/sh\nexit 101\n"

# Shell that takes the host's package sources and settings, and what identifies a machine, out of a root.
SCRUB = """
cd "$1"
rm -rf etc/apt/sources.list etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap etc/apt/auth.conf.d/*
mv etc/dpkg/dpkg.cfg.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/k8slab
rm -f var/lib/dbus/machine-id
for file in machine-id resolv.conf hostname; do rm -f etc/$file; install -m 644 /dev/null etc/$file; done
chmod 755 usr/sbin/policy-rc.d
"""

_MILESTONES = {
    "running apt-get update": 0.05,
    "downloading packages": 0.15,
    "extracting archives": 0.3,
    "installing essential": 0.45,
    "installing remaining": 0.65,
    "cleaning package lists": 0.85,
    "creating tarball": 0.9,
    "done": 1.0,
}

OnProgress = Callable[[float | None, str], None]


def dpkg_options() -> str:
    """What packages leave out in every image, now and when more are installed upon it."""
    return "".join(f"path-exclude={path}\n" for path in LEFT_OUT) + "".join(f"path-include={path}\n" for path in KEPT)


def check_host(pulled: str) -> None:
    """Can this machine make a root from its own packages? Raises what is missing, with the remedy."""
    what = f"There is no base image: {pulled} cannot be pulled,"
    other = "Or let the engine reach a registry, or name an image: `k8slab build --base IMAGE` (a Debian with apt)."
    if not apt.host_sources():
        raise PreconditionMissing(
            f"{what} and this machine has no Debian packages to make one from.",
            why="No package source is configured below /etc/apt.",
            remedy=other.replace("Or let", "Let"),
        )
    if shutil.which("mmdebstrap") is None:
        raise PreconditionMissing(
            f"{what} and mmdebstrap, which makes one from this machine's Debian packages, is not installed.",
            remedy=f"`sudo apt-get install mmdebstrap uidmap`. {other}",
        )
    if os.geteuid() != 0:
        refusal = _refusal()
        if refusal:
            raise PreconditionMissing(
                f"{what} and your user may not make one from this machine's Debian packages.",
                why=f"mmdebstrap needs a user namespace with a range of user ids: {refusal}",
                remedy="`sudo apt-get install uidmap`, then `sudo usermod --add-subuids 100000-165535 "
                f"--add-subgids 100000-165535 $USER`; or run `sudo k8slab build` once. {other}",
            )


def _refusal() -> str:
    """Why mmdebstrap cannot unshare as this user, in its own words; empty when it can."""
    command = ["mmdebstrap", "--mode=unshare", "--simulate", "--variant=custom", "--format=null", "", "-", "/dev/null"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    errors = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
    told = [line for line in errors if re.search(r"unshare|subuid|subgid|newuidmap|newgidmap|namespace", line)]
    return told[0] if told else ""


def bootstrap(
    shop: Workshop, image: str, packages: Sequence[str], labels: Mapping[str, str], on_progress: OnProgress
) -> str:
    """Make the root; returns its image's id."""
    with shop.folder() as name:
        folder = Path(name)
        # mmdebstrap reads these as another user when it has to unshare.
        folder.chmod(0o755)
        (folder / "policy-rc.d").write_text(POLICY)
        (folder / "dpkg").write_text(dpkg_options())
        # As root it would mount into the root in sight of the whole machine, and leave that behind when it is killed.
        private = ["unshare", "--mount", "--propagation=private", "mmdebstrap", "--mode=root"]
        mode = private if os.geteuid() == 0 else ["mmdebstrap", "--mode=unshare"]
        process = subprocess.Popen(
            [
                # A builder that is killed takes it along.
                "setpriv",
                "--pdeathsig=TERM",
                *mode,
                "--variant=minbase",
                f"--include={','.join(packages)}",
                f"--dpkgopt={folder}/dpkg",
                *(f'--aptopt={key} "{value}"' for key, value in apt.host_settings().items()),
                f"--customize-hook=copy-in {folder}/policy-rc.d /usr/sbin",
                f"--customize-hook={SCRUB}",
                "",
                "-",
                *map(str, apt.host_sources()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": name},
            start_new_session=True,
        )
        with shop.closing(lambda: _end(process)):
            try:
                return _imported(shop, process, image, labels, on_progress)
            finally:
                _end(process)
                process.wait()


def _imported(
    shop: Workshop, process: subprocess.Popen[bytes], image: str, labels: Mapping[str, str], on_progress: OnProgress
) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    reader = threading.Thread(target=_follow, args=(process.stderr, said, on_progress), daemon=True)
    reader.start()
    changes = [f'LABEL {key}="{value}"' for key, value in labels.items()]
    answer = shop.api.import_image_from_stream(pieces(process.stdout), changes=changes)
    code = process.wait()
    reader.join()
    shop.check()
    if code != 0:
        # The engine takes the beginning of a root for a root.
        with contextlib.suppress(docker.errors.APIError):
            shop.api.remove_image(_id(answer))
        raise failed(image, "mmdebstrap", why=f"It ended with exit code {code}.", output="\n".join(said[-LAST_LINES:]))
    return _id(answer)


def _id(answer: Any) -> str:
    text = str(answer)
    found = re.findall(r"sha256:[0-9a-f]{64}", text)
    if not found:
        raise docker.errors.APIError(f"The engine did not take the root: {text.strip()[-300:]}")
    return str(found[-1])


def _follow(stream: IO[bytes], said: list[str], on_progress: OnProgress) -> None:
    for line in lines(pieces(stream)):
        text = line.removeprefix("I: ").strip()
        if text:
            said.append(line)
            share = next((share for start, share in _MILESTONES.items() if text.startswith(start)), None)
            if share is not None:
                on_progress(share, f"mmdebstrap: {text.rstrip('.')}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
