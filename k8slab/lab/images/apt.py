"""Debian packages in a build container, from where this machine takes its own.

A root made from the host's packages brings no package sources along. For the time of a build the host's are lent to
it: its lists of sources, keys, credentials and certificates as read-only mounts, its proxies and certificate settings
as one generated file. All of it lies within a volume, apt's own cache, so that not even a mount point stays in the
image. A root that was pulled has sources of its own and is lent nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.types import Mount

from k8slab.lab.images.workshop import Bench, Workshop

LENT = "/var/cache/apt/k8slab"
CONFIG = f"{LENT}.conf"
LISTS = "/var/lib/apt/lists"
CACHE = f"{LISTS}/srcpkgcache.bin"

_SETTING = re.compile(r'^([A-Za-z0-9_.:/-]+) "(.*)";$')
_FILES = re.compile(r"^Acquire::.*::(CaInfo|SslCert|SslKey|CrlFile)$", re.IGNORECASE)
_STATUS = re.compile(r"^(pmstatus|dlstatus|pmerror):[^:]*:([0-9.]+):(.*)$")
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

OnProgress = Callable[[float | None, str], None]


@dataclass(frozen=True)
class Sources:
    """Where packages come from: (host path, path in the container) that are lent, and apt's settings beside them."""

    mounts: tuple[tuple[str, str], ...]
    config: str

    @property
    def lent(self) -> bool:
        return bool(self.mounts)


OWN = Sources((), "")


def acquire_settings(dump: str) -> dict[str, str]:
    """From ``apt-config dump`` what says how packages are fetched; the host's hooks and index targets stay at home."""
    found = {}
    for line in dump.splitlines():
        match = _SETTING.match(line)
        if match and match[1].startswith("Acquire::") and not match[1].startswith("Acquire::IndexTargets"):
            found[match[1]] = match[2]
    return {key: value for key, value in found.items() if value and not key.endswith("::") and "Auto-Detect" not in key}


def host_settings() -> dict[str, str]:
    """How this machine fetches packages; empty where there is no apt."""
    if shutil.which("apt-config") is None:
        return {}
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=30, check=False)
    return acquire_settings(done.stdout)


def host_sources(etc: Path = Path("/etc/apt")) -> list[Path]:
    """The files in which this machine lists its package sources."""
    folder = etc / "sources.list.d"
    listed = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [etc / "sources.list", *(path for path in listed if path.suffix in (".list", ".sources"))]
    return [path for path in files if path.is_file() and _has_entries(path)]


def _has_entries(path: Path) -> bool:
    text = path.read_text(errors="replace")
    return any(re.match(r"\s*(deb\s|Types:(\s+\S+)*\s+deb(\s|$))", line) for line in text.splitlines())


def lend() -> Sources:
    """The host's own sources for build containers. The engine makes the mounts: no rights of ours are needed."""
    mounts = [("/etc/apt", f"{LENT}/etc")]
    mounts += [(path, path) for path in ("/usr/share/keyrings", "/etc/apt/keyrings") if Path(path).is_dir()]
    settings = host_settings()
    bundle = os.environ.get("SSL_CERT_FILE") or next((path for path in _CERTIFICATES if Path(path).is_file()), "")
    if bundle:
        settings.setdefault("Acquire::https::CaInfo", bundle)
    for number, (key, value) in enumerate(sorted(settings.items())):
        if _FILES.match(key) and Path(value).is_file():
            mounts.append((str(Path(value).resolve()), f"{LENT}/file-{number}"))
            settings[key] = f"{LENT}/file-{number}"
    config = {
        "Dir::Etc": f"{LENT}/etc/",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        **settings,
    }
    return Sources(tuple(mounts), "".join(f'{key} "{value}";\n' for key, value in config.items()))


class Packages:
    """Installs packages in build containers that share one freshly fetched index."""

    def __init__(self, shop: Workshop, sources: Sources) -> None:
        self._shop, self._sources = shop, sources
        self._volume = shop.volume("index")

    def close(self) -> None:
        self._shop.remove_volume(self._volume)

    def mounts(self, *, index_writable: bool = False) -> list[Mount]:
        return [
            Mount(LISTS, self._volume, type="volume", read_only=not index_writable, no_copy=True),
            Mount("/var/cache/apt", None, type="volume", no_copy=True),
            *(Mount(target, source, type="bind", read_only=True) for source, target in self._sources.mounts),
        ]

    def update(self, image: str, root: str, on_progress: OnProgress) -> None:
        """Fetch the index once, into the volume that every later container reads."""
        script = (
            f"install -d -o _apt {LISTS}/auxfiles\nchmod 755 {LISTS}\n"
            f"apt-get -q update -o APT::Status-Fd=3 -o Dir::Cache::srcpkgcache={CACHE} -o APT::Update::Error-Mode=any"
        )
        with self._shop.create(root, mounts=self.mounts(index_writable=True)) as bench:
            self._run(bench, script, image, "fetching the package index", on_progress)

    def install(
        self, bench: Bench, packages: Sequence[str], optional: Sequence[str], *, image: str, on_progress: OnProgress
    ) -> None:
        """Install the packages, and those of the optional ones that this distribution has."""
        wanted = " ".join(packages)
        # Documentation is left out, but some packages link into its folders and fail where there are none.
        script = (
            "mkdir -p /usr/share/man/man1\n"
            f"more=''; for name in {' '.join(optional)}; do\n"
            '  if apt-cache show "$name" > /dev/null 2>&1; then more="$more $name"; fi\n'
            "done\n"
            "apt-get -q -y -o APT::Status-Fd=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io"
            f" -o Dir::Cache::srcpkgcache={CACHE} -o Dir::Cache::pkgcache="
            f" install --no-install-recommends {wanted} $more"
        )
        self._run(bench, script, image, f"installing {wanted}", on_progress)

    def _run(self, bench: Bench, script: str, image: str, step: str, on_progress: OnProgress) -> None:
        environment = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        if self._sources.lent:
            environment |= {"APT_CONFIG": CONFIG, "K8SLAB_APT": self._sources.config}
            script = f'printf %s "$K8SLAB_APT" > {CONFIG}\n{script}'
        listen = _listener(on_progress)
        bench.run(f"{script} 3>&1 2>&1", image=image, step=step, environment=environment, on_line=listen)


def progress(line: str) -> tuple[float, str] | None:
    """apt's own progress line as a fraction of the whole and what it does; fetching is the first half."""
    match = _STATUS.match(line)
    if match is None:
        return None
    share = float(match[2]) / 200
    return (share if match[1] == "dlstatus" else 0.5 + share), match[3].strip()


def _listener(on_progress: OnProgress) -> Callable[[str], bool]:
    def listen(line: str) -> bool:
        seen = progress(line)
        if seen is not None:
            on_progress(*seen)
        return seen is None

    return listen
