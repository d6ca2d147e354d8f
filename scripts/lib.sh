# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by all scripts in scripts/: folders, messages, locks, names of trees.
#
# Progress and errors go to stderr; stdout is for the result alone, so that
# image=$(scripts/kernel ...) works.

set -euo pipefail
export LC_ALL=C
# The same behavior under make and by hand: below another make, the kernel's
# selftests, for instance, would build in the root folder.
unset MAKELEVEL MAKEFLAGS MFLAGS
# The kernel's makefiles would use these settings of another build.
unset CROSS_COMPILE KBUILD_OUTPUT O

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/bpf-l7
JOBS=${JOBS:-$(nproc)}
LOGS=$CACHE/logs
# Depend mode: a cache miss needs no extra preprocessing.
export CCACHE_DIR=${CCACHE_DIR:-$CACHE/ccache} CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G} CCACHE_DEPEND=1

# die CAUSE-AND-REMEDY: print one line, and exit with 1.
DIED=
die()
{
	DIED=1
	printf 'bpf-l7: error: %s\n' "$*" >&2
	exit 1
}

say()
{
	printf 'bpf-l7: %s\n' "$*" >&2
}

# step TEXT: announce a step; a script that runs several sets STEP, like "2/5".
step()
{
	printf 'bpf-l7: %s%s\n' "${STEP:+[$STEP] }" "$*" >&2
}

mkdir -p "$LOGS" 2>/dev/null ||
	die "cannot write to $CACHE: make it writable or set XDG_CACHE_HOME to a folder that is"

# These switches are 1 or not set; 0 is the same as not set.
for switch in STOCK RESET UPDATE EACH RED ATTACK DEBUG; do
	case $switch=${!switch:-} in
	*=0) unset "$switch" ;;
	*= | *=1 | DEBUG=*) ;;
	*) die "$switch is 1 or 0, not '${!switch}'" ;;
	esac
done

# If the disk is full, the log may be too short to show it.
disk_is_full()
{
	[[ $(df -Pm "$CACHE" | awk 'NR == 2 { print $4 }') -lt 16 ]]
}

DISK_FULL="the disk is full; free some, or set XDG_CACHE_HOME to a larger one"

# run NAME TEXT COMMAND...: run a long command with its output in a log, report
# that it still runs, and on failure print the log's name and the likely cause.
# With TRY=1, return its status instead of exiting. It runs at a lower priority
# than VMs, as the tests in them have time limits.
run()
{
	local name=$1 text=$2 log=$LOGS/$1.log start=$SECONDS pid rc=0 tick=30
	shift 2

	step "$text ..."
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	renice -n 10 -p $pid >/dev/null 2>&1 || :
	while kill -0 $pid 2>/dev/null; do
		sleep 0.2
		if ((SECONDS - start >= tick)); then
			say "    $text: $((SECONDS - start)) s, log $log"
			tick=$((tick + 60))
		fi
	done
	wait $pid || rc=$?
	if ((rc)); then
		grep -m3 -E '^E: |(^|[^a-z])(error|fatal|failed)(:| )|No space left' "$log" |
			sed 's/^/    /' >&2 || true
		if grep -q 'No space left on device' "$log" || disk_is_full; then
			die "$text: $DISK_FULL (log: $log)"
		fi
		[[ -z ${TRY:-} ]] || return $rc
		die "$text failed with status $rc; the log is $log"
	fi
	((SECONDS - start < 2)) || say "    $((SECONDS - start)) s"
}

# need_space MIB WHAT: exit if less space is free.
need_space()
{
	local free

	free=$(df -Pm "$CACHE" | awk 'NR == 2 { print $4 }')
	((free >= $1)) ||
		die "$2 needs $1 MiB in $CACHE, $free are free: free some or set XDG_CACHE_HOME to a larger disk"
}

