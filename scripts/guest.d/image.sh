# shellcheck shell=bash
# The image of a guest, for scripts/guest: a disk with Debian and systemd, and kernels that boot it. It holds nothing of
# xtcp2, so it is made once.

GUEST=target/guest
# Of its disk. A file with holes: it takes what is used.
ROOT_SIZE=3G

PACKAGES=(
    init udev dbus kmod procps iproute2 util-linux zstd
    # What the .deb of xtcp2 depends on is not fetched in the guest, which has no network.
    libssl3 zlib1g ca-certificates
)

codename() { . /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}"; }

# `deb URI SUITE main`, as this host has them.
sources() {
    apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Identifier: Packages' 'Origin: Debian' | sort -u
}

# Kernels of other releases: what is older and newer than the distribution's own. Their packages are unpacked and not
# installed, so that nothing else of that release comes along.
older_and_newer() { # older_and_newer CODENAME
    case $1 in
        bookworm) echo bullseye bookworm-backports sid ;;
        trixie) echo bookworm trixie-backports sid ;;
        *) echo "$1-backports" sid ;;
    esac
}

# Of what it is made from.
key() {
    { cat scripts/guest.d/*; sources; } | sha256sum
}

build() { # build [all]: with the kernels of other releases as well, which take as long as all the rest
    local suite made kernels=${1:-main} work=$GUEST/work root=$GUEST/work/root
    suite=$(codename) || die "expected a host with Debian: the guest is made of the same release, so that programs built here run there"
    [ "$(dpkg --print-architecture)" = amd64 ] || die "expected a host of amd64: scripts/guest knows no other QEMU"
    scripts/setup guest
    # Whose packages they are, apt knows only from its lists.
    [ -n "$(sources)" ] || apt-get -qq update
    [ -n "$(sources)" ] || die "expected sources of Debian's packages in apt, found none"
    made=$(cat $GUEST/key 2>/dev/null || true)
    case $made in "$(key) $kernels" | "$(key) all") return ;; esac
    [ "$(id -u)" = 0 ] || die "expected root: the image has files of root"
    rm -rf $work $GUEST/key
    mkdir -p $work
    say "making the image of a guest, Debian $suite"
    sources >$work/sources.list
    local include main
    include=$(IFS=,; echo "${PACKAGES[*]},initramfs-tools,linux-image-cloud-$(dpkg --print-architecture)")
    # Documentation and translations would be half of it.
    # shellcheck disable=SC2016 # the hooks are for a shell of mmdebstrap's
    mmdebstrap --quiet --mode=root --variant=minbase --include="$include" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && echo MODULES=list >"$1/etc/initramfs-tools/conf.d/guest" && printf "%s\n" virtio_pci virtio_blk ext4 >"$1/etc/initramfs-tools/modules"' \
        --customize-hook='copy-in scripts/guest.d/agent /usr/local/sbin' \
        --customize-hook='copy-in scripts/guest.d/xtcp2-guest.service /etc/systemd/system' \
        --customize-hook='chroot "$1" systemctl --quiet enable xtcp2-guest.service' \
        --customize-hook='chroot "$1" systemctl --quiet mask getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer' \
        --customize-hook='echo xtcp2-guest >"$1/etc/hostname"; echo "127.0.0.1 localhost xtcp2-guest" >"$1/etc/hosts"' \
        "$suite" $root $work/sources.list
    rm -f $GUEST/vmlinuz-* $GUEST/initrd.img-*
    main=$(basename "$(echo $root/lib/modules/*)")
    [ "$kernels" = main ] || other_kernels "$suite" $work
    local version
    for version in "$root"/lib/modules/*; do
        version=${version##*/}
        cp "$root/boot/vmlinuz-$version" "$root/boot/initrd.img-$version" $GUEST/
        echo "$version"
    done | sort -V >$GUEST/kernels
    echo "$main" >$GUEST/main-kernel
    rm -rf ${root:?}/boot/* ${root:?}/var/cache/apt/* ${root:?}/var/lib/apt/lists/*
    mke2fs -q -t ext4 -L root -E lazy_itable_init=0 -d $root $GUEST/root.img $ROOT_SIZE >/dev/null
    rm -rf $work
    echo "$(key) $kernels" >$GUEST/key
}

# What is not to be had is said, and left out.
other_kernels() { # other_kernels SUITE WORK
    local suite=$1 work=$2 root=$2/root other uri package packages archive version file
    uri=$(awk -v suite="$suite" '$3 == suite { print $2; exit }' "$work/sources.list")
    for other in $(older_and_newer "$suite"); do
        # An apt of its own, which knows that release and no other.
        local apt=$work/apt-$other
        mkdir -p "$apt"/{etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d,state/lists/partial,cache/archives/partial}
        touch "$apt/state/status"
        echo "deb $uri $other main" >"$apt/etc/sources.list"
        local options=(-qq -o "Dir::Etc=$PWD/$apt/etc" -o "Dir::State=$PWD/$apt/state" -o "Dir::State::status=$PWD/$apt/state/status" -o "Dir::Cache=$PWD/$apt/cache" -o Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d -o APT::Sandbox::User=root)
        if ! apt-get "${options[@]}" update ||
            ! package=$(apt-cache "${options[@]}" depends "linux-image-cloud-$(dpkg --print-architecture)" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | grep -m1 .); then
            say "the kernel of $other could not be had: left out"
            continue
        fi
        version=${package#linux-image-}
        # Newer releases have it in several packages, all of them named after the version.
        mapfile -t packages < <(apt-cache "${options[@]}" depends "$package" | sed -n "s/^ *Depends: \(linux-[a-z]*-$version\)/\1/p")
        if ! (cd "$apt" && apt-get "${options[@]}" download "$package" "${packages[@]}"); then
            say "the kernel of $other could not be had: left out"
            continue
        fi
        for archive in "$apt"/*.deb; do
            # Not --extract, which would put a folder in the place of the link /lib.
            dpkg-deb --fsys-tarfile "$archive" | tar -x --keep-directory-symlink -C "$root"
        done
        # Newer releases keep these beside the modules.
        for file in vmlinuz config; do
            [ -e "$root/boot/$file-$version" ] || cp "$root/lib/modules/$version/$file" "$root/boot/$file-$version"
        done
        chroot "$root" /sbin/depmod "$version"
        chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin update-initramfs -c -k "$version" >/dev/null
    done
}
