#!/usr/bin/env bash
# Runs the core's suite on CPython 3.14 out of Debian's unstable suite, for machines without one.
#
#     make python3.14 ARGS="arguments of pytest's"
#
# Needs root, debootstrap, and a network. The system is made in .venv/sid, once; nothing outside of
# the checkout is touched, and what is mounted is gone when this ends.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/.venv/sid

if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    echo "This needs root and debootstrap: apt-get install debootstrap, and sudo make python3.14" >&2
    exit 1
fi

if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3.14-venv,ca-certificates sid "$root" >"$root.log" ||
        { tail "$root.log" >&2; exit 1; }
    touch "$root/made"
fi

# How pip and names are configured here, so that both work there.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    if [ -e "$file" ]; then cp "$file" "$root$file"; fi
done
rm -rf "$root/crochet"
mkdir "$root/crochet"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$root/crochet"

# Terminals and descriptors are looked at by some tests.
exec unshare --mount --propagation private bash -euc '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount -t devpts devpts "$root/dev/pts"
    exec chroot "$root" bash -euc "
        cd /crochet
        [ -e /tested/bin/python ] || python3.14 -m venv /tested
        /tested/bin/python -m pip -q install --upgrade \"pip>=25.1\"
        /tested/bin/python -m pip -q install . --group test --group notebook
        exec /tested/bin/python -m pytest -q \"\$@\"
    " bash "$@"
' bash "$root" "$@"
