#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# netdevs by its command line, on namespaces with all kinds of devices: what it says
# is what ip and tc say, number by number.
#
#	test_netdevs.sh [NETDEVS [SCHEMA]]
#
# Needs ip, tc and jq, and makes namespaces named nd-*.

# Programs of jq and of other shells stand in single quotes, as do backslashes.
# shellcheck disable=SC2016,SC1003

NETDEVS=${1:-./netdevs}
SCHEMA=${2:-netdevs.schema.json}
DIR=$(mktemp -d)
TRIES=50	# to find devices at rest
WAIT=20		# seconds that an answer may take

passed=0 failed=0

result()
{
	if [ "$1" = "$2" ]; then
		passed=$((passed + 1))
		echo "ok $((passed + failed)) $3"
	else
		failed=$((failed + 1))
		echo "not ok $((passed + failed)) $3"
		printf '# %s\n' "is:" "${1//$'\n'/$'\n# '}" "not:" "${2//$'\n'/$'\n# '}"
	fi
}

nd()
{
	"$NETDEVS" "$@"
}

# Exit status and words of a command that must fail, with one line
refusal()
{
	local words rc

	words=$("$@" 2>&1 >/dev/null)
	rc=$?
	echo "$rc $(wc -l <<<"$words") $words"
}

# misuse WORDS ARGUMENT...: are refused with these words, and where there is help
misuse()
{
	result "$(refusal "$NETDEVS" "${@:2}" | head -n 1)" "64 2 netdevs: $1" "no ${*:2}"
}

# ---- the scene ----------------------------------------------------------------

# namespace NAME: without the packets of IPv6
namespace()
{
	ip netns add "$1"
	ip netns exec "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
		net.ipv6.conf.default.disable_ipv6=1
	ip -n "$1" link set lo up
}

# packets NETNS ADDRESS COUNT: each is sent when the next is
packets()
{
	ip netns exec "$1" bash -c 'for ((i = 0; i < $1; i++)); do
		printf %100s >"/dev/udp/$0/9"; done 2>/dev/null' "$2" "$3"
}

# settle NETNS DEVICE...: who asks for one device waits until its carrier is used.
settle()
{
	local dev

	for dev in "${@:2}"; do
		ip -n "$1" link show dev "$dev" >/dev/null
	done
}

# address NETNS DEVICE PREFIX: with a neighbour, PREFIX.2, that need not be asked for
address()
{
	ip -n "$1" addr add "$3.1/24" dev "$2"
	ip -n "$1" link set "$2" up
	ip -n "$1" neigh replace "$3.2" lladdr 02:00:00:00:00:02 dev "$2" nud permanent
}

scene()
{
	local i

	namespace nd-blue
	namespace nd-red
	namespace nd-many
	# Two veths: one with queues and a VLAN on it, one behind a bridge
	ip link add va netns nd-blue numtxqueues 4 type veth peer name vb netns nd-red
	ip link add port netns nd-blue type veth peer name far netns nd-red
	ip -n nd-blue link add link va name vlan7 type vlan id 7
	ip -n nd-blue link add br type bridge
	ip -n nd-blue link set port master br
	ip -n nd-blue link set port up
	ip -n nd-red link set vb up
	address nd-blue va 10.1.1
	address nd-blue vlan7 10.1.7
	address nd-blue br 10.1.2
	address nd-red far 10.1.3
	tc -n nd-blue qdisc replace dev va root handle 1: mq
	tc -n nd-blue qdisc replace dev va parent 1:2 handle 12: fq_codel
	# A queue that lets two packets go, and keeps four
	ip -n nd-blue link add shaped type dummy
	address nd-blue shaped 10.1.4
	tc -n nd-blue qdisc replace dev shaped root handle 2: tbf rate 8bit burst 300 limit 600
	# What comes in is dropped, and counted by nobody but the qdisc.
	tc -n nd-red qdisc add dev far clsact
	tc -n nd-red filter add dev far ingress matchall action drop
	tc -n nd-red qdisc add dev vb ingress
	# Of a device that was never up, the only qdisc is that of ingress.
	ip -n nd-red link add idle type dummy
	tc -n nd-red qdisc add dev idle ingress
	for i in 1 10; do
		ip -n nd-red link add "eth$i" type dummy
		address nd-red "eth$i" "10.2.$i"
	done
	settle nd-red vb far
	settle nd-blue va port vlan7 br
	# A small MTU at the other end: both count drops.
	packets nd-blue 10.1.1.2 20
	packets nd-blue 10.1.7.2 5
	ip -n nd-red link set vb mtu 100
	packets nd-blue 10.1.1.2 7
	packets nd-blue 10.1.2.2 3
	packets nd-blue 10.1.4.2 40
	packets nd-red 10.1.3.2 4
	packets nd-red 10.2.1.2 9
	packets nd-red 10.2.10.2 11
	for ((i = 0; i < 1500; i++)); do
		echo "link add d$i type dummy"
	done | ip -n nd-many -batch -
}