# lock NAME: wait for the lock, which this process and all its children hold until
# they end.
lock()
{
	mkdir -p "$CACHE/lock"
	exec {LOCK_FD}>"$CACHE/lock/$1"
	flock -n "$LOCK_FD" && return
	say "waiting for another run that uses $1"
	flock -w 7200 "$LOCK_FD" ||
		die "another run held $CACHE/lock/$1 for two hours: end it (fuser $CACHE/lock/$1)"
}

# aside PATH: set scratch to a new folder beside PATH, to be renamed to PATH when
# it is complete. It is removed if the script fails.
ASIDE=()
aside()
{
	mkdir -p "$(dirname "$1")"
	scratch=$(mktemp -d "$1.new.XXXXXX")
	ASIDE+=("$scratch")
}

# suite_packages SUITE NAME PACKAGE...: set unpacked to a folder with these packages
suite_packages()
{
	local suite=$1 arch packages=("${@:3}")

	arch=$(dpkg --print-architecture)
	unpacked=$CACHE/$2/$suite-$arch-$(sha <(printf '%s ' "${packages[@]}"))
	[[ ! -d $unpacked ]] || return 0
	step "fetching Debian's ${packages[*]}"
	aside "$unpacked"
	"$TOP/scripts/apt" unpack "$scratch" "$suite" "${packages[@]/%/:$arch}"
	mv "$scratch" "$unpacked"
}

# host_packages NAME PACKAGE...: the same, of the suite of this machine, as their programs
# use its libraries
host_packages()
{
	suite_packages "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" "$@"
}

# descendants PID: add all children of PID, and their children, to KIDS
descendants()
{
	local kid kids=()

	read -ra kids 2>/dev/null <"/proc/$1/task/$1/children" || :
	for kid in ${kids[@]+"${kids[@]}"}; do
		KIDS+=("$kid")
		descendants "$kid"
	done
}

# End all child processes before their folders are removed and locks are released.
leave()
{
	local rc=$? i KIDS

	trap '' INT TERM HUP
	for ((i = 0; i < 100; i++)); do
		KIDS=()
		descendants $$
		[[ ${#KIDS[@]} -gt 0 ]] || break
		((i % 20 > 0)) || kill -TERM "${KIDS[@]}" 2>/dev/null || :
		sleep 0.1
	done
	rm -rf ${ASIDE[@]+"${ASIDE[@]}"}
	[[ $rc == 0 || -n $DIED ]] || ! disk_is_full || die "$DISK_FULL"
}
trap leave EXIT
# No traps for TERM and HUP: without one, bash runs the EXIT trap at once, instead of
# after the command it waits for.
trap 'exit 130' INT

# sha FILE...: a short hash of the contents of files, in this order.
sha()
{
	cat "$@" | sha256sum | cut -c1-16
}

# ---- KTAP ----------------------------------------------------------------

OKS=0 NOT_OKS=0 SKIPS=0

# result STATUS NAME: one test point.
result()
{
	if (($1 == 0)); then
		OKS=$((OKS + 1))
		echo "ok $((OKS + NOT_OKS + SKIPS)) $2"
	else
		NOT_OKS=$((NOT_OKS + 1))
		echo "not ok $((OKS + NOT_OKS + SKIPS)) $2"
	fi
}

# skip NAME WHY
skip()
{
	SKIPS=$((SKIPS + 1))
	echo "ok $((OKS + NOT_OKS + SKIPS)) $1 # SKIP $2"
}

# results: print the closing line; false if a test point has failed.
results()
{
	echo "$OKS passed, $NOT_OKS failed, $SKIPS skipped"
	((NOT_OKS == 0))
}

# ---- architectures -------------------------------------------------------

# arch_resolve [ARCH]: set ARCH to x86_64 or arm64; the default is the host's.
arch_resolve()
{
	# shellcheck disable=SC2034 # for those who source this
	case ${1:-$(uname -m)} in
	x86_64 | amd64 | x86) ARCH=x86_64 ;;
	arm64 | aarch64) ARCH=arm64 ;;
	*) die "unknown ARCH '$1': it is x86_64 or arm64" ;;
	esac
}

# ---- trees ---------------------------------------------------------------

