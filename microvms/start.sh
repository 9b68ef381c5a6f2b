#!/usr/bin/env bash
# Starts the guest of a scenario, waits for it, and ends with the exit status of its gates. `nix run .#microvm-...` calls it
# with these set: SCENARIO, its name; KVM and TCG, the programs that run the guest with and without acceleration; PORTS, as
# "admin=9088 kafka=9092".
set -euo pipefail

say() { printf '%s: %s\n' "$SCENARIO" "$*" >&2; }
die() {
    say "$@"
    exit 2
}
usage() {
    cat <<END
Usage: microvm-ARCHITECTURE-$SCENARIO [--duration DURATION] [--out DIR]

With --duration the guest runs the soak scenario $SCENARIO for so long and ends; exit status 0 when every gate was kept,
1 when one was broken, 2 when it could not run or judge. Without, it stays up, with its console here; 'reboot' in it ends it.

  --out DIR    folder of the run, made; else microvm-$SCENARIO-TIME in the current one. It has result.json, report.html and
               what else a soak leaves (docs/soak.md)
END
}

duration='' out=microvm-$SCENARIO-$(date -u +%Y%m%dT%H%M%SZ)
while [ $# -gt 0 ]; do
    case $1 in
        --duration | --out)
            [ $# -gt 1 ] || die "$1: expected a value, got none: see --help"
            if [ "$1" = --out ]; then out=$2; else duration=$2; fi
            shift 2
            ;;
        -h | --help)
            usage
            exit
            ;;
        *) die "expected --duration, --out or --help, got '$1'" ;;
    esac
done
mkdir -p "$out"
# QEMU shares the current folder with the guest, so no path has to survive its commas.
cd "$out"
[ -z "$(ls -A)" ] || die "$out: expected an empty folder, or none"
[ -z "$duration" ] || echo "$duration" >duration

# The scenario's own ports where they are free, else the next ones that are. They are taken a moment later; a host on which
# another takes one in between says so, by QEMU.
taken=' ' forward=''
say "folder $PWD"
for pair in $PORTS; do
    port=${pair#*=}
    while [[ $taken == *" $port "* ]] || ss -Htnl "sport = :$port" | grep -q .; do
        port=$((port + 1))
    done
    taken+="$port "
    forward+=",hostfwd=tcp:127.0.0.1:$port-:${pair#*=}"
    say "${pair%=*} of the guest: 127.0.0.1:$port"
done
export XTCP2_QEMU_ARGUMENTS="-netdev user,id=host$forward -device virtio-net-pci,netdev=host,romfile="

guest=''
end_guest() {
    if [ -n "$guest" ]; then
        kill "$guest" 2>/dev/null || true
        wait "$guest" 2>/dev/null || true
        guest=''
    fi
    # The disk is no result.
    rm -f var.img
}
trap end_guest EXIT

# boot PROGRAM SECONDS: whether the guest of PROGRAM says within SECONDS that it is up.
boot() {
    local deadline=$((SECONDS + $2))
    # Without job control it stays in this group, and so may read the terminal.
    "$1" <&0 &
    guest=$!
    until [ -e booted ]; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$guest" 2>/dev/null; then
            end_guest
            return 1
        fi
        sleep 0.2
    done
}

# A KVM that opens may still hang or be refused later: in guests of clouds, say.
kvm_device=${XTCP2_KVM_DEVICE-/dev/kvm}
if ! [ -w "$kvm_device" ]; then
    say "no KVM: $kvm_device cannot be written. Emulated instead, many times slower: speed cannot be judged by it"
elif boot "$KVM" "${XTCP2_KVM_DEADLINE_SECONDS-120}"; then
    say "up, with KVM"
else
    say "KVM did not bring it up. Emulated instead, many times slower: speed cannot be judged by it"
fi
if [ -z "$guest" ]; then
    boot "$TCG" "${XTCP2_TCG_DEADLINE_SECONDS-1200}" || die "the guest did not come up"
    say "up, emulated"
fi

wait "$guest" || true
guest=''
[ -n "$duration" ] || exit 0
[ -e status ] || die "the guest ended without a verdict"
status=$(cat status)
say "exit status $status; results are in $PWD"
exit "$status"