end()
{
	local ns

	for ns in nd-blue nd-red nd-many; do
		ip netns del "$ns" 2>/dev/null
	done
	rm -rf "$DIR"
}

# ---- against ip and tc --------------------------------------------------------------

# Both, of a namespace, in one form: lines "DEVICE WHERE COUNTER NUMBER"
LINKS='.[] | .ifname as $dev | .stats64 // {rx, tx} | {rx, tx} | to_entries[] | .key as $dir |
	.value | del(.carrier_changes) | to_entries[] | "\($dev) \($dir) \(.key) \(.value)"'
QDISCS='"\(.kind) \(.handle) \(if .root then "root" else .parent end)" as $q |
	{bytes, packets, drops, overlimits, requeues, backlog, qlen} | to_entries[] |
	"\($dev) \($q) \(.key) \(.value)"'

# ask NETNS: what they say when nothing has changed meanwhile
ask()
{
	local i

	for ((i = 0; i < TRIES; i++)); do
		nd --json --netns "$1" >"$DIR/before"
		ip -n "$1" -j -s -s link >"$DIR/ip"
		tc -n "$1" -j -s qdisc show >"$DIR/tc"
		nd --json --netns "$1" >"$DIR/after"
		! cmp -s <(jq -c .shown "$DIR/before") <(jq -c .shown "$DIR/after") || return 0
	done
	echo "# $1 is never at rest"
	return 1
}

# compare NETNS AT-LEAST: each number of ip and tc is there, and so many are compared.
compare()
{
	local n

	ask "$1"
	result $? 0 "$1: at rest"
	jq -r "$LINKS" "$DIR/ip" | sort >"$DIR/want"
	jq -r ".shown | $LINKS" "$DIR/after" | sort >"$DIR/have"
	n=$(wc -l <"$DIR/want")
	result "$(comm -23 "$DIR/want" "$DIR/have")" "" "$1: ip -s -s link, $n numbers"
	jq -r ".[] | .dev as \$dev | $QDISCS" "$DIR/tc" | sort >"$DIR/want"
	jq -r ".shown[] | .ifname as \$dev | .qdiscs[] | $QDISCS" "$DIR/after" | sort >"$DIR/have"
	result "$(diff "$DIR/want" "$DIR/have")" "" "$1: tc -s qdisc, $(wc -l <"$DIR/want") numbers"
	n=$((n + $(wc -l <"$DIR/want")))
	result $((n >= $2)) 1 "$1: $2 numbers or more"
}

# value NETNS DEVICE FILTER: of what netdevs says of a device
value()
{
	nd --json --netns "$1" --dev "$2" | jq -c ".shown[] | $3"
}

