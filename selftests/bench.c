// SPDX-License-Identifier: GPL-2.0
/* Measures the cost of programs on a TCP socket: the time of each record, of each attach
 * and detach, and of each accepted connection, and the memory of each socket.
 *
 * Meant for a VM whose clock counts instructions (vmtest/vmtest -i): each nanosecond is
 * one instruction. Prints a line for each figure: name, tab, value; scripts/bench makes a
 * table of them. Figures that the kernel does not support are left out.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "all_tcp.skel.h"
#include "bench_msg.h"
#include "bench_msg.skel.h"
#include "bench_worst.skel.h"
#include "ktls.h"
#include "test_sockmap_recv.skel.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define RECORDS 3000
#define WARM_UP 300
#define PAIRS 100000		/* of attach and detach, over many RCU grace periods */
#define ALONE 10000		/* the same, with a map or a link for each */
#define CONNECTIONS 1000
#define SOCKETS 4000		/* pairs of sockets, to measure memory */

static struct test_sockmap_recv *skel;
static struct bench_msg *msg_skel;
static bool has_links;	/* the kernel has links of programs on sockets */

static int listen_at(struct sockaddr_in *addr)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (listener < 0 || bind(listener, (void *)addr, len) || listen(listener, 1) ||
	    getsockname(listener, (void *)addr, &len))
		die("listen");
	return listener;
}

static int connect_at(const struct sockaddr_in *addr)
{
	int sk = socket(AF_INET, SOCK_STREAM, 0);

	if (sk < 0 || connect(sk, (void *)addr, sizeof(*addr)))
		die("connect");
	return sk;
}

static void connect_to(int listener, const struct sockaddr_in *addr, int *sk, int *peer)
{
	*peer = connect_at(addr);
	*sk = accept(listener, NULL, NULL);
	if (*sk < 0)
		die("accept");
}

