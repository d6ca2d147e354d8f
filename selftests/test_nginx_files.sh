#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs files of nginx's own tests, with or without programs on every TCP connection. It
# is run by scripts/compliance in the VM.
#
#	test_nginx_files.sh plain|verdict|parser|msg JOBS SECONDS FILE...
#
# JOBS files run at the same time, each for SECONDS at most. The tests are in
# /nginx-tests; /all_tcp attaches the programs. Prints for each file
#
#	file NAME STATUS OK NOT-OK SKIPPED SECONDS REASON-FOR-SKIPPING-ALL
#
# and its tests that are not ok, and at the end "programs" and the counts of all_tcp.

TESTS=/nginx-tests
MODULES=/usr/lib/nginx/modules

# A wrapper whose output of nginx -V, which the tests read, does not have the modules
# that open no sockets. Otherwise, nginx would load them for each file.
make_nginx()
{
	/usr/sbin/nginx -V 2>&1 |
		sed -E 's/--with-\w+_(geoip|image_filter|perl|xslt)_module=dynamic//g' >"$DIR/version"
	cat >"$DIR/nginx" <<-END
		#!/bin/sh
		case \$1 in
		-V) cat $DIR/version >&2 ;;
		*) exec /usr/sbin/nginx "\$@" ;;
		esac
	END
	chmod 755 "$DIR" "$DIR/nginx"
}

# The tests run as nobody: as root, nginx's workers would be another user.
make_user()
{
	echo nobody:x:65534:65534:nobody:/:/bin/sh >>/etc/passwd
	echo nogroup:x:65534: >>/etc/group
	chmod 1777 /tmp
}

start_programs()
{
	local ready

	mkfifo "$DIR/said"
	/all_tcp "$1" >"$DIR/said" &
	programs=$!
	exec 4<"$DIR/said"
	read -r ready <&4
	[ "$ready" = ready ]
}

stop_programs()
{
	local counts

	kill "$programs"
	read -r counts <&4
	echo "programs $counts"
}

# summary NAME STATUS SECONDS: summarize the TAP of standard input
summary()
{
	awk -v name="$1" -v status="$2" -v seconds="$3" '
		/^1\.\.0 # SKIP/ { why = $0; sub(/^1\.\.0 # SKIP */, "", why) }
		/^(not )?ok .*# (TODO|skip)/ { skipped++; next }
		/^ok / { ok++ }
		/^not ok / { not_ok++; wrong[not_ok] = $0 }
		END {
			print "file", name, status, ok + 0, not_ok + 0, skipped + 0, seconds, why
			for (i = 1; i <= not_ok; i++)
				print "# " name ": " wrong[i]
		}'
}

# The output of each file is written at once, as several files run at the same time.
run_file()
{
	local began=$SECONDS status=0 said

	timeout -k 10 "$LIMIT" setpriv --reuid nobody --regid nogroup --clear-groups \
		perl "$1" >"$DIR/$1.tap" 2>"$DIR/$1.err" || status=$?
	said=$(summary "$1" "$status" $((SECONDS - began)) <"$DIR/$1.tap"
	       [ "$status" = 0 ] || head -n 30 "$DIR/$1.err" | sed "s/^/# $1: /")
	echo "$said"
	rm -rf "$DIR/$1".*
}

run_files()
{
	local file pids=()

	for file; do
		[ "${#pids[@]}" -lt "$JOBS" ] || wait -n
		run_file "$file" </dev/null &
		pids+=($!)
	done
	wait "${pids[@]}"
}

MODE=$1 JOBS=$2 LIMIT=$3
shift 3
DIR=$(mktemp -d)
programs=''
export TEST_NGINX_BINARY=$DIR/nginx TEST_NGINX_MODULES=$MODULES
PERL5LIB=/usr/share/perl5:$(echo /usr/lib/*/perl5/5.*)
export PERL5LIB

make_nginx
make_user
cd "$TESTS" || exit
if [ "$MODE" != plain ] && ! start_programs "$MODE"; then
	echo "the programs cannot be attached to TCP connections" >&2
	exit 1
fi
run_files "$@"
[ -z "$programs" ] || stop_programs