test_numbers()
{
	compare nd-blue 300
	compare nd-red 200
	# So that both were not wrong alike
	result "$(value nd-blue va '[.tx.packets, .tx.dropped]')" "[25,7]" \
		"sent and dropped by a veth"
	result "$(value nd-red vb '.rx | [.packets, .dropped, .otherhost_dropped]')" "[25,7,25]" \
		"received, and for another host"
	result "$(value nd-red vb '[.rx.packets, .qdiscs[].kind]')" '[25,"noqueue","ingress"]' \
		"ingress is no root"
	result "$(value nd-red idle '[.qdiscs[] | .kind, .root]')" '["ingress",null]' \
		"nor where there is none"
	result "$(value nd-red far '[.rx.dropped, (.qdiscs[] | select(.parent).drops)]')" \
		"[0,3]" "dropped at ingress"
	result "$(value nd-blue shaped '[.tx.packets, (.qdiscs[] | .kind, .drops, .qlen)]')" \
		'[2,"tbf",34,4]' "a full queue"
	result "$(value nd-blue va '[.qdiscs[] | if .root then .kind else .parent end] | sort')" \
		'["1:1","1:2","1:3","1:4","mq"]' "mq and its queues"
}

# ---- which devices, in what order ---------------------------------------------------

# names ARGUMENT...: of the devices shown
names()
{
	nd --json "$@" | jq -r '[.shown[].ifname] | join(" ")'
}

test_netns()
{
	local blue pid inode

	blue=$(names --netns nd-blue --sort name)
	result "$blue" "br lo port shaped va vlan7" "--netns by name, --sort name"
	result "$(names --netns /run/netns/nd-blue --sort name)" "$blue" "by path"
	inode=$(stat -Lc %i /run/netns/nd-blue)
	result "$(names --netns "$inode" --sort name)" "$blue" "by inode number"
	exec 6< <(exec ip netns exec nd-blue bash -c 'echo $$; exec tail -f /dev/null')
	read -r pid <&6
	result "$(names --netns "$pid" --sort name)" "$blue" "by process"
	kill "$pid"
	exec 6<&-
	result "$(value nd-blue '*' '[.netns, .netns_name]' | sort -u)" \
		"[$inode,\"nd-blue\"]" "names the namespace"
	result "$(nd --json | jq '[.shown[].netns_cookie] | unique | length')" \
		"$(nd --json | jq '[.shown[].netns] | unique | length')" "a cookie each"
	result "$(refusal "$NETDEVS" --netns nd-none)" \
		"1 1 netdevs: /run/netns/nd-none: No such file or directory" "none of this name"
	result "$(refusal "$NETDEVS" --netns 0)" \
		"1 1 netdevs: /proc/0/ns/net: No such file or directory" "0 is not all"
	result "$(refusal "$NETDEVS" --netns /proc/self/ns/uts)" \
		"1 1 netdevs: /proc/self/ns/uts: not a network namespace" "of another kind"
}

test_dev()
{
	result "$(names -n nd-red --dev eth1)" "eth1" "--dev is exact"
	result "$(names -n nd-red --dev eth)" "" "and no prefix"
	result "$(names -n nd-red --sort name --dev 'eth*')" "eth1 eth10" "a pattern"
	result "$(names -n nd-red --dev 'eth?')" "eth1" "another"
	result "$(names -n nd-red --dev 'eth1[0]')" "eth10" "a third"
	misuse "no device has such a name: " --dev ''
	misuse "no device has such a name: sixteen-letters-" --dev sixteen-letters-
}

# sorted KEY FILTER: the largest first
sorted()
{
	nd --json --sort "$1" | jq "[.shown[] | $2] | . == (sort | reverse), max > 0" >"$DIR/sorted"
	result "$(paste -sd' ' "$DIR/sorted")" "true true" "--sort $1"
}