static void connect_pair(int *sk, int *peer)
{
	struct sockaddr_in addr;
	int listener = listen_at(&addr), one = 1;

	connect_to(listener, &addr, sk, peer);
	if (setsockopt(*peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY");
	close(listener);
}

/* A method of attaching programs to a socket: it is added to a map, or has a link;
 * connections of a server inherit a link, or are covered by a cgroup's.
 */
struct way {
	const char *name;
	bool parser;
	bool direct;
	bool cgroup;
	int link;		/* the socket's own link, while attached */
	bool none;
	const char *msg;	/* attach this sk_msg program instead */
	enum { TO_PEER, TO_INGRESS, TO_EGRESS } to;	/* target of its redirects */
};

static int prog_fd(bool parser)
{
	return bpf_program__fd(parser ? skel->progs.prog_parser : skel->progs.prog_verdict);
}

static int map_of(struct way *w)
{
	return bpf_map__fd(w->msg ? msg_skel->maps.sock_map : skel->maps.sock_map);
}

static int link_on(struct way *w, int fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);

	opts.sock.parser_fd = w->parser ? prog_fd(true) : 0;
	return has_links ? bpf_link_create(prog_fd(false), fd, BPF_SK_SKB_STREAM_VERDICT, &opts) :
			   -1;
}

static bool join(struct way *w, int sk)
{
	int key = 0;

	if (w->none)
		return true;
	if (!w->direct)
		return !bpf_map_update_elem(map_of(w), &key, &sk, BPF_ANY);
	w->link = link_on(w, sk, 0);
	return w->link >= 0;
}

static void leave(struct way *w, int sk)
{
	int key = 0;

	if (w->direct)
		close(w->link);
	else if (!w->none)
		bpf_map_delete_elem(map_of(w), &key);
}

static int msg_prog_fd(struct way *w)
{
	return bpf_program__fd(bpf_object__find_program_by_name(msg_skel->obj, w->msg));
}

static void set_progs(struct way *w, int map)
{
	if (w->msg) {
		if (bpf_prog_attach(msg_prog_fd(w), map, BPF_SK_MSG_VERDICT, 0))
			die("bpf_prog_attach");
		return;
	}
	if ((w->parser && bpf_prog_attach(prog_fd(true), map, BPF_SK_SKB_STREAM_PARSER, 0)) ||
	    bpf_prog_attach(prog_fd(false), map, BPF_SK_SKB_STREAM_VERDICT, 0))
		die("bpf_prog_attach");
}

/* A kernel without links expects a map, and returns EINVAL. */
static void look_for_links(void)
{
	int sk = socket(AF_INET, SOCK_STREAM, 0);

	has_links = bpf_link_create(prog_fd(false), sk, BPF_SK_SKB_STREAM_VERDICT, NULL) < 0 &&
		    errno == EOPNOTSUPP;
	close(sk);
}

/* Attach the programs to the map, for the sockets added to it. */
static void prepare(struct way *w)
{
	int map = bpf_map__fd(skel->maps.sock_map);

	bpf_prog_detach2(prog_fd(true), map, BPF_SK_SKB_STREAM_PARSER);
	bpf_prog_detach2(prog_fd(false), map, BPF_SK_SKB_STREAM_VERDICT);
	if (!w->none && !w->direct)
		set_progs(w, map_of(w));
}

static long slab_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[100];
	long kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Slab: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* Wait until closed sockets are freed. Return: the bytes of all slabs. With a clock that
 * counts instructions, sleeping takes no time.
 */
static long settle(void)
{
	long kb, last = slab_kb();

	while (sleep(1), (kb = slab_kb()) != last)
		last = kb;
	return kb * 1024;
}

/* The length of records, and how many are sent before the first is received */
struct load {
	int len;
	int together;
};

static void transfer(int peer, int sk, const struct load *load, int records)
{
	static unsigned char rec[16384], buf[16384];
	int i, len = load->len;

	rec[0] = len >> 8;
	rec[1] = len;
	rec[2] = 'P';
	for (; records > 0; records -= load->together) {
		for (i = 0; i < load->together; i++)
			if (send(peer, rec, len, 0) != len)
				die("a record was not sent");
		for (i = 0; i < load->together; i++)
			if (recv(sk, buf, len, MSG_WAITALL) != len)
				die("a record was not received");
	}
}

static void time_records(const char *name, int peer, int sk, const struct load *load)
{
	long long t;

	transfer(peer, sk, load, WARM_UP);
	t = now();
	transfer(peer, sk, load, RECORDS);
	printf("record of %d bytes%s, %s\t%lld\n", load->len,
	       load->together > 1 ? " in tens" : "", name, (now() - t) / RECORDS);
}

static void bench_records(struct way *w, const struct load *load)
{
	int sk, peer;

	prepare(w);
	connect_pair(&sk, &peer);
	if (join(w, sk)) {
		time_records(w->name, peer, sk, load);
		leave(w, sk);
	}
	close(sk);
	close(peer);
}

/* The sender has the program. A message is redirected to the ingress of the socket that
 * it would be sent to, or to another connection.
 */
static void bench_sends(struct way *w, const struct load *load)
{
	int sk, peer, other, other_peer, key = 1, map = map_of(w);

	prepare(w);
	connect_pair(&sk, &peer);
	connect_pair(&other, &other_peer);
	msg_skel->data->target = key;
	if (!join(w, peer) ||
	    (w->to != TO_PEER &&
	     bpf_map_update_elem(map, &key, w->to == TO_INGRESS ? &sk : &other_peer, BPF_ANY)))
		die("adding to the map of sk_msg");
	time_records(w->name, peer, w->to == TO_EGRESS ? other : sk, load);
	leave(w, peer);
	bpf_map_delete_elem(map, &key);
	close(sk);
	close(peer);
	close(other);
	close(other_peer);
}

/* Programs on the plaintext of TLS that pass everything */
struct tls_way {
	const char *name;
	bool receiver;		/* has parser and verdict */
	bool sender;		/* has a sk_msg program */
};

static struct all_tcp *tls_skel;	/* NULL if the kernel has no such programs */

static void load_tls(void)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);

	tls_skel = all_tcp__open();
	if (!tls_skel)
		die("all_tcp");
	bpf_program__set_autoload(tls_skel->progs.tls_parser, true);
	bpf_program__set_autoload(tls_skel->progs.tls_verdict, true);
	bpf_program__set_autoload(tls_skel->progs.tls_msg, true);
	if (all_tcp__load(tls_skel)) {
		all_tcp__destroy(tls_skel);
		tls_skel = NULL;
	}
	libbpf_set_print(print);
}