tree_names()
{
	git config -f "$TOP/trees.conf" --get-regexp '^tree\..*\.version$' |
		sed 's/^tree\.\(.*\)\.version .*/\1/'
}

# tree_get KEY: a value of T_TARGET in trees.conf, empty if there is none.
tree_get()
{
	git config -f "$TOP/trees.conf" --get "tree.$T_TARGET.$1" || true
}

makefile_version()
{
	awk -F' *= *' '$1 == "VERSION" { v = $2 } $1 == "PATCHLEVEL" { p = $2 }
		END { if (v != "") print v "." p }' "$1/Makefile" 2>/dev/null
}

# tree_resolve [NAME|PATH]: sets
#   T_NAME    the name of its folders in the cache
#   T_TARGET  its entry in trees.conf, or the entry of the same version
#   T_PATH    the user's folder, empty for an entry of trees.conf
#   T_DIR     the git repository that is made of it
#   T_SERIES  the folder of its series, empty if there is none
tree_resolve()
{
	local tree=${1:-$(tree_names | head -n 1)} name

	T_PATH=
	if tree_names | grep -qxF -- "$tree"; then
		T_NAME=$tree
		T_TARGET=$tree
	elif [[ -d $tree ]]; then
		T_PATH=$(cd "$tree" && pwd -P)
		tree_match
		T_NAME=$(basename "$T_PATH")-$(printf %s "$T_PATH" | sha256sum | cut -c1-8)
	else
		die "no tree '$tree': it is one of $(tree_names | paste -sd' '), or the folder of a kernel source"
	fi
	T_DIR=$CACHE/trees/$T_NAME
	name=${SERIES-$(tree_get series)}
	case $name in
	'') T_SERIES= ;;
	/*) T_SERIES=$name ;;
	*) T_SERIES=$TOP/patches/$name ;;
	esac
	[[ -z $T_SERIES || -d $T_SERIES ]] ||
		die "no series '$name': patches/ has $(cd "$TOP/patches" && echo *)"
}

# tree_match: set T_TARGET to the entry of trees.conf with the version of T_PATH.
tree_match()
{
	local version name

	[[ -f $T_PATH/Kbuild && -d $T_PATH/net/ipv4 ]] ||
		die "$T_PATH is not a kernel source: TREE= takes the folder that has Makefile, Kbuild and net/"
	if [[ -n ${TARGET:-} ]]; then
		tree_names | grep -qxF -- "$TARGET" ||
			die "no target '$TARGET': TARGET= is one of $(tree_names | paste -sd' ')"
		T_TARGET=$TARGET
		return
	fi
	version=$(makefile_version "$T_PATH")
	for name in $(tree_names); do
		T_TARGET=$name
		[[ $(tree_get version) != "$version" ]] || return 0
	done
	die "$T_PATH is Linux $version, which no entry of trees.conf has: say which it is like with TARGET=NAME ($(tree_names | paste -sd' '))"
}

# gitq DIR ARGS...: git without the user's settings, so that results are the same
# everywhere.
gitq()
{
	local dir=$1
	shift
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -C "$dir" \
		-c user.name=bpf-l7 -c user.email=bpf-l7@localhost \
		-c core.autocrlf=false -c gc.auto=0 -c advice.detachedHead=false "$@"
}

# ---- the stored series ---------------------------------------------------

stored_topics()
{
	[[ -z $T_SERIES ]] || find "$T_SERIES" -path '*/[0-9]*-*/[0-9]*.patch' -printf '%P\n' |
		cut -d/ -f1 | sort -u
}

series_files()
{
	local topic

	for topic in $(stored_topics); do
		ls "$T_SERIES/$topic"/[0-9]*.patch
	done
}

# A hash of the base commit and the patches: the same if nothing must be applied.
series_key()
{
	local files=()

	mapfile -t files < <(series_files)
	{
		gitq "$T_DIR" rev-parse base
		stored_topics
		[[ ${#files[@]} == 0 ]] || sha256sum "${files[@]}" | sed "s|$TOP/||"
	} | sha256sum | cut -c1-16
}
