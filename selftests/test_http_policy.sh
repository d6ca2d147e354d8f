#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Test http_policy with a running nginx, and curl.
#
#	test_http_policy.sh [HTTP_POLICY]
#
# Needs nginx, curl, and the port 8080 of the loopback device. What nginx has
# logged is compared with what the policy allows.

HTTP_POLICY=${1:-./http_policy}
DIR=$(mktemp -d)
URL=http://127.0.0.1:8080
# The exit status of curl when the connection was reset
RESET=56

passed=0 failed=0

result()
{
	if [ "$1" = "$2" ]; then
		passed=$((passed + 1))
		echo "ok $((passed + failed)) $3"
	else
		failed=$((failed + 1))
		echo "not ok $((passed + failed)) $3"
		printf '# %s\n' "got:" "${1//$'\n'/$'\n# '}" "expected:" "${2//$'\n'/$'\n# '}"
	fi
}

# nginx closes connections on which it has received nothing for two seconds.
start_nginx()
{
	mkdir "$DIR/public"
	echo public >"$DIR/public/page"
	echo secret >"$DIR/secret"
	cat >"$DIR/nginx.conf" <<-END
		user root;
		worker_processes 1;
		pid $DIR/pid;
		error_log $DIR/error.log;
		events { }
		http {
			log_format request '\$request';
			access_log $DIR/access.log request;
			client_header_timeout 2s;
			keepalive_timeout 2s;
			client_body_temp_path $DIR/body;
			proxy_temp_path $DIR/proxy;
			fastcgi_temp_path $DIR/fastcgi;
			uwsgi_temp_path $DIR/uwsgi;
			scgi_temp_path $DIR/scgi;
			server {
				listen 127.0.0.1:8080;
				root $DIR;
				location /form { return 200 "thanks\n"; }
			}
		}
	END
	nginx -e "$DIR/error.log" -c "$DIR/nginx.conf"
}

# Returns when the policy is attached.
start_policy()
{
	mkfifo "$DIR/said"
	"$HTTP_POLICY" "$(cat "$DIR/pid")" 'GET /public/' 'POST /form' >"$DIR/said" &
	policy=$!
	exec 4<"$DIR/said"
	read -r attached <&4
}

stop()
{
	[ -z "$policy" ] || kill "$policy" 2>/dev/null
	[ ! -s "$DIR/pid" ] || kill "$(cat "$DIR/pid")"
	rm -rf "$DIR"
}

# get ARGUMENT...: prints the output of curl, and its exit status if that is not 0
get()
{
	curl -sS -m 30 "$@" 2>/dev/null || echo "curl: $?"
}

# talk: sends its input, one byte at a time, and prints the status lines and
# bodies of the responses.
talk()
{
	local byte

	exec 3<>/dev/tcp/127.0.0.1/8080 || return
	while IFS= read -r -N 1 byte; do
		printf %s "$byte" >&3
	done
	answers
}

# talk_at_once: the same, in one piece
talk_at_once()
{
	local text

	exec 3<>/dev/tcp/127.0.0.1/8080 || return
	IFS= read -r -d '' text
	printf %s "$text" >&3
	answers
}

answers()
{
	tr -d '\r' <&3 2>/dev/null | grep -E '^HTTP/1|^public|^secret|^thanks|^<h1>'
	exec 3>&-
}

# request METHOD PATH
request()
{
	printf '%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$1" "$2"
}

OK=$'HTTP/1.1 200 OK\npublic'
policy='' attached='' counts=''
trap stop EXIT

echo "TAP version 14"
start_nginx
result "$(get $URL/secret)" secret "everything is served without a policy"
start_policy
result "$attached" "attached to 1 sockets" "the policy is attached to a running nginx"
: >"$DIR/access.log"

result "$(get $URL/public/page)" public "GET is served"
result "$(get -d name=value $URL/form)" thanks "POST is served"
result "$(get -w '%{num_connects}\n' $URL/public/page $URL/public/page)" \
	$'public\n1\npublic\n0' "two requests on one connection are served"
result "$(request GET /public/page | talk)" "$OK" "a request in single bytes is served"
result "$({ request GET /public/page; request GET /public/page; } | talk_at_once)" \
	"$OK"$'\n'"$OK" "two requests in one segment are served"

result "$(get $URL/secret)" "curl: $RESET" "another path is refused"
result "$(get -X DELETE $URL/public/page)" "curl: $RESET" "another method is refused"
result "$(get --path-as-is $URL/public/../secret)" "curl: $RESET" \
	"a path with .. is refused"
result "$(request GET /secret | talk)" "" "a request in single bytes is refused"
result "$({ request GET /public/page; request GET /secret; request GET /public/page; } |
	talk_at_once)" "$OK" "the second of three requests is refused, the third not served"
result "$(printf 'GET /public/page HTTP/1.1\nHost: a\n\nGET /secret HTTP/1.1\nHost: a\n\n' |
	talk_at_once)" "" "an ambiguous request is refused"

# nginx logs a request before it processes the next one.
get $URL/public/last >/dev/null
result "$(grep -v last "$DIR/access.log")" "GET /public/page HTTP/1.1
POST /form HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1" "nginx has seen only the allowed requests"

kill "$policy"
read -r counts <&4
wait "$policy"
policy=
result "$counts" "passed 9, refused 5" "the programs have counted requests"
result "$(get $URL/secret)" secret "everything is served after the policy was removed"

echo "1..$((passed + failed))"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