test_order()
{
	local drops='.rx.dropped + .rx.missed_errors + .tx.dropped +
		([.qdiscs[] | select(.root or .parent == "ffff:fff1").drops] | add // 0)'

	sorted bytes '.rx.bytes + .tx.bytes'
	sorted rx '.rx.bytes'
	sorted tx '.tx.bytes'
	sorted packets '.rx.packets + .tx.packets'
	sorted drops "$drops"
	sorted backlog '[.qdiscs[] | select(.root).backlog] | add // 0'
	result "$(nd --json --sort errors | jq '[.shown[] | .rx.errors + .tx.errors] |
		. == (sort | reverse)')" true "--sort errors"
	misuse "cannot sort by age" --sort age
	result "$(names --sort drops --min 7 | wc -w)" 3 "--min"
	result "$(nd --json --sort drops --min 7 | jq "[.shown[] | $drops]" | jq -c .)" \
		"[34,7,7]" "what they dropped"
	result "$(names --sort drops --top 1)" "shaped" "--top"
	result "$(names --top 7 | wc -w)" 7 "--top 7"
	misuse "not a number of devices: 0" --top 0
	result "$(names -n nd-many | wc -w)" 1501 "no limit without --top"
	result "$(nd --json | jq '.devices == (.shown | length)')" true "in all namespaces"
}

# ---- the table ------------------------------------------------------------------------

# row DEVICE ARGUMENT...: the words of its line
row()
{
	local device=$1

	"$NETDEVS" "${@:2}" | awk -v dev="$device" '$2 == dev { $1 = $1; print }'
}

test_table()
{
	local bytes columns

	bytes=$(value nd-blue va .tx.bytes)
	result "$(row va -n nd-blue --bytes)" "nd-blue va 0 0 0 0 0 $bytes 25 7 0 mq 0 0 0 - 0" \
		"--bytes: one line a device"
	result "$(row far -n nd-red --bytes | cut -d' ' -f 12-)" "noqueue 0 0 0 clsact 3" "ingress"
	result "$(row idle -n nd-red --bytes | cut -d' ' -f 12-)" "- 0 0 0 ingress 0" "no root"
	result "$(nd -n nd-red | sed -n '1s/^[-0-9]* [:0-9]*  //; 1p')" \
		"6 of $(nd --json -n nd-red | jq .devices) devices, totals" "what it is of"
	columns="NETNS DEVICE RX B PKTS DROP MISSED ERR TX B PKTS DROP ERR"
	columns+=" QDISC DROP QUEUED QUEUE B INGRESS DROP"
	result "$(nd | sed -n '2{s/  */ /g; p}')" "$columns" "units"
	tc -n nd-blue -j -s qdisc show dev va root | jq -r '.[] | select(.root) |
		"\(.bytes) B, \(.packets) packets, dropped \(.drops), overlimits \(.overlimits), " +
		"requeues \(.requeues), queued \(.qlen), \(.backlog) B"' >"$DIR/want"
	result "$(nd -n nd-blue -d va -D --bytes | sed -n 's/^ *qdisc: mq //p')" \
		"1: root, $(cat "$DIR/want")" "--details: qdiscs"
	result "$(nd -n nd-blue -d va -D | grep -c 'qdisc: .* parent 1:')" 4 "each"
	nd 2>"$DIR/words" >/dev/full
	result "$? $(cat "$DIR/words")" "1 netdevs: cannot write: No space left on device" "no room"
}

# Names are bytes: those of UTF-8 pass, others do not make JSON that is none.
test_bytes()
{
	ip -n nd-red link add $'\xc3\xbc0' type dummy
	ip -n nd-red link add $'bad\xff' type dummy
	ip -n nd-red link add 'q"\' type dummy
	result "$(names -n nd-red -d $'\xc3\xbc0')" $'\xc3\xbc0' "UTF-8"
	result "$(names -n nd-red -d 'bad*')" $'bad\xef\xbf\xbd' "not UTF-8"
	result "$(names -n nd-red -d 'q*')" 'q"\' "quotes"
	result "$(nd -n nd-red -d 'bad*' | tail -n 1 | cut -c 14-17)" "bad?" \
		"not to the terminal"
	ip -n nd-red link del $'\xc3\xbc0'
	ip -n nd-red link del $'bad\xff'
	ip -n nd-red link del 'q"\'
}

# ---- again and again --------------------------------------------------------------------

# start_watch ARGUMENT...: answers are to be read from file descriptor 6.
start_watch()
{
	exec 6< <(exec "$NETDEVS" --json --watch=0.1 "$@")
	watcher=$!
}

stop_watch()
{
	kill "$watcher" 2>/dev/null
	exec 6<&-
}

answer()
{
	IFS= read -rt "$WAIT" line <&6 || line='{}'
	printf '%s\n' "$line"
}

# next_answer: into a file, unless there is none in time
next_answer()
{
	((SECONDS - began < WAIT)) && answer >"$DIR/answer" &&
		[ "$(cat "$DIR/answer")" != "{}" ]
}

# add_up FILTER AIM: answers, whose values add up to no less than AIM; says to what
add_up()
{
	local sum=0 began=$SECONDS

	while ((sum < $2)) && next_answer; do
		sum=$((sum + $(jq "$1" "$DIR/answer")))
	done
	echo "$sum"
}

# at_least FILTER AIM: answers, until the value is no less
at_least()
{
	local value=0 began=$SECONDS

	while ((value < $2)) && next_answer; do
		value=$(jq "$1" "$DIR/answer")
	done
	echo "$value"
}

test_watch()
{
	start_watch -n nd-red
	result "$(answer | jq -c '[.interval, ([.shown[] | select(.delta)] | length)]')" \
		"[null,0]" "the first answer has totals"
	answer >"$DIR/second"
	result "$(jq -c '[.interval >= 0.09, (.shown | all(.delta))]' "$DIR/second")" \
		"[true,true]" "the others have changes, too"
	result "$(jq '[.shown[].delta | .. | numbers] | add' "$DIR/second")" 0 "of nothing"
	packets nd-red 10.2.1.2 9
	result "$(add_up '.shown | map(select(.ifname == "eth1").delta.tx.packets) | add // 0' 9)" \
		9 "what was sent meanwhile"
	packets nd-blue 10.1.2.2 3
	result "$(add_up '.shown | map(.delta.ingress.drops) | add // 0' 3)" 3 \
		"what was dropped at ingress"
	ip -n nd-red link add new type dummy
	result "$(at_least '[.shown[] | select(.ifname == "new")] | length' 1)" 1 "a new device"
	result "$(jq '.shown[] | select(.ifname == "new") | .delta' "$DIR/answer")" null \
		"has no change yet"
	ip -n nd-red link del new
	stop_watch
	result "$(nd --json --watch 0.05 --count 3 -d lo | jq -s length)" 3 \
		"--watch SECONDS, --count"
	nd --json -w 0.05 -c 2 | jq -s '.[1].boottime - .[0].boottime - .[1].interval |
		fabs < 0.001' >"$DIR/agree"
	result "$(cat "$DIR/agree")" true "interval and times agree"
	result "$(nd --json | jq ".time - $(date +%s) | fabs < 60")" true "the time"
	misuse "not a number of seconds: 0" --watch=0
	misuse "--count is for --watch" --count 2
}

# What does not change is not in the table of changes.
test_rates()
{
	local line

	exec 6< <(exec "$NETDEVS" --watch=0.3 --bytes -n nd-red)
	watcher=$!
	while IFS= read -rt "$WAIT" line <&6 && [[ $line != *" of "*" devices, "* ]]; do :; done
	result "${line##* devices, }" "bytes and packets a second, others in 0.30 s" \
		"a table of rates"
	packets nd-red 10.2.1.2 6
	while IFS= read -rt "$WAIT" line <&6 && [[ $line != *eth1* ]]; do :; done
	read -ra words <<<"$line"
	result "$((words[7] > 142 && words[8] > 1)) ${words[0]} ${words[1]}" "1 nd-red eth1" \
		"bytes a second"
	result "$(grep -c eth10 <<<"$line")" 0 "of what moves"
	stop_watch
}

# A terminal of 10 lines and 60 columns is not scrolled.
test_terminal()
{
	local i

	for ((i = 0; i < 20; i++)); do
		address nd-many "d$i" "10.3.$i"
	done
	ip netns exec nd-many bash -c 'for ((;;)); do for ((i = 0; i < 20; i++)); do
		printf %100s >"/dev/udp/10.3.$i.2/9"; done; done' 2>/dev/null &
	sender=$!
	script -qec "stty rows 10 cols 60; $NETDEVS --watch 0.5 --count 1 -n nd-many" /dev/null \
		</dev/null >"$DIR/screen"
	kill "$sender"
	wait "$sender" 2>/dev/null
	result "$(grep -c . "$DIR/screen") $(grep -c nd-many "$DIR/screen")" "9 7" \
		"as many lines as there are"
	result "$(tr -d '\r' <"$DIR/screen" | sed 's/\x1b\[[0-9]*[HJ]//g' |
		awk 'length > max { max = length } END { print max }')" 60 "and columns"
}

