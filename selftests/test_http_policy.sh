#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Test http_policy with a running nginx, and curl.
#
#	test_http_policy.sh [HTTP_POLICY]
#
# Needs nginx, curl, and the port 8080 of the loopback device. What nginx has
# logged is compared with what the policy allows. A second argument is the version of
# TLS that carries the requests: 1.2, or 1.3 if the OpenSSL of nginx uses kernel TLS to
# receive it (3.5 does, 3.0 does not). This needs openssl and python3 as well.

HTTP_POLICY=${1:-./http_policy}
TLS=${2:-}
DIR=$(mktemp -d)
URL=http://127.0.0.1:8080
[ -z "$TLS" ] || URL=https://127.0.0.1:8080
CURL=(curl -sS -m 30 ${TLS:+-k --tls-max "$TLS"})
# The exit status of curl when the connection was reset
RESET=56
# and when the server refuses a request: in TLS, all received data was decrypted, and so
# the connection is closed without a reset.
REFUSED=${TLS:+52}
REFUSED=${REFUSED:-$RESET}

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

# nginx closes connections two seconds after the last response.
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
			client_header_timeout 10s;
			keepalive_timeout 2s;
			client_body_temp_path $DIR/body;
			proxy_temp_path $DIR/proxy;
			fastcgi_temp_path $DIR/fastcgi;
			uwsgi_temp_path $DIR/uwsgi;
			scgi_temp_path $DIR/scgi;
			server {
				listen 127.0.0.1:8080${TLS:+ ssl};
				${TLS:+ssl_certificate $DIR/cert;}
				${TLS:+ssl_certificate_key $DIR/key;}
				${TLS:+ssl_protocols TLSv1.2 TLSv1.3;}
				root $DIR;
				location /form { return 200 "thanks\n"; }
			}
		}
	END
	OPENSSL_CONF=$DIR/openssl.cnf nginx -e "$DIR/error.log" -c "$DIR/nginx.conf"
}

# Let OpenSSL use kernel TLS, and make a certificate.
prepare_tls()
{
	cat >"$DIR/openssl.cnf" <<-END
		openssl_conf = init
		[init]
		ssl_conf = ssl
		[ssl]
		system_default = default
		[default]
		Options = KTLS
	END
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 \
		-subj /CN=localhost -config /dev/null \
		-keyout "$DIR/key" -out "$DIR/cert" 2>/dev/null
}

# Returns when the policy is attached.
start_policy()
{
	mkfifo "$DIR/said"
	"$HTTP_POLICY" ${TLS:+--tls} "$(cat "$DIR/pid")" 'GET /public/' 'POST /form' >"$DIR/said" &
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
	"${CURL[@]}" "$@" 2>/dev/null || echo "curl: $?"
}

# get_by_python PATH: the same by another implementation of HTTP, and Python's ssl
get_by_python()
{
	python3 - "$TLS" "$1" <<-'END' 2>/dev/null || echo "python: $?"
		import http.client, ssl, sys
		c = ssl._create_unverified_context()
		c.maximum_version = {'1.2': ssl.TLSVersion.TLSv1_2,
		                     '1.3': ssl.TLSVersion.TLSv1_3}[sys.argv[1]]
		h = http.client.HTTPSConnection('127.0.0.1', 8080, context=c, timeout=30)
		h.request('GET', sys.argv[2])
		print(h.getresponse().read().decode(), end='')
	END
}

# exchange SIZE: send the input in pieces, and print what comes back. openssl sends
# what it reads, which may be several pieces.
exchange()
{
	if [ -n "$TLS" ]; then
		dd "bs=$1" status=none |
			openssl s_client -quiet "-tls${TLS/./_}" -connect 127.0.0.1:8080 2>/dev/null
		return
	fi
	exec 3<>/dev/tcp/127.0.0.1/8080 || return
	dd "bs=$1" status=none >&3
	cat <&3 2>/dev/null
	exec 3>&-
}