static int tls_link(const struct bpf_program *prog, const struct bpf_program *parser, int sk)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);

	opts.sock.parser_fd = parser ? bpf_program__fd(parser) : 0;
	return bpf_link_create(bpf_program__fd(prog), sk,
			       bpf_program__expected_attach_type(prog), &opts);
}

static void bench_tls(const struct tls_way *w, const struct load *load)
{
	int sk, peer, links[2] = { -1, -1 };

	connect_pair(&sk, &peer);
	if (set_ulp(sk) || set_ulp(peer) || set_keys(peer, TLS_TX, 0) || set_keys(sk, TLS_RX, 0))
		die("kernel TLS");
	if (w->receiver && tls_skel)
		links[0] = tls_link(tls_skel->progs.tls_verdict, tls_skel->progs.tls_parser, sk);
	if (w->sender && tls_skel)
		links[1] = tls_link(tls_skel->progs.tls_msg, NULL, peer);
	if ((links[0] >= 0) == w->receiver && (links[1] >= 0) == w->sender)
		time_records(w->name, peer, sk, load);
	close(links[0]);
	close(links[1]);
	close(sk);
	close(peer);
}

/* A process that relays between both ends */
struct proxy {
	const char *name;
	void (*run)(int listener, const struct sockaddr_in *server);
	const char *program;	/* to be run, if not NULL */
};

static pid_t start_proxy(const struct proxy *p, int listener, const struct sockaddr_in *server)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p->run(listener, server);
	exit(1);
}

static void die_of_proxy(const struct proxy *p, pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != pid)
		die(p->name);
	fprintf(stderr, "bench: %s ended before it connected to the server, with %s %d\n", p->name,
		WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	exit(1);
}

