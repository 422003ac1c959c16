#!/bin/sh
# Make sure that one of the FILEs is there: install the Debian PACKAGE that brings it, or fail and say so.
#
#     tools/debian_package.sh PACKAGE FILE...
set -eu
package=$1
shift
files=$*
for file in "$@"; do
    if [ -e "$file" ]; then exit 0; fi
done

fail() {
    echo "debian_package.sh: $1; install the Debian package $package, which brings $files" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "this machine has no apt-get"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "only root may install packages"
    as_root=sudo
fi
$as_root apt-get update -qq || fail "apt-get update failed"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
    fail "apt-get install failed"
for file in "$@"; do
    if [ -e "$file" ]; then exit 0; fi
done
fail "the package does not bring it"
