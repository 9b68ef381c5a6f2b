# shellcheck shell=bash
# Sourced by scripts that measure or check the daemon under load: namespaces that go with the script, so that nothing else of
# this machine is polled and the kernel takes everything away at the end; and something to poll there.

# Exit status 1 outside of them: what a script does before it goes there, such as a build, is done once.
is_apart() { [ -n "${SCRIPT_IS_APART:-}" ]; }

# Starts the script again in network, mount and process namespaces of its own; there, sets them up, and $work to a folder.
apart() { # apart ARGUMENT-OF-THE-SCRIPT...
    is_apart || exec env SCRIPT_IS_APART=1 unshare --net --mount --pid --fork --kill-child --mount-proc -- "$0" "$@"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mount -t tmpfs tmpfs /run
    ip link set lo up
}

# The programs as they ship, and examples of xtcp2-soak; those of xtcp2 would bring features of crates along that its tests
# need, and build everything anew.
build_release() { # build_release [EXAMPLE...]
    cargo build --quiet --release --locked --bin xtcp2 --bin xtcp2-soak
    [ $# = 0 ] || cargo build --quiet --release --locked -p xtcp2-soak "${@/#/--example=}"
}

# Another revision in a work tree of its own, target/baseline, until the script ends.
check_out() { # check_out REV
    git worktree remove --force target/baseline 2>/dev/null || true
    git worktree add --quiet --detach target/baseline "$1"
    trap 'git worktree remove --force target/baseline' EXIT
}

# Network namespaces with as many established sockets in each; $load is the process, when all are there.
start_load() { # start_load EXAMPLES-FOLDER NAMESPACES SOCKETS
    : >"$work/load"
    "$1/load_sockets" "$2" "$3" >"$work/load" &
    load=$!
    until grep -q ready "$work/load"; do
        kill -0 $load 2>/dev/null || die "load_sockets ended"
        sleep 0.1
    done
}

# What figures are of: kernel, processors, day, commit.
machine() {
    printf 'Linux %s, %s CPUs (%s), %s, %s' "$(uname -r)" "$(nproc)" \
        "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n1)" "$(date +%F)" "$(commit)"
}

# Figures come together here, and go on record when all of them are there: a run that is broken off, or of other sizes than
# those that documents show, leaves the record alone.
FIGURES=target/figures
mkdir -p $FIGURES results
on_record() { # on_record NAME
    mv "$FIGURES/$1" results
    say "on record: results/$1; scripts/evidence takes it into the documents"
}