/* Time out if the proxy does not connect or stops relaying. */
static void bench_proxy(const struct proxy *p, const struct load *load)
{
	struct timeval timeout = { .tv_sec = 60 };
	struct sockaddr_in server, front;
	int sk, peer, one = 1, listener = listen_at(&server), between = listen_at(&front);
	pid_t pid = start_proxy(p, between, &server);

	if (setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		die("SO_RCVTIMEO");
	peer = connect_at(&front);
	sk = accept(listener, NULL, NULL);
	if (sk < 0)
		die_of_proxy(p, pid);
	if (setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    setsockopt(sk, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		die("setsockopt");
	time_records(p->name, peer, sk, load);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(between);
	close(listener);
	close(sk);
	close(peer);
}

/* The most expensive streams that a peer can send: records that are short, or in short
 * segments. The last record is passed, to know that all before it were processed.
 */
struct worst {
	const char *name;
	const char *actions;	/* verdicts of the records, in turn */
	int record;		/* bytes of a record, or 0: the stream is one record */
	int segment;
	int bytes;
	bool behind;		/* an unread record comes first */
	bool peek;		/* peek at the whole stream before reading it */
};

static unsigned char worst_stream[65536];
static struct bench_worst *worst_skel;
static bool too_dear;

/* Limits for kernels with the series. The cost of a byte must not grow with four times as
 * many bytes, as the work is linear; there is some tolerance. Bottom halves are off for a
 * budget of 64 records, with about 2500 instructions each. A record in many segments is
 * assembled and freed at once, with about 1100 instructions for each segment.
 */
#define WORST_GROWTH 4
#define WORST_GROWTH_PERCENT 125
#define WORST_RECORDS (64 * 4000)
#define WORST_SEGMENT 1200

static int add_worst_record(int at, int len, char action)
{
	unsigned char *rec = worst_stream + at;

	rec[0] = len >> 8;
	rec[1] = len;
	rec[2] = action;
	return at + len;
}

static int make_worst_stream(const struct worst *worst, int bytes, int *passed)
{
	int i, end, len = worst->record ?: bytes, at = 0;
	char action;

	*passed = 3;
	if (worst->behind) {
		at = add_worst_record(at, 3, 'P');
		*passed += 3;
	}
	end = at + bytes;
	for (i = 0; at < end; i++) {
		action = worst->actions[i % strlen(worst->actions)];
		at = add_worst_record(at, len, action);
		*passed += action == 'P' ? len : 0;
	}
	return add_worst_record(at, 3, 'P');
}

/* Return: false if records are lost, as without the series */
static bool worst_round(const struct worst *worst, int len, int want, int sk, int peer)
{
	static unsigned char buf[sizeof(worst_stream)];
	int n, sent = 0;

	for (; sent < len; sent += n) {
		n = len - sent < worst->segment ? len - sent : worst->segment;
		if (send(peer, worst_stream + sent, n, 0) != n)
			die("send");
	}
	if (worst->peek && recv(sk, buf, want, MSG_WAITALL | MSG_PEEK) != want)
		return false;
	return recv(sk, buf, want, MSG_WAITALL) == want;
}

/* Return: instructions for a byte, or -1 */
static long long worst_rounds(struct way *w, const struct worst *worst, int bytes, int sk,
			      int peer, int rounds)
{
	int i, want, len = make_worst_stream(worst, bytes, &want);
	long long t;

	if (w->none)
		want = len;
	if (!worst_round(worst, len, want, sk, peer))
		return -1;
	t = now();
	for (i = 0; i < rounds; i++)
		if (!worst_round(worst, len, want, sk, peer))
			return -1;
	return (now() - t) / rounds / bytes;
}

static void limit(const char *what, const struct worst *worst, struct way *w, long long value,
		  long long most)
{
	if (w->none || !has_links || value <= most)
		return;
	fprintf(stderr, "bench: %s of %s, %s: %lld, more than %lld\n", what, worst->name,
		w->name, value, most);
	too_dear = true;
}

static long long worst_at_once(struct way *w, const struct worst *worst, int sk, int peer)
{
	long long ret;

	if (bench_worst__attach(worst_skel))
		die("attaching programs to softirqs");
	worst_skel->bss->longest = 0;
	ret = worst_rounds(w, worst, worst->bytes, sk, peer, 1);
	bench_worst__detach(worst_skel);
	return ret < 0 ? ret : worst_skel->bss->longest;
}

static void bench_worst_case(struct way *w, const struct worst *worst)
{
	struct timeval timeout = { .tv_sec = 1 };
	long long few, many, at_once;
	int sk, peer, large = 8 << 20;

	prepare(w);
	connect_pair(&sk, &peer);
	setsockopt(sk, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	/* The receive buffer must hold the whole stream, including dropped records. */
	if (worst->peek && setsockopt(sk, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)))
		die("SO_RCVBUFFORCE");
	if (!join(w, sk))
		goto out;
	few = worst_rounds(w, worst, worst->bytes / WORST_GROWTH, sk, peer, 20 * WORST_GROWTH);
	many = few < 0 ? few : worst_rounds(w, worst, worst->bytes, sk, peer, 20);
	at_once = many < 0 ? many : worst_at_once(w, worst, sk, peer);
	if (at_once >= 0) {
		printf("byte of %s, %s\t%lld\n", worst->name, w->name, many);
		printf("byte of %s, a quarter as many, %s\t%lld\n", worst->name, w->name, few);
		printf("longest without bottom halves, %s, %s\t%lld\n", worst->name, w->name,
		       at_once);
		limit("byte", worst, w, many, few * WORST_GROWTH_PERCENT / 100);
		limit("longest without bottom halves", worst, w, at_once,
		      WORST_RECORDS + WORST_SEGMENT * (worst->bytes / worst->segment));
	}
	leave(w, sk);
out:
	close(sk);
	close(peer);
}

/* Adding a socket to an existing map, or attaching a link, and the reverse */
static void bench_attach(struct way *w)
{
	int i, sk, peer;
	long long t;

	prepare(w);
	connect_pair(&sk, &peer);
	settle();
	t = now();
	for (i = 0; i < PAIRS; i++) {
		if (!join(w, sk))
			break;
		leave(w, sk);
	}
	if (i == PAIRS)
		printf("attach and detach, %s\t%lld\n", w->name, (now() - t) / PAIRS);
	close(sk);
	close(peer);
}

/* Make a map or a link for one socket. Return: its fd, or -1 */
static int attach_alone(struct way *w, int sk)
{
	int key = 0, map;

	if (w->direct)
		return link_on(w, sk, 0);
	map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, NULL, 4, 4, 1, NULL);
	if (map < 0)
		die("bpf_map_create");
	set_progs(w, map);
	return bpf_map_update_elem(map, &key, &sk, BPF_ANY) ? -1 : map;
}

/* Remove the socket from the map, as a worker would do so only later. */
static void detach_alone(struct way *w, int fd)
{
	int key = 0;

	if (!w->direct)
		bpf_map_delete_elem(fd, &key);
	close(fd);
}

static void bench_attach_alone(struct way *w)
{
	int i, fd, sk, peer;
	long long t;

	prepare(w);
	connect_pair(&sk, &peer);
	settle();
	t = now();
	for (i = 0; i < ALONE; i++) {
		fd = attach_alone(w, sk);
		if (fd < 0)
			break;
		detach_alone(w, fd);
	}
	if (i == ALONE)
		printf("attach and detach, each its own, %s\t%lld\n", w->name,
		       (now() - t) / ALONE);
	close(sk);
	close(peer);
}

/* Connections of a server get the programs by a sockops program that adds them to the map,
 * from the listening socket, or from a cgroup, which also covers the clients.
 */
struct server {
	struct sockaddr_in addr;
	int listener, link, cgroup;
};

static bool serve(struct server *s, struct way *w)
{
	int sockops = bpf_program__fd(skel->progs.prog_sockops);

	prepare(w);
	s->listener = listen_at(&s->addr);
	s->cgroup = open("/sys/fs/cgroup", O_RDONLY);
	s->link = -1;
	if (w->direct || w->cgroup) {
		s->link = w->cgroup ? link_on(w, s->cgroup, 0) :
				      link_on(w, s->listener, BPF_F_SOCK_INHERIT);
		return s->link >= 0;
	}
	if (!w->none && bpf_prog_attach(sockops, s->cgroup, BPF_CGROUP_SOCK_OPS, 0))
		die("sockops");
	return true;
}

static void stop_serving(struct server *s)
{
	bpf_prog_detach2(bpf_program__fd(skel->progs.prog_sockops), s->cgroup,
			 BPF_CGROUP_SOCK_OPS);
	close(s->link);
	close(s->listener);
	close(s->cgroup);
}

static void bench_accept(struct way *w)
{
	struct server s;
	int i, sk, peer;
	long long t = 0;

	if (serve(&s, w)) {
		for (i = -WARM_UP; i < CONNECTIONS; i++) {
			if (!i)
				t = now();
			connect_to(s.listener, &s.addr, &sk, &peer);
			close(peer);
			close(sk);
		}
		printf("connect, accept and close, %s\t%lld\n", w->name,
		       (now() - t) / CONNECTIONS);
	}
	stop_serving(&s);
}

static void allow_sockets(void)
{
	struct rlimit files = { 3 * SOCKETS + 100, 3 * SOCKETS + 100 };

	if (setrlimit(RLIMIT_NOFILE, &files))
		die("setrlimit");
}

/* All sockets are in one map, whose slots, of 8 bytes, are not counted; or if @alone, each
 * socket has a map or a link of its own.
 */
static void bench_memory(struct way *w, bool alone)
{
	static int sk[SOCKETS], peer[SOCKETS], own[SOCKETS];
	int i, map, n = 0;
	long before;

	prepare(w);
	for (i = 0; i < SOCKETS; i++)
		connect_pair(&sk[i], &peer[i]);
	map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, NULL, 4, 4, SOCKETS, NULL);
	if (map < 0)
		die("bpf_map_create");
	set_progs(w, map);
	before = settle();
	for (i = 0; i < SOCKETS; i++) {
		own[i] = alone ? attach_alone(w, sk[i]) : -1;
		if (alone)
			n += own[i] >= 0;
		else
			n += !bpf_map_update_elem(map, &i, &sk[i], BPF_ANY);
	}
	if (n == SOCKETS)
		printf("memory of a socket, %s%s\t%ld\n", alone ? "each its own, " : "",
		       w->name, (settle() - before) / SOCKETS);
	close(map);
	for (i = 0; i < SOCKETS; i++) {
		close(own[i]);
		close(sk[i]);
		close(peer[i]);
	}
}

/* The memory of a record that was sent and not received yet, or is corked, without the pages
 * of its data: skbs, and the receiver's state or the sk_msg. The first records are not
 * counted, as they use free objects of slabs.
 */
static void bench_record_memory(struct way *w, const char *state)
{
	static int sk[MSG_SOCKETS], peer[MSG_SOCKETS];
	int i, slot, first = MSG_SOCKETS / 4;
	static unsigned char rec[64];
	long before = 0;

	prepare(w);
	for (i = 0; i < MSG_SOCKETS; i++) {
		connect_pair(&sk[i], &peer[i]);
		slot = 2 * i;
		if (!w->none && bpf_map_update_elem(map_of(w), &slot, &peer[i], BPF_ANY))
			die("bpf_map_update_elem");
		slot++;
		if (w->to && bpf_map_update_elem(map_of(w), &slot, &sk[i], BPF_ANY))
			die("bpf_map_update_elem");
	}
	for (i = 0; i < MSG_SOCKETS; i++) {
		if (i == first)
			before = settle();
		msg_skel->data->target = 2 * i + 1;
		if (send(peer[i], rec, sizeof(rec), 0) != sizeof(rec))
			die("send");
	}
	printf("memory of a record that is %s, %s\t%ld\n", state, w->name,
	       (settle() - before) / (MSG_SOCKETS - first));
	for (i = 0; i < MSG_SOCKETS; i++) {
		close(sk[i]);
		close(peer[i]);
	}
}

/* The memory of both ends of a connection, including files. The memory of programs is the
 * difference to a plain connection. Not for sockmap, as the sockops program has one slot,
 * for the last connection.
 */
static void bench_accept_memory(struct way *w)
{
	static int sk[SOCKETS], peer[SOCKETS];
	struct server s;
	long before;
	int i;

	if (serve(&s, w)) {
		before = settle();
		for (i = 0; i < SOCKETS; i++)
			connect_to(s.listener, &s.addr, &sk[i], &peer[i]);
		printf("memory of a connection, %s\t%ld\n", w->name,
		       (settle() - before) / SOCKETS);
		for (i = 0; i < SOCKETS; i++) {
			close(sk[i]);
			close(peer[i]);
		}
	}
	stop_serving(&s);
}

/* With an argument, run only the worst cases whose names contain it */
int main(int argc, char **argv)
{
	struct way ways[] = {
		{ "plain", .none = true },
		{ "sockmap verdict" },
		{ "sockmap parser + verdict", .parser = true },
		{ "direct verdict", .direct = true },
		{ "direct parser + verdict", .parser = true, .direct = true },
	};
	struct way covered = { "link of a cgroup, both ends", .cgroup = true };
	struct way sends[] = {
		{ "sk_msg pass", .msg = "pass" },
		{ "sk_msg pass, apply to each", .msg = "pass_apply" },
		{ "sk_msg pass, apply to 1 MiB", .msg = "pass_apply_long" },
		{ "sk_msg redirect to ingress", .msg = "redirect_ingress", .to = TO_INGRESS },
		{ "sk_msg redirect to egress", .msg = "redirect_egress", .to = TO_EGRESS },
	};
	struct way corks = { "sk_msg cork", .msg = "cork" };
	static const struct tls_way tls[] = {
		{ "TLS" },
		{ "TLS parser + verdict", .receiver = true },
		{ "TLS sk_msg", .sender = true },
	};
	static const struct proxy proxies[] = {
		{ "relay by splice()", relay_by_splice },
		{ "relay by HAProxy", relay_by_haproxy, HAPROXY },
	};
	/* In tens, a relay has several records to relay when it wakes up. */
	static const struct load loads[] = {
		{ 64, 1 }, { 1024, 1 }, { 16384, 1 }, { 64, 10 }, { 1024, 10 },
	};
	static const struct worst worst[] = {
		{ "records of 3 bytes, passed", "P", 3, 60000, 60000 },
		{ "records of 3 bytes, dropped", "D", 3, 60000, 60000 },
		{ "records of 3 bytes, passed and dropped in turn", "PD", 3, 24000, 24000 },
		{ "records of 3 bytes, in turn, and MSG_PEEK", "PD", 3, 24000, 24000,
		  .peek = true },
		{ "a record in segments of 1 byte, passed", "P", 0, 1, 8000 },
		{ "a record in segments of 1 byte, dropped", "D", 0, 1, 8000 },
		{ "a record in segments of 1 byte, behind unread data", "P", 0, 1, 8000,
		  .behind = true },
	};
	int i, j;

	load_tls();
	skel = test_sockmap_recv__open_and_load();
	msg_skel = bench_msg__open_and_load();
	worst_skel = bench_worst__open_and_load();
	if (!skel || !msg_skel || !worst_skel)
		die("loading programs");
	allow_sockets();
	look_for_links();
	/* After a boot, the kernel is busy for some seconds. */
	sleep(3);
	for (j = 0; j < ARRAY_SIZE(worst); j++)
		for (i = 0; i < ARRAY_SIZE(ways); i++)
			if ((ways[i].none || ways[i].parser) &&
			    (argc < 2 || strstr(worst[j].name, argv[1])))
				bench_worst_case(&ways[i], &worst[j]);
	if (argc > 1)
		return too_dear;
	for (j = 0; j < ARRAY_SIZE(loads); j++)
		for (i = 0; i < ARRAY_SIZE(ways); i++)
			bench_records(&ways[i], &loads[j]);
	for (j = 0; j < ARRAY_SIZE(loads); j++)
		for (i = 0; i < ARRAY_SIZE(sends); i++)
			if (loads[j].together == 1)
				bench_sends(&sends[i], &loads[j]);
	for (j = 0; j < ARRAY_SIZE(loads); j++)
		for (i = 0; i < ARRAY_SIZE(tls); i++)
			bench_tls(&tls[i], &loads[j]);
	for (j = 0; j < ARRAY_SIZE(loads); j++)
		for (i = 0; i < ARRAY_SIZE(proxies); i++)
			if (!proxies[i].program || !access(proxies[i].program, F_OK))
				bench_proxy(&proxies[i], &loads[j]);
	for (i = 1; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].direct)
			bench_attach(&ways[i]);
	bench_attach(&sends[0]);
	for (i = 1; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].parser)
			bench_attach_alone(&ways[i]);
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].parser)
			bench_accept(&ways[i]);
	bench_accept(&covered);
	for (i = 1; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].parser && !ways[i].direct)
			bench_memory(&ways[i], false);
	bench_memory(&sends[0], false);
	for (i = 1; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].parser)
			bench_memory(&ways[i], true);
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (!ways[i].parser && (ways[i].none || ways[i].direct))
			bench_accept_memory(&ways[i]);
	bench_accept_memory(&covered);
	bench_record_memory(&ways[0], "unread");
	for (i = 0; i < ARRAY_SIZE(sends); i++)
		if (!i || sends[i].to == TO_INGRESS)
			bench_record_memory(&sends[i], "unread");
	bench_record_memory(&corks, "corked");
	return too_dear;
}