# Packets are counted from the first answer on: two go, four wait, the others are dropped.
test_histograms()
{
	local of='.shown[0].qdiscs[0]'

	tc -n nd-blue qdisc del dev shaped root
	tc -n nd-blue qdisc replace dev shaped root handle 3: tbf rate 8bit burst 300 limit 600
	start_watch -H -n nd-blue -d shaped
	answer >/dev/null
	packets nd-blue 10.1.4.2 40
	packets nd-red 10.2.1.2 5
	result "$(at_least "$of.occupancy // [0] | add" 40)" 40 "--histograms: packets that came"
	result "$(jq -c "$of.occupancy[0:5]" "$DIR/answer")" "[3,1,2,34,0]" "what they found"
	result "$(jq -c "$of | [(.usecs | add), .dropped, .untimed, .qlen]" "$DIR/answer")" \
		"[2,34,0,4]" "what became of them"
	result "$(jq -c '[.bounds[0:6], (.bounds | length)]' "$DIR/answer")" "[[0,1,2,4,8,16],20]" \
		"the bounds"
	valid "$DIR/answer"
	result $? 0 "as the schema says"
	stop_watch
	misuse "--histograms begin when it starts: they need --watch" -H
}

# ---- queues ------------------------------------------------------------------------

# Of a simulated NIC, whose driver has all but one packet in the first queue
test_queues()
{
	local bql=/sys/class/net/eth0/queues/tx-1/byte_queue_limits

	result "$(nd --json -q -n nd-blue -d shaped | jq -c '.shown[].queues.rx')" \
		'[{"queue":0}]' "--queues: a driver that does not count"
	ip netns exec nd-blue bash -c 'echo 2310 1 3 >/sys/bus/netdevsim/new_device'
	ip netns exec nd-red bash -c 'echo 2311 1 3 >/sys/bus/netdevsim/new_device'
	ip -n nd-blue link set eth0 up
	ip -n nd-red link set eth0 up
	exec 7</run/netns/nd-blue 8</run/netns/nd-red
	echo "7:$(ip netns exec nd-blue cat /sys/class/net/eth0/ifindex)" \
		"8:$(ip netns exec nd-red cat /sys/class/net/eth0/ifindex)" \
		>/sys/bus/netdevsim/link_device
	exec 7<&- 8<&-
	address nd-blue eth0 10.4.1
	settle nd-red eth0
	settle nd-blue eth0
	packets nd-blue 10.4.1.2 6
	result "$(value nd-blue eth0 .tx.packets)" 6 "sent by a simulated NIC"
	ip netns exec nd-blue bash -c "echo 12345 >$bql/limit"
	nd --json -q -n nd-blue -d eth0 >"$DIR/queues"
	result "$(jq -c '[.shown[].queues.tx[] | .bql_limit, .bql_inflight]' "$DIR/queues")" \
		"[0,0,12345,0,0,0]" "byte queue limits"
	result "$(jq -c '[.shown[].queues.tx[] | .packets, .bytes]' "$DIR/queues")" \
		"[5,$(value nd-blue eth0 .tx.bytes),0,0,0,0]" "by queue"
	result "$(jq -c '.shown[].queues.tx[0] | keys' "$DIR/queues")" \
		'["bql_inflight","bql_limit","bytes","packets","queue"]' "only what it counts"
	valid "$DIR/queues"
	result $? 0 "as the schema says"
	result "$(nd -qb -n nd-blue -d eth0 | sed -n 's/^ *queue: //p' | tail -n 3 | head -n 1)" \
		"tx 0 $(value nd-blue eth0 .tx.bytes) B, 5 packets" "in the table"
	echo 2310 >/sys/bus/netdevsim/del_device
	echo 2311 >/sys/bus/netdevsim/del_device
}

