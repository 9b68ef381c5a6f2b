# shellcheck shell=bash
# Sourced by the other scripts: the repository as working directory, and where its tools are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Nothing is installed for the whole machine but packages of the distribution: the rest is here, and
# `rm -r target` removes it.
# shellcheck disable=SC2034 # for those that source this
VENV=target/venv
TOOLS=target/tools
# rustup puts cargo where only login shells look.
export PATH="$PWD/$TOOLS/bin:$PATH:${HOME:-/root}/.cargo/bin"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$@"
    exit 1
}
