# shellcheck shell=bash
# Sourced by scripts/test-race and scripts/test-memory: builds with a sanitizer of rustc's, C code included.

LOGS=target/test-logs
mkdir -p $LOGS

# Tells cargo and cc. Exit status 77 where the sanitizer cannot be had.
sanitize() { # sanitize thread|address RUSTFLAG...
    local sanitizer=$1 host
    shift
    host=$(rustc -vV | sed -n 's/^host: //p')
    case $host in
        x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
        *) echo "skipped: no sanitizers for $host"; exit 77 ;;
    esac
    if ! echo 'int main(void) { return 0; }' | cc -fsanitize="$sanitizer" -c -x c -o /dev/null - 2>/dev/null; then
        echo "skipped: cc has no -fsanitize=$sanitizer"
        exit 77
    fi
    # Another target than the host's by name: build scripts and macros then are built without the flags.
    export CARGO_BUILD_TARGET=$host
    export CARGO_TARGET_DIR=target/$sanitizer-sanitizer
    # They are flags of unstable rustc, which this makes the stable one take that everything else is built with.
    export RUSTC_BOOTSTRAP=1
    export RUSTFLAGS="-Zsanitizer=$sanitizer -Cforce-frame-pointers=yes $*"
    export CFLAGS="-fsanitize=$sanitizer -fno-omit-frame-pointer -g"
    export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_TERM_COLOR=never
    mkdir -p "$CARGO_TARGET_DIR"
}
