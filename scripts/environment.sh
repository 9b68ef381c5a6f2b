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

# What was measured or checked: the commit, and whether there were changes that it does not have, but for documents and what
# makes them.
commit() {
    local changes=''
    # An unpacked archive has none.
    git rev-parse --git-dir >/dev/null 2>&1 || { printf 'commit unknown'; return; }
    git diff --quiet HEAD -- . ':!results' ':!*.md' ':!docs' ':!scripts/evidence*' || changes=', with changes'
    printf 'commit %s%s' "$(git rev-parse --short=12 HEAD)" "$changes"
}

# The sum of one column over summaries of cargo's test runner in a log: those of whole programs, or of others. A test that
# runs itself again in a sandbox leaves the summary of its child there, which filtered out all the others.
count() { # count LOG COLUMN-NAME [WHICH-SUMMARIES]
    awk -v name="$2" -v which="${3:- 0 filtered out}" '/^test result:/ && $0 ~ which { for (i = 2; i <= NF; i++) if ($i ~ "^" name) sum += $(i - 1) } END { print sum + 0 }' "$1"
}

# The failed tests of a log of cargo's test runner and what each of them said, or else the end of the log.
what_failed() { # what_failed LOG
    grep -aE '^test .* FAILED$' "$1" || { tail -n 60 "$1"; return; }
    # The runner repeats what a test said under its name, and then the names of those that failed.
    awk '/^test .* FAILED$/ { failed[$2] }
        /^---- .* stdout ----$/ { shown = $2 in failed; lines = 0 }
        /^(failures|successes|test result):/ { shown = 0 }
        shown && lines++ < 60' "$1"
}

# The newest test program of that name, a package's own being that of its library: cargo says where it is.
test_program() { # test_program NAME [PACKAGE]
    local package=${2:-xtcp2} target=(--test "$1")
    [ "$1" != "$package" ] || target=(--lib)
    cargo test --quiet --locked -p "$package" --no-run "${target[@]}" --message-format=json |
        sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -n1
}