# talk SIZE: send the input in pieces, and print the status lines and bodies of the
# responses.
talk()
{
	local text

	IFS= read -r -d '' text
	printf %s "$text" | exchange "$1" | tr -d '\r' |
		grep -E '^HTTP/1|^public|^secret|^thanks|^<h1>'
}

# request METHOD PATH
request()
{
	printf '%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$1" "$2"
}

OK=$'HTTP/1.1 200 OK\npublic'
# Requests that are passed, and refused, only with TLS
MORE=${TLS:+1}
# A cipher for which OpenSSL does not use kernel TLS
CBC=(--tls-max 1.2 --ciphers ECDHE-ECDSA-AES256-SHA384)
policy='' attached='' counts=''
trap stop EXIT

echo "TAP version 14"
[ -z "$TLS" ] || prepare_tls
start_nginx
result "$(get $URL/secret)" secret "everything is served without a policy"
start_policy
result "$attached" "attached to 1 sockets" "the policy is attached to a running nginx"
: >"$DIR/access.log"

result "$(get $URL/public/page)" public "GET is served"
result "$(get -d name=value $URL/form)" thanks "POST is served"
result "$(get -w '%{num_connects}\n' $URL/public/page $URL/public/page)" \
	$'public\n1\npublic\n0' "two requests on one connection are served"
result "$(request GET /public/page | talk 1)" "$OK" "a request in single bytes is served"
result "$({ request GET /public/page; request GET /public/page; } | talk 9999)" \
	"$OK"$'\n'"$OK" "two requests in one segment are served"

result "$(get $URL/secret)" "curl: $REFUSED" "another path is refused"
result "$(get -X DELETE $URL/public/page)" "curl: $REFUSED" "another method is refused"
result "$(get --path-as-is $URL/public/../secret)" "curl: $REFUSED" \
	"a path with .. is refused"
result "$(request GET /secret | talk 1)" "" "a request in single bytes is refused"
result "$({ request GET /public/page; request GET /secret; request GET /public/page; } |
	talk 9999)" "$OK" "the second of three requests is refused, the third not served"
result "$(printf 'GET /public/page HTTP/1.1\nHost: a\n\nGET /secret HTTP/1.1\nHost: a\n\n' |
	talk 9999)" "" "an ambiguous request is refused"

if [ -n "$TLS" ]; then
	result "$(get_by_python /public/page)" public "GET by Python is served"
	result "$(get_by_python /secret)" "python: 1" "another path by Python is refused"
	result "$(get "${CBC[@]}" $URL/public/page)" "curl: $RESET" \
		"a cipher without kernel TLS is refused"
	[ "$TLS" = 1.3 ] || result "$(get --tls-max 1.3 $URL/public/page)" "curl: $RESET" \
		"a version without kernel TLS is refused"
	result "$(get "http${URL#https}/public/page")" "curl: $RESET" "HTTP without TLS is refused"
fi

# nginx logs a request before it processes the next one.
get $URL/public/last >/dev/null
result "$(grep -v last "$DIR/access.log")" "GET /public/page HTTP/1.1
POST /form HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1
GET /public/page HTTP/1.1${TLS:+
GET /public/page HTTP/1.1}" "nginx has seen only the allowed requests"

kill "$policy"
read -r counts <&4
wait "$policy"
policy=
result "$counts" "passed $((9 + MORE)), refused $((5 + MORE))" "the programs have counted requests"
result "$(get $URL/secret)" secret "everything is served after the policy was removed"
if [ -n "$TLS" ]; then
	result "$(get "${CBC[@]}" $URL/secret)" secret \
		"a cipher without kernel TLS is served after the policy was removed"
	used=$(grep -E '^TlsRxSw' /proc/net/tls_stat | tr -dc 0-9)
	result "$((used > 0))" 1 "the kernel has decrypted requests"
fi

echo "1..$((passed + failed))"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
