# What scripts/up and scripts/test share: the packages, the engine and the virtual environment they need.
# Sourced, never run. Works as root or with sudo, with or without systemd.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

die() {
    printf 'k8slab: %s\n' "$*" >&2
    exit 3
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        die "this needs root: $* (run it as root, or install sudo)"
    fi
}

# Installs those of the Debian packages given that are not there yet.
need_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get > /dev/null || die "please install: ${missing[*]}"
    say "installing ${missing[*]}"
    # Lists may be missing or stale on a fresh machine; one refresh mends both.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

# The engine answers afterwards: as it is, or started by systemd, or by hand where there is none.
need_engine() {
    docker_answers && return 0
    need_packages docker.io iptables
    if [ -d /run/systemd/system ]; then
        say "starting the Docker Engine"
        as_root systemctl start docker
    else
        say "starting the Docker Engine by hand (there is no systemd)"
        # A stale pid file of an engine that was cut off keeps a new one from starting.
        local pid_file=/var/run/docker.pid
        if [ -e "$pid_file" ] && ! grep -qs dockerd "/proc/$(cat "$pid_file")/cmdline"; then
            as_root rm -f "$pid_file"
        fi
        as_root sh -c 'setsid dockerd > /var/log/k8slab-dockerd.log 2>&1 < /dev/null &'
    fi
    local tries=0
    until docker_answers; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || die "the Docker Engine did not come up: see /var/log/k8slab-dockerd.log"
        sleep 0.2
    done
}

# Whether the engine answers at all, to us or only to root.
docker_answers() {
    command -v docker > /dev/null || return 1
    docker version > /dev/null 2>&1 || as_root docker version > /dev/null 2>&1
}

# Runs a command that speaks to the engine as the user who called: through the docker group, of which a user with sudo
# becomes a member here, and which this login does not know of yet.
with_docker() {
    if docker version > /dev/null 2>&1; then
        "$@"
        return
    fi
    if ! id -nG "$(id -un)" | tr ' ' '\n' | grep -qx docker; then
        say "adding $(id -un) to the docker group (log in again to have it everywhere)"
        as_root usermod -aG docker "$(id -un)"
    fi
    sg docker -c "$(printf '%q ' "$@")"
}

need_python() {
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
        need_packages python3
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed"
    fi
    python3 -c 'import ensurepip, venv' 2> /dev/null || need_packages python3-venv
}

# The checkout's own virtual environment with the extras given ("daemons", "dev,daemons").
need_venv() {
    need_python
    local wanted stamp
    stamp=$venv/.k8slab-$1
    wanted=$(sha256sum "$root/pyproject.toml" | cut -d ' ' -f 1)
    if [ "$(cat "$stamp" 2> /dev/null)" = "$wanted" ]; then return 0; fi
    say "installing k8slab into .venv"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root[$1]"
    echo "$wanted" > "$stamp"
}