# ---- the schema ----------------------------------------------------------------------------

# As much of JSON Schema as ours uses. Prints where it is not as it should be.
VALIDATE='
def is($kind): if $kind == "integer" then type == "number" and . == floor else type == $kind end;
def named($ref): $schema[0]["$defs"][$ref | ltrimstr("#/$defs/")];
def faults($s; $at):
	if $s["$ref"] then faults(named($s["$ref"]); $at) else empty end,
	if $s.type and (is($s.type) | not) then "\($at): is no \($s.type)" else empty end,
	if ($s | has("const")) and . != $s.const then "\($at): is not \($s.const)" else empty end,
	if $s.minimum and is("number") and . < $s.minimum then "\($at): is less" else empty end,
	if $s.pattern and (test($s.pattern) | not) then "\($at): is other" else empty end,
	if is("object") then
		(($s.required // []) - keys | .[] | "\($at): has no \(.)"),
		(to_entries[] | .key as $k | .value |
			faults($s.properties[$k] // $s.additionalProperties // {}; "\($at).\($k)"))
	elif is("array") and $s.items then
		to_entries[] | .key as $k | .value | faults($s.items; "\($at)[\($k)]")
	else
		empty
	end;
faults($schema[0]; "")'

# valid FILE
valid()
{
	local faults

	faults=$(jq -r --slurpfile schema "$SCHEMA" "$VALIDATE" "$1") &&
		[ -z "$faults" ] && return 0
	head -n 5 <<<"$faults" | sed 's/^/# /'
	return 1
}

# broken FILTER: such an answer is not valid
broken()
{
	jq "$1" "$DIR/json" >"$DIR/broken"
	! valid "$DIR/broken" >/dev/null
	result $? 0 "the schema refuses $1"
}

test_schema()
{
	nd --json >"$DIR/json"
	valid "$DIR/json"
	result $? 0 "the schema describes all devices"
	nd --json -w0.05 -c2 >"$DIR/watch"
	valid "$DIR/watch"
	result $? 0 "and --watch"
	broken 'del(.time)'
	broken '.shown[0].rx.bytes = -1'
	broken '.shown[1].ifname = 3'
	broken 'del(.shown[2].tx.dropped)'
	broken '.shown[0].qdiscs[0].handle = "1"'
	broken '.version = 2'
}

# ---- who may -----------------------------------------------------------------------------------

test_rights()
{
	result "$(refusal setpriv --reuid 65534 --regid 65534 --clear-groups "$NETDEVS")" \
		"1 1 netdevs: cannot load its programs: it takes CAP_BPF and CAP_PERFMON" \
		"without rights: one line"
	"$NETDEVS" --help | grep -q 'netdevs --watch 5 --sort drops'
	result $? 0 "--help has examples"
}

echo "TAP version 14"
trap end EXIT
scene
test_numbers
test_netns
test_dev
test_order
test_table
test_bytes
test_watch
test_rates
test_terminal
test_histograms
test_queues
test_schema
test_rights
echo "1..$((passed + failed))"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
