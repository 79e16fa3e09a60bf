#!/bin/bash
# root.sh: a root file system of a Debian release, to build and test in with
# that release's PostgreSQL.
#
#	root.sh make DIR SUITE NN		make it, with server NN, unless it is there
#	root.sh add DIR SUITE NN FROM TREE
#									put NN's server in there too, of an older
#									release: as it is in the file system FROM, with
#									the files in TREE
#	root.sh run DIR COMMAND ...		run a command in a copy of the source, DIR/src
#
# Packages come from where this machine's own do: mirror, proxy and further
# settings for fetching are those of its apt.
#
# Whatever goes on in a root is done in a mount and process namespace of its
# own.  What is mounted or started there ends with it, however that comes about.
set -euo pipefail
self=$(realpath "$0")
here=$(dirname "$(dirname "$self")")

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || die "a root file system takes root, or sudo"
	exec sudo -n ${http_proxy:+http_proxy="$http_proxy"} \
		${https_proxy:+https_proxy="$https_proxy"} "$self" "$@"
fi
if [ -z "${ROOT_SH_INSIDE:-}" ]; then
	# In a process group of its own; unshare is deaf to other signals.
	set -m
	ROOT_SH_INSIDE=yes unshare --mount --propagation private \
		--pid --fork --mount-proc --kill-child -- "$self" "$@" &
	child=$!
	set +m
	trap 'kill -KILL "$child"; exit 130' INT TERM HUP
	status=0
	wait "$child" || status=$?
	exit "$status"
fi

action=$1
dir=$2
shift 2

# A quiet command: its output only matters when it fails.
quietly() {
	"$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "failed: $*"; }
}

# Where this machine takes packages from that are labelled so, or the default.
mirror() {
	local label=$1 default=$2 uri=

	if command -v apt-get >/dev/null; then
		uri=$(apt-get indextargets --format '$(REPO_URI)' \
			'Identifier: Packages' 'Origin: Debian' "Label: $label" | head -n 1)
	fi
	case $uri in
		http://*|https://*|file:/*) say "${uri%/}" ;;
		*) say "$default" ;;
	esac
}

# Name resolution and apt's ways to fetch, as they are on this machine now.
configure() {
	local f

	for f in /etc/resolv.conf /etc/hosts; do
		[ ! -f "$f" ] || cp -L "$f" "$1/etc/"
	done
	apt-config dump | grep '^Acquire::' >"$1/etc/apt/apt.conf.d/90fetch" || true
	[ ! -f /etc/apt/auth.conf ] || cp -p /etc/apt/auth.conf "$1/etc/apt/"
	[ ! -d /etc/apt/auth.conf.d ] || cp -rp /etc/apt/auth.conf.d "$1/etc/apt/"
	if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
		mkdir -p "$1/etc/ssl/certs"
		[ -f "$1/etc/ssl/certs/ca-certificates.crt" ] ||
			cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
	fi
}

enter() {
	local root=$1
	shift

	mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
	mountpoint -q "$root/dev/shm" || {
		mkdir -p "$root/dev/shm"
		mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
	}
	# for 023_disk_full, which cannot mount one inside of a changed root
	mountpoint -q "$root/mnt" || mount -t tmpfs -o size=48m,mode=1777 small "$root/mnt"
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 EVENTLOG_SMALL_DISK=/mnt \
		TERM="${TERM:-dumb}" DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
		chroot "$root" "$@"
}

copy_source() {
	rm -rf "$1/src"
	mkdir "$1/src"
	tar -C "$here" --exclude-vcs --exclude='*.o' --exclude='*.d' --exclude='*.so' \
		--exclude=.build-key -cf - . | tar -C "$1/src" --no-same-owner -xf -
}

install_packages() {
	local root=$1
	shift

	quietly enter "$root" apt-get update -q
	quietly enter "$root" apt-get install -y -q --no-install-recommends "$@"
	quietly enter "$root" apt-get clean
}

case $action in
make)
	suite=$1 nn=$2
	[ ! -d "$dir" ] || exit 0
	mkdir -p "$(dirname "$dir")"
	new=$dir.new
	log=$dir.log
	: >"$log"
	rm -rf --one-file-system "$new"

	if ! command -v debootstrap >/dev/null; then
		command -v apt-get >/dev/null || die "debootstrap is missing"
		say "This package is missing and will be installed with apt-get:"
		say "    debootstrap"
		quietly apt-get update -q
		quietly apt-get install -y -q --no-install-recommends debootstrap
	fi
	say "A root file system is made of Debian $suite (2 GB) in"
	say "    $dir"
	say "with these packages and what they need:"
	say "    make postgresql-$nn postgresql-server-dev-$nn"

	# A release newer than this machine's debootstrap is made as sid is.
	script=/usr/share/debootstrap/scripts/$suite
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	debian=$(mirror Debian http://deb.debian.org/debian)
	security=$(mirror Debian-Security http://deb.debian.org/debian-security)
	quietly debootstrap --variant=minbase "$suite" "$new" "$debian" "$script"

	configure "$new"
	echo "deb $security $suite-security main" >>"$new/etc/apt/sources.list"
	# No services, no cluster, no waiting for the disk.
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod +x "$new/usr/sbin/policy-rc.d"
	mkdir -p "$new/etc/postgresql-common"
	echo 'create_main_cluster = false' >"$new/etc/postgresql-common/createcluster.conf"
	echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/unsafe-io"
	install_packages "$new" make "postgresql-$nn" "postgresql-server-dev-$nn"
	copy_source "$new"
	# ... and what else the tests need.
	enter "$new" env PG_CONFIG="/usr/lib/postgresql/$nn/bin/pg_config" /src/test/prepare.sh test
	mv "$new" "$dir"
	rm -f "$log"
	;;
add)
	suite=$1 nn=$2 from=$3 tree=$4
	# The package for what it needs; the very files that have been tested.
	if [ ! -d "$dir/usr/lib/postgresql/$nn" ]; then
		log=$dir.log
		: >"$log"
		say "This package of Debian $suite is installed in $dir:"
		say "    postgresql-$nn"
		configure "$dir"
		echo "deb $(mirror Debian http://deb.debian.org/debian) $suite main" \
			>"$dir/etc/apt/sources.list.d/$suite.list"
		# Only what the root's own release has not.
		printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$suite" \
			>"$dir/etc/apt/preferences.d/$suite"
		install_packages "$dir" "postgresql-$nn"
		rm -f "$log"
	fi
	for part in lib share; do
		rm -rf "$dir/usr/$part/postgresql/$nn"
		cp -r "$from/usr/$part/postgresql/$nn" "$dir/usr/$part/postgresql/"
	done
	cp -r "$tree/." "$dir/"
	;;
run)
	configure "$dir"
	# What an interrupted run has left.
	find "$dir/tmp" -mindepth 1 -delete
	copy_source "$dir"
	status=0
	enter "$dir" sh -c 'cd /src && exec "$@"' sh "$@" || status=$?
	exit "$status"
	;;
*)
	die "root.sh: make, add or run?"
	;;
esac
