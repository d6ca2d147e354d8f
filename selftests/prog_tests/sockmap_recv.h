/* SPDX-License-Identifier: GPL-2.0 */
/* A TCP socket with receive programs, driven by steps, and a model of what the
 * application reads from it. The programs are attached by a sockmap, or by
 * links on the socket; in the latter case the socket is still in a map, as a
 * target of redirects.
 *
 * Whatever the verdicts are, however the stream is cut into segments, and
 * whenever the socket is added to the map or removed from it: the application
 * reads exactly the data that a verdict passed, or that no verdict ran on, in
 * order. poll() and FIONREAD report what it can read. rcv_nxt - copied_seq is
 * the number of held bytes: those received in order that were neither read by
 * the application nor dropped nor redirected by a verdict. Where passed data
 * stays on the receive queue, data that is dropped or redirected behind unread
 * data is held until the unread data is read.
 */
#ifndef __SOCKMAP_RECV_H
#define __SOCKMAP_RECV_H

#include <error.h>
#include <sched.h>
#include <poll.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <bpf/btf.h>

#include "test_progs.h"
#include <linux/stddef.h>
#include <io_uring/mini_liburing.h>
#include "sockmap_helpers.h"
#include "clock_rnd.h"
#include "sock_link.h"
#include "veth_pair.h"
#include "test_sockmap_recv.skel.h"

#define HELD_TIMEOUT_SEC 1
#define READ_TIMEOUT_SEC 2
#define STREAM_MAX 1000000
/* same as in test_sockmap_recv.c */
#define GROW 8
#define CUT 3
#define WROTE 256
#define CHANGE_MAX 16000	/* longest record that helpers may change */

#define CHANGED "GCHXYNW"	/* records that the verdict changes */

#define PAGE 4096	/* the smallest page size; with larger pages, nothing is mapped */

/* Memory that the peer sends from if it is to write to it afterwards */
#define SHARED_SIZE 1048576

/* How the verdict program accesses a record */
enum access {
	LOOKS,
	CHANGES,		/* changes it with helpers */
	WRITES,			/* writes to it directly, where it is contiguous */
};

struct recv_test {
	struct test_sockmap_recv *skel;
	struct veth_pair *veth;	/* connect over this pair, or NULL */
	int map;		/* map that programs redirect by */
	int judge;		/* map that the programs are attached to */
	int senders;		/* map with a sk_msg program, for step J */
	bool direct;		/* programs are attached by links, not by the map */
	bool pass_all;		/* the verdict passes every record */
	enum access access;
	bool twin;		/* use prog_verdict_twin, not prog_verdict */
	struct bpf_link *links[2]; /* of sk and other */
	struct bpf_link *parsers[2]; /* on kernels whose verdict links take no parser */
	int family;
	int sk;			/* socket under test, in slot 0 of the map */
	int peer;		/* sends records to sk */
	int other;		/* in slot 1 */
	int other_peer;
	bool hold_worker;	/* see hold_worker() */
	cpu_set_t cpus;		/* to run on again after release_worker() */
	bool again;		/* the worker ran too early; repeat the test */
	bool failed;
	bool quiet;		/* the caller reports the difference: */
	char diff[200];
	bool parser;
	bool joined;		/* sk is in the map */
	bool astray;		/* unread data does not begin at a record */
	bool ready;		/* also compare poll(), FIONREAD and recv() */
	bool unheld;		/* do not compare rcv_nxt - copied_seq */
	int patience;		/* factor, minus one, for all time limits */
	bool hasty;		/* wait for nothing */
	/* the record that is being sent */
	__u8 rec[USHRT_MAX];
	int rec_len;
	int rec_sent;
	/* data to be sent in one segment with the next data */
	__u8 batch[STREAM_MAX];
	int batch_len;
	int resent;		/* bytes at its start that were sent before */
	int file;		/* memfd, and where it is mapped */
	__u8 *shared;
	int shared_len;		/* bytes sent from it and not yet overwritten */
	/* received; no verdict has run on it yet */
	__u8 pend[STREAM_MAX];
	int pend_len;
	/* state that the kernel must have */
	int held;
	int fin;
	bool reset;		/* the peer has reset the connection, */
	bool told;		/* and the application got ECONNRESET */
	__u64 judged;
	unsigned int copied;
	/* what the application reads, and how many bytes of sk's stream each byte stands for */
	__u8 unread[STREAM_MAX];
	int own[STREAM_MAX];
	int unread_start;
	int unread_end;
};

static struct recv_test recv_test;
static __u64 mapped_bytes;	/* mapped by TCP_ZEROCOPY_RECEIVE */

/* Does the kernel leave passed data on the receive queue? */
static bool in_place(void)
{
	static int known = -1;
	const struct btf_member *m;
	const struct btf_type *t;
	struct btf *btf;
	int i, id;

	if (known >= 0)
		return known;
	known = 0;
	btf = btf__load_vmlinux_btf();
	id = btf ? btf__find_by_name_kind(btf, "tcp_sock", BTF_KIND_STRUCT) : -1;
	if (id > 0) {
		t = btf__type_by_id(btf, id);
		for (i = 0, m = btf_members(t); i < btf_vlen(t); i++, m++)
			if (!strcmp(btf__name_by_offset(btf, m->name_off), "bpf_verdict_seq"))
				known = 1;
	}
	btf__free(btf);
	return known;
}

static int passed_len(struct recv_test *s)
{
	return s->unread_end - s->unread_start;
}

static int readable(struct recv_test *s)
{
	return passed_len(s) + (s->joined ? 0 : s->pend_len);
}

/* Like ASSERT_EQ(), but prints nothing on success, or if s->quiet */
static bool same(struct recv_test *s, long actual, long expected, const char *fmt, ...)
{
	char what[120];
	va_list args;

	if (actual == expected)
		return true;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	snprintf(s->diff, sizeof(s->diff), "%s: actual %ld != expected %ld",
		 what, actual, expected);
	s->failed = true;
	if (!s->quiet)
		ASSERT_EQ(actual, expected, what);
	return false;
}

/* Return: whether to poll the condition again. After the time limit, it may
 * still be polled a hundred times, as the machine may have been stopped
 * meanwhile.
 */
static bool look_again(__u64 until)
{
	static __u64 last;
	static int more;

	if (last != until) {
		last = until;
		more = 100;
	}
	if (now_ms() >= until) {
		if (!more)
			return false;
		more--;
	}
	usleep(1000);
	return true;
}

/* Time limit for an event that is due at once, if it happens at all */
static __u64 give_up_at(struct recv_test *s, int seconds)
{
	return now_ms() + (s->hasty ? 0 : seconds * 1000 * (1 + s->patience));
}

/* rcv_nxt - copied_seq, from /proc/net/tcp, which every kernel has */
static int rx_queue(struct recv_test *s, int fd)
{
	const char *path = s->family == AF_INET ? "/proc/net/tcp" : "/proc/net/tcp6";
	unsigned long ino;
	unsigned int rxq;
	struct stat st;
	char line[512];
	int ret = -1;
	FILE *f;

	if (fstat(fd, &st))
		return -1;
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (ret < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d: %*s %*s %*x %*x:%x %*x:%*x %*x %*u %*d %lu",
			   &rxq, &ino) == 2 && ino == st.st_ino)
			ret = rxq;
	fclose(f);
	return ret;
}

static unsigned int bytes_received(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	xgetsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info.tcpi_bytes_received;
}

/* Wait until the verdict has run on all records that it must have run on. */
static void judged(struct recv_test *s)
{
	__u64 until = give_up_at(s, HELD_TIMEOUT_SEC);

	while (s->skel->bss->judged != s->judged && !s->failed && look_again(until))
		;
}

/* What recv() returns once all data is read */
static int end_of(struct recv_test *s)
{
	if (!s->reset || s->told)
		return 0;
	s->told = true;
	return -ECONNRESET;
}

/* poll(), FIONREAD and recv() agree */
static void check_ready(struct recv_test *s, int len, const char *when, __u64 until)
{
	struct pollfd pfd = { .fd = s->sk, .events = POLLIN };
	static __u8 buf[STREAM_MAX];
	int n = -1, want = readable(s), passed = passed_len(s);

	while (!ioctl(s->sk, FIONREAD, &n) && n < want && look_again(until))
		;
	same(s, n, want, "FIONREAD after %.*s", len, when);
	/* a FIN may have to be retransmitted */
	if (s->patience && (want || s->fin) && now_ms() < until)
		poll(&pfd, 1, HELD_TIMEOUT_SEC * 1000 * (1 + s->patience));
	same(s, poll(&pfd, 1, 0), want || s->fin, "POLLIN after %.*s", len, when);

	/* The rest is in another queue: only a read moves on from passed data
	 * to that
	 */
	if (passed && !in_place())
		want = passed;
	n = recv(s->sk, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		n = -errno;
	if (!want)
		want = s->fin ? end_of(s) : -EAGAIN;
	if (!same(s, n, want, "recv(MSG_PEEK) after %.*s", len, when) || want <= 0)
		return;
	same(s, memcmp(buf, s->unread + s->unread_start, passed) ||
	     memcmp(buf + passed, s->pend, want - passed), 0, "bytes of MSG_PEEK after %.*s",
	     len, when);
}

/* Compare the kernel with the model. FIN takes a sequence number; either result
 * is accepted for whether it counts as held until the application has read up
 * to it.
 */
static void check(struct recv_test *s, int len, const char *when)
{
	__u64 until = give_up_at(s, HELD_TIMEOUT_SEC);
	unsigned int copied;
	int held;

	judged(s);
	if (s->unheld || s->reset)
		goto ready;
	/* after one failure, do not wait any more */
	do {
		held = rx_queue(s, s->sk);
		if (held == s->held || held == s->held + s->fin)
			break;
	} while (!s->failed && look_again(until));
	copied = bytes_received(s->sk) - held;

	if (held != s->held + s->fin)
		same(s, held, s->held, "held bytes after %.*s", len, when);
	same(s, copied >= s->copied, true, "copied_seq grows after %.*s", len, when);
	s->copied = copied;

ready:
	same(s, s->skel->bss->judged, s->judged, "judged records after %.*s", len, when);
	same(s, rx_queue(s, s->other), 0, "bytes held by the other socket after %.*s",
	     len, when);
	if (s->ready)
		check_ready(s, len, when, until);
}

/* Like recv(), but with splice() and a pipe */
static int splice_read(int fd, void *buf, int len, int flags)
{
	int fds[2], n, err;

	if (pipe(fds))
		return -1;
	fcntl(fd, F_SETFL, flags & MSG_DONTWAIT ? O_NONBLOCK : 0);
	n = splice(fd, NULL, fds[1], NULL, len, 0);
	err = errno;
	fcntl(fd, F_SETFL, 0);
	if (n > 0)
		n = read(fds[0], buf, n);
	close(fds[0]);
	close(fds[1]);
	errno = err;
	return n;
}

/* Return: the result of the last request; @flags: of its completion, or NULL */
static int uring_result(struct io_uring *ring, int requests, __u32 *flags)
{
	struct io_uring_cqe *cqe;
	int n = -EIO;

	if (io_uring_submit(ring) != requests)
		return n;
	while (requests-- && !io_uring_wait_cqe(ring, &cqe)) {
		n = cqe->res;
		if (flags)
			*flags = cqe->flags;
		io_uring_cqe_seen(ring);
	}
	return n;
}

/* io_uring_queue_exit() does not unmap the completion ring, which keeps the
 * ring alive.
 */
static void uring_exit(struct io_uring *ring)
{
	long page = sysconf(_SC_PAGESIZE);

	munmap((void *)((unsigned long)ring->cq.khead & -page), ring->cq.ring_sz);
	io_uring_queue_exit(ring);
}

/* Multishot receive completes once each time there is data, as long as there
 * are provided buffers: here, there is one buffer.
 */
static int uring_read_flags(int fd, void *buf, int len, bool multishot, __u32 *flags)
{
	struct io_uring_sqe provide = {
		.opcode = IORING_OP_PROVIDE_BUFFERS,
		.fd = 1,	/* number of buffers */
		.addr = (unsigned long)buf,
		.len = len,
		.buf_group = 1,
	};
	struct io_uring_sqe recv = {
		.opcode = IORING_OP_RECV,
		.fd = fd,
		.msg_flags = MSG_DONTWAIT,
	};
	struct io_uring ring;
	int n;

	if (io_uring_queue_init(2, &ring, 0))
		return -1;
	if (multishot) {
		recv.flags = IOSQE_BUFFER_SELECT;
		recv.ioprio = IORING_RECV_MULTISHOT;
		recv.buf_group = 1;
		*io_uring_get_sqe(&ring) = provide;
	} else {
		recv.addr = (unsigned long)buf;
		recv.len = len;
	}
	*io_uring_get_sqe(&ring) = recv;
	n = uring_result(&ring, 1 + multishot, flags);
	uring_exit(&ring);
	errno = n < 0 ? -n : 0;
	return n < 0 ? -1 : n;
}

static int uring_read(int fd, void *buf, int len, bool multishot)
{
	return uring_read_flags(fd, buf, len, multishot, NULL);
}

/* On a socket whose unread data a verdict has run on, or will, nothing is
 * mapped at @map and nothing is copied to the @len bytes at @buf.
 */
static bool zerocopy_refused(struct recv_test *s, void *map, void *buf, int len)
{
	struct tcp_zerocopy_receive zc = {
		.address = (unsigned long)map,
		.length = USHRT_MAX,
		.copybuf_address = (unsigned long)buf,
		.copybuf_len = len,
	};
	socklen_t size = sizeof(zc);
	int err;

	err = getsockopt(s->sk, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &size) ? errno : 0;
	if (!readable(s) && s->fin)
		return same(s, err, EIO, "TCP_ZEROCOPY_RECEIVE at the end of file");
	return same(s, err, 0, "TCP_ZEROCOPY_RECEIVE") &&
	       same(s, zc.length, 0, "bytes mapped") &&
	       same(s, zc.copybuf_len, 0, "bytes copied") &&
	       same(s, zc.recv_skip_hint, readable(s), "recv_skip_hint");
}

/* Like recv(), but whole pages are mapped, and recv() is used where
 * TCP_ZEROCOPY_RECEIVE returns nothing.
 */
static int zerocopy_read(int fd, __u8 *buf, int len)
{
	static __thread __u8 copy[PAGE];
	struct tcp_zerocopy_receive zc = {
		.length = len / PAGE * PAGE,
		.copybuf_address = (unsigned long)copy,
		.copybuf_len = len % PAGE,
	};
	socklen_t size = sizeof(zc);
	int n = 0, err;
	void *map;

	map = mmap(NULL, SHARED_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	zc.address = (unsigned long)map;
	err = getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &size);
	if (!err) {
		memcpy(buf, map, zc.length);
		memcpy(buf + zc.length, copy, zc.copybuf_len);
		mapped_bytes += zc.length;
		n = zc.length + zc.copybuf_len;
	}
	munmap(map, SHARED_SIZE);
	/* EIO with less than a page to map does not mean end of file. */
	if (n || (err && errno != EIO))
		return n ?: -1;
	if (!err && zc.recv_skip_hint && zc.recv_skip_hint < len)
		len = zc.recv_skip_hint;
	return recv(fd, buf, len, MSG_DONTWAIT);
}

/* TCP_ZEROCOPY_RECEIVE returns nothing. */
static bool zerocopy_nothing(struct recv_test *s)
{
	static __u8 buf[STREAM_MAX];
	struct tcp_zerocopy_receive zc = {
		.length = SHARED_SIZE,
		.copybuf_address = (unsigned long)buf,
		.copybuf_len = sizeof(buf),
	};
	socklen_t size = sizeof(zc);
	void *map;
	int err;

	map = mmap(NULL, SHARED_SIZE, PROT_READ, MAP_SHARED, s->sk, 0);
	if (!ASSERT_NEQ(map, MAP_FAILED, "mmap"))
		return false;
	zc.address = (unsigned long)map;
	err = getsockopt(s->sk, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &size) ? errno : 0;
	munmap(map, SHARED_SIZE);
	if (s->fin)
		return same(s, err, EIO, "TCP_ZEROCOPY_RECEIVE at the end of file");
	return same(s, err, 0, "TCP_ZEROCOPY_RECEIVE") &&
	       same(s, zc.length + zc.copybuf_len, 0, "bytes read");
}

static bool zerocopy_receive(struct recv_test *s)
{
	static __u8 buf[USHRT_MAX];
	bool ok;
	void *map;

	map = mmap(NULL, USHRT_MAX, PROT_READ, MAP_SHARED, s->sk, 0);
	if (!ASSERT_NEQ(map, MAP_FAILED, "mmap"))
		return false;
	/* In this order: unpatched kernels fail the first check without a crash */
	ok = zerocopy_refused(s, map, buf, sizeof(buf)) && zerocopy_refused(s, map, NULL, 0);
	munmap(map, USHRT_MAX);
	return ok;
}

/* Like recv(), into three buffers */
static int readv_read(int fd, void *buf, int len)
{
	struct iovec iov[] = {
		{ buf, len / 3 },
		{ buf + len / 3, len / 2 - len / 3 },
		{ buf + len / 2, len - len / 2 },
	};
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov) };

	return recvmsg(fd, &msg, MSG_DONTWAIT);
}

static int read_by(int fd, void *buf, int len, char how)
{
	switch (how) {
	case 's':
		return splice_read(fd, buf, len, MSG_DONTWAIT);
	case 'u':
		return uring_read(fd, buf, len, false);
	case 'm':
		return uring_read(fd, buf, len, true);
	case 'v':
		return readv_read(fd, buf, len);
	case 'z':
		if (in_place())
			return zerocopy_read(fd, buf, len);
	}
	return recv(fd, buf, len, MSG_DONTWAIT);
}

/* Read @len bytes from @fd and compare them with @want */
static bool read_bytes(struct recv_test *s, int fd, const void *want, int len, char how)
{
	__u64 until = give_up_at(s, READ_TIMEOUT_SEC);
	static __u8 buf[STREAM_MAX];
	int n, got = 0;

	while (got < len) {
		n = read_by(fd, buf + got, len - got, how);
		if (n > 0)
			got += n;
		else if (!n || errno != EAGAIN || !look_again(until))
			break;
	}
	return same(s, got, len, "bytes read") &&
	       same(s, memcmp(buf, want, len) == 0, true, "what was read");
}

/* A read returns EAGAIN. */
static bool nothing(struct recv_test *s, char how)
{
	__u8 buf[1];

	return same(s, read_by(s->sk, buf, sizeof(buf), how), -1, "reading") &&
	       same(s, errno, EAGAIN, "errno");
}

/* Reads passed data, and then data that no verdict runs on */
static bool read_unread(struct recv_test *s, int len, char how)
{
	static __u8 want[STREAM_MAX];
	int pend = 0;

	if (how == 'z' && !in_place() && !zerocopy_receive(s))
		return false;
	if (!len && how == 'z')
		return !in_place() || zerocopy_nothing(s);
	if (!len)
		return nothing(s, how);
	if (len > passed_len(s)) {
		pend = len - passed_len(s);
		len = passed_len(s);
	}
	memcpy(want, s->unread + s->unread_start, len);
	memcpy(want + len, s->pend, pend);
	if (how == '~' ? !same(s, recv(s->sk, NULL, len + pend, MSG_TRUNC | MSG_DONTWAIT),
			       len + pend, "discarded") :
			 !read_bytes(s, s->sk, want, len + pend, how))
		return false;

	while (len--)
		s->held -= s->own[s->unread_start++];
	s->held -= pend;
	s->pend_len -= pend;
	memmove(s->pend, s->pend + pend, s->pend_len);
	if (pend)
		s->astray = s->pend_len || s->rec_sent < s->rec_len;
	return true;
}

/* Peek at all data from offset @off on */
static bool peek_from(struct recv_test *s, int off)
{
	int n, none = -1, part = passed_len(s) - off, want = readable(s) - off;
	static __u8 buf[STREAM_MAX];

	xsetsockopt(s->sk, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	n = recv(s->sk, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	xsetsockopt(s->sk, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none));
	if (part < 0)
		part = 0;
	else if (part && !in_place())
		want = part;
	off += s->unread_start;
	return same(s, n, want, "bytes peeked at") &&
	       same(s, memcmp(buf, s->unread + off, part) ||
		    memcmp(buf + part, s->pend + off + part - s->unread_end, want - part), 0,
		    "what was peeked at");
}

static void passed(struct recv_test *s, const void *data, int len, bool own)
{
	memcpy(s->unread + s->unread_end, data, len);
	while (len--)
		s->own[s->unread_end++] = own;
}

/* The application does not read the next @len bytes of the stream. */
static void skipped(struct recv_test *s, int len)
{
	if (in_place() && passed_len(s))
		s->own[s->unread_end - 1] += len;
	else
		s->held -= len;
}

/* The length of the next record, 0 if it is not complete */
static int complete(struct recv_test *s)
{
	int len;

	if (!s->parser)
		return s->pend_len;
	len = s->pend_len < 2 ? INT_MAX : s->pend[0] << 8 | s->pend[1];
	return len <= s->pend_len ? len : 0;
}

/* The application reads @len bytes instead of @stream bytes of the stream. The
 * kernel accounts for them from the front.
 */
static void passed_instead(struct recv_test *s, const __u8 *data, int len, int stream)
{
	int i;

	if (!len) {
		skipped(s, stream);
		return;
	}
	passed(s, data, len, true);
	for (i = stream; i < len; i++)
		s->own[s->unread_end - len + i] = 0;
	if (len < stream)
		s->own[s->unread_end - 1] += stream - len;
}

/* Were the first byte and the byte that the program writes to contiguous? */
static bool wrote(struct recv_test *s)
{
	__u64 until = give_up_at(s, HELD_TIMEOUT_SEC);

	while (READ_ONCE(s->skel->bss->judged) < s->judged && look_again(until))
		;
	return READ_ONCE(s->skel->bss->wrote[(s->judged - 1) % WROTE]);
}

/* How the verdict changes a record that it passes. Return: its new length */
static int changed(struct recv_test *s, __u8 *rec, int len)
{
	switch (rec[2]) {
	case 'G':
	case 'H':
		memmove(rec + GROW, rec, len);
		memset(rec, 0, GROW);
		return len + GROW;
	case 'C':
		memmove(rec, rec + CUT, len - CUT);
		return len - CUT;
	case 'X':
		memset(rec + len, 0, GROW);
		return len + GROW;
	case 'Y':
		return len - CUT;
	case 'N':
		return 0;
	case 'W':
		if (s->access == CHANGES || wrote(s))
			rec[CUT] = ~rec[CUT];
		if (s->access == CHANGES)
			rec[len - 1] = ~rec[len - 1];
	}
	return len;
}

/* Model of the parser and the verdict */
static bool judge(struct recv_test *s)
{
	static __u8 rec[STREAM_MAX];
	bool ok = true;
	int len;

	while (ok && s->joined && (len = complete(s))) {
		s->judged++;
		memcpy(rec, s->pend, len);
		if (strchr("PQ" CHANGED, s->pend[2]))
			passed_instead(s, rec, changed(s, rec, len), len);
		else
			skipped(s, len);
		if (s->pend[2] == 'R')
			ok = read_bytes(s, s->other, s->pend, len, '-');
		if (s->pend[2] == 'T')
			ok = read_bytes(s, s->other_peer, s->pend, len, '-');
		s->pend_len -= len;
		memmove(s->pend, s->pend + len, s->pend_len);
	}
	return ok;
}

static void new_record(struct recv_test *s, char action, int len)
{
	int i;

	for (i = 3; i < len; i++)
		s->rec[i] = i * 7 + s->judged;
	s->rec[0] = len >> 8;
	s->rec[1] = len;
	s->rec[2] = action;
	s->rec_len = len;
	s->rec_sent = 0;
}

/* A pipe that refers to the pages of the @len bytes at @mem, not to a copy */
static int pipe_of(void *mem, int len, int *in)
{
	struct iovec iov = { mem, len };
	int fds[2];

	if (pipe(fds))
		return -1;
	fcntl(fds[1], F_SETPIPE_SZ, SHARED_SIZE);
	if (vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT) != len)
		ASSERT_FAIL("vmsplice: %d", errno);
	*in = fds[1];
	return fds[0];
}

static void drain_errors(int fd)
{
	char control[200];
	struct msghdr msg;

	do {
		msg = (struct msghdr){
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
	} while (recvmsg(fd, &msg, MSG_ERRQUEUE) >= 0);
}

/* Send @len bytes at offset @off of the shared memory. */
static int send_shared(struct recv_test *s, int fd, char how, int off, int len)
{
	int n, in = -1, out, sent = 0, one = 1;
	loff_t pos = off;

	switch (how) {
	case '!':
		return sendfile(fd, s->file, &pos, len);
	case '^':
		if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
			return -1;
		n = send(fd, s->shared + off, len, MSG_ZEROCOPY | MSG_EOR);
		drain_errors(fd);
		return n;
	}
	out = pipe_of(s->shared + off, len, &in);
	while (sent < len) {
		n = splice(out, NULL, fd, NULL, len - sent, 0);
		if (n <= 0)
			break;
		sent += n;
	}
	close(in);
	close(out);
	return sent;
}

static bool get_shared(struct recv_test *s)
{
	if (s->shared)
		return true;
	s->file = memfd_create("shared", 0);
	if (!ASSERT_GE(s->file, 0, "memfd_create") ||
	    !ASSERT_OK(ftruncate(s->file, SHARED_SIZE), "ftruncate"))
		return false;
	s->shared = mmap(NULL, SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->file, 0);
	return ASSERT_NEQ(s->shared, MAP_FAILED, "mmap");
}

static void put_shared(struct recv_test *s)
{
	if (!s->shared)
		return;
	munmap(s->shared, SHARED_SIZE);
	close(s->file);
	s->shared = NULL;
}

/* MSG_EOR: a segment has bytes of two records only if that is asked for */
static bool send_part(struct recv_test *s, int fd, int len, char how)
{
	int n;

	memcpy(s->batch + s->batch_len, s->rec + s->rec_sent, len);
	len += s->batch_len;
	if (!how) {
		n = xsend(fd, s->batch, len, MSG_EOR);
	} else {
		if (!get_shared(s))
			return false;
		memcpy(s->shared + s->shared_len, s->batch, len);
		n = send_shared(s, fd, how, s->shared_len, len);
		s->shared_len += len;
	}
	if (!same(s, n, len, "sent"))
		return false;
	s->rec_sent += len - s->batch_len;
	s->batch_len = 0;
	return true;
}

/* The peer overwrites what it has sent, if the verdict has run on all of it:
 * the application must not see the change.
 */
static void write_shared(struct recv_test *s)
{
	if (!s->shared_len || !s->joined || s->pend_len)
		return;
	judged(s);
	memset(s->shared, 'D', s->shared_len);
	s->shared_len = 0;
}

static const int queues[] = { TCP_RECV_QUEUE, TCP_SEND_QUEUE };

/* The next sequence number of each queue. TCP_REPAIR is on. */
static void queue_seqs(int fd, __u32 seq[])
{
	socklen_t size = sizeof(int);
	int i;

	for (i = 0; i < ARRAY_SIZE(queues); i++) {
		xsetsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queues[i], size);
		xgetsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq[i], &size);
	}
}

/* Have the peer send the last @len bytes again, in one segment with the next
 * data, like a retransmission with other segment boundaries. TCP_REPAIR makes a
 * new socket for the peer that does so.
 */
static bool resend(struct recv_test *s, int len)
{
	int fd, i, on = 1, off = TCP_REPAIR_OFF_NO_WP;
	struct sockaddr_storage local, remote;
	socklen_t n = sizeof(local), size = sizeof(int), wsize;
	struct tcp_repair_window window = {};
	__u32 seq[2];

	fd = xsocket(s->family, SOCK_STREAM, 0);
	if (fd < 0)
		return false;
	xgetsockname(s->peer, sockaddr(&local), &n);
	getpeername(s->peer, sockaddr(&remote), &n);
	xsetsockopt(s->peer, IPPROTO_TCP, TCP_REPAIR, &on, size);
	xsetsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, size);
	xsetsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, size);
	xsetsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, size);
	queue_seqs(s->peer, seq);
	for (i = 0; i < ARRAY_SIZE(queues); i++) {
		xsetsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queues[i], size);
		if (queues[i] == TCP_SEND_QUEUE)
			seq[i] -= len;
		xsetsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq[i], size);
	}
	wsize = sizeof(window);
	xgetsockopt(s->peer, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &wsize);
	/* In repair mode, close() sends nothing. */
	close_fd(&s->peer);
	s->peer = fd;
	if (xbind(fd, sockaddr(&local), n) || xconnect(fd, sockaddr(&remote), n))
		return false;
	xsetsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, wsize);
	memcpy(s->batch, s->rec + s->rec_sent - len, len);
	s->batch_len = len;
	s->resent = len;
	return !xsetsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, size);
}

/* @how: the call to send with, or '+' to send it in one segment with the next data */
static bool send_record(struct recv_test *s, int len, char how)
{
	int batch_len = s->batch_len;

	if (how == '+') {
		memcpy(s->batch + batch_len, s->rec + s->rec_sent, len);
		s->batch_len += len;
		s->rec_sent += len;
		return true;
	}
	if (!send_part(s, s->peer, len, how))
		return false;
	len += batch_len - s->resent;
	memcpy(s->pend + s->pend_len, s->batch + s->resent, len);
	s->resent = 0;
	s->pend_len += len;
	s->held += len;
	if (!judge(s))
		return false;
	write_shared(s);
	return true;
}

/* Wait until all data sent has been received */
static void received(struct recv_test *s)
{
	__u64 until = give_up_at(s, READ_TIMEOUT_SEC);
	int want = s->held;

	while (rx_queue(s, s->sk) < want && look_again(until))
		;
}

/* Have a sk_msg program run on what other_peer sends. */
static bool judge_sender(struct recv_test *s)
{
	int prog = bpf_program__fd(s->skel->progs.prog_msg_insert);

	if (s->senders >= 0)
		return true;
	s->senders = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "senders", 4, 4, 1, NULL);
	return ASSERT_OK_FD(s->senders, "create map") &&
	       !xbpf_prog_attach(prog, s->senders, BPF_SK_MSG_VERDICT, 0) &&
	       !xbpf_map_update_elem(s->senders, &u32(0), &u64(s->other_peer), BPF_ANY);
}

/* A record is redirected to sk. The application reads it there, but it is not
 * part of sk's stream. It is redirected by the verdict of the other socket
 * ('I'), or by the sk_msg program of that socket's peer ('J').
 */
static bool redirect_in(struct recv_test *s, char op, int len)
{
	__u64 until = give_up_at(s, READ_TIMEOUT_SEC);
	int unread, n, rec_len = s->rec_len, rec_sent = s->rec_sent;
	static __u8 buf[STREAM_MAX], rec[sizeof(s->rec)];
	bool ok;

	if (op == 'J' && !judge_sender(s))
		return false;
	/* The record that is being sent continues after this one. */
	memcpy(rec, s->rec, rec_len);
	new_record(s, op, len);
	ok = send_part(s, s->other_peer, len, 0);
	s->judged += op == 'I';
	passed(s, s->rec, len, false);
	memcpy(s->rec, rec, rec_len);
	s->rec_len = rec_len;
	s->rec_sent = rec_sent;
	if (!ok)
		return false;
	if (s->hold_worker)
		return true;

	unread = passed_len(s);
	do {
		n = recv(s->sk, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	} while (n < unread && look_again(until));
	return same(s, n, unread, "readable bytes");
}

/* Redirected records are delivered by a worker on this CPU. Keep it from
 * running, so that sk receives records of its own while a redirected one is
 * still queued.
 */
static bool hold_worker(struct recv_test *s)
{
	struct sched_param param = { .sched_priority = 1 };
	cpu_set_t one;

	sched_getaffinity(0, sizeof(s->cpus), &s->cpus);
	if (!ASSERT_OK(sched_setscheduler(0, SCHED_FIFO, &param), "sched_setscheduler"))
		return false;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	s->hold_worker = true;
	return ASSERT_OK(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

/* If the machine was stopped for a second, the scheduler runs other tasks in
 * spite of the real-time task. Then the worker was not held, and s->again is
 * set.
 */
static bool release_worker(struct recv_test *s)
{
	struct sched_param param = {};
	int delivered = 0;

	if (!s->hold_worker)
		return true;
	/* Where passed data stays on the receive queue, receiving and reading
	 * deliver, too.
	 */
	if (s->joined && !in_place())
		ioctl(s->sk, FIONREAD, &delivered);
	s->again = s->skel->bss->judged != s->judged || delivered;
	s->hold_worker = false;
	sched_setaffinity(0, sizeof(s->cpus), &s->cpus);
	return ASSERT_OK(sched_setscheduler(0, SCHED_OTHER, &param), "sched_setscheduler") &&
	       !s->again;
}

static void detach_link(struct recv_test *s, int slot)
{
	bpf_link__destroy(s->links[slot]);
	s->links[slot] = NULL;
	bpf_link__destroy(s->parsers[slot]);
	s->parsers[slot] = NULL;
}

static struct bpf_program *verdict(struct recv_test *s)
{
	if (s->pass_all)
		return s->skel->progs.prog_pass;
	if (s->access == CHANGES)
		return s->skel->progs.prog_verdict_changes;
	if (s->access == WRITES)
		return s->skel->progs.prog_verdict_writes;
	return s->twin ? s->skel->progs.prog_verdict_twin : s->skel->progs.prog_verdict;
}

/* Attach by a link on the socket, with the parser or without */
static int attach_link(struct recv_test *s, int slot, int fd)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts);
	struct bpf_program *parser = s->skel->progs.prog_parser;
	int err;

	if (s->parser && sock_links_take_parser(verdict(s))) {
		opts.parser_fd = bpf_program__fd(parser);
	} else if (s->parser) {
		s->parsers[slot] = bpf_program__attach_sock(parser, fd, &opts);
		if (!s->parsers[slot])
			return -errno;
	}
	s->links[slot] = bpf_program__attach_sock(verdict(s), fd, &opts);
	err = s->links[slot] ? 0 : -errno;
	if (err)
		detach_link(s, slot);
	return err;
}

/* The map that programs redirect by has no programs of its own. */
static int join(struct recv_test *s, int slot, int fd)
{
	int err = bpf_map_update_elem(s->map, &u32(slot), &u64(fd), BPF_ANY);

	if (err)
		return err;
	return s->direct ? attach_link(s, slot, fd) :
			   bpf_map_update_elem(s->judge, &u32(slot), &u64(fd), BPF_ANY);
}

static int leave(struct recv_test *s, int slot)
{
	int err = 0;

	if (s->direct)
		detach_link(s, slot);
	else
		err = bpf_map_delete_elem(s->judge, &u32(slot));
	return bpf_map_delete_elem(s->map, &u32(slot)) ?: err;
}

static int attach_verdict(struct recv_test *s)
{
	return bpf_prog_attach(bpf_program__fd(verdict(s)), s->judge,
			       BPF_SK_SKB_STREAM_VERDICT, 0);
}

/* Map: applies to sockets added later. Link: applies to its socket at once. */
static int replace_verdict(struct recv_test *s)
{
	s->twin = !s->twin;
	if (!s->direct)
		return attach_verdict(s);
	return s->joined ? bpf_link__update_program(s->links[0], verdict(s)) : 0;
}

static bool attach(struct recv_test *s)
{
	int parser = bpf_program__fd(s->skel->progs.prog_parser);
	int err;

	if (s->direct)
		return true;
	err = s->parser ? bpf_prog_attach(parser, s->judge, BPF_SK_SKB_STREAM_PARSER, 0) : 0;
	if (err == -EOPNOTSUPP) {
		printf("%s:SKIP:no CONFIG_BPF_STREAM_PARSER\n", __func__);
		test__skip();
		return false;
	}
	if (err)
		return ASSERT_FAIL("attaching the parser: %d", err);
	return ASSERT_OK(attach_verdict(s), "verdict");
}

static bool make_judge(struct recv_test *s)
{
	s->judge = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "judge", 4, 4, 2, NULL);
	return ASSERT_OK_FD(s->judge, "create map") && attach(s);
}

static bool load(struct recv_test *s)
{
	if (!s->skel)
		s->skel = test_sockmap_recv__open_and_load();
	if (!s->skel)
		return ASSERT_FAIL("open_and_load");
	s->map = bpf_map__fd(s->skel->maps.sock_map);
	s->skel->bss->judged = 0;
	return make_judge(s);
}

/* A worker removes the sockets from the closed map, sk first. The other socket
 * is added to the new map as soon as it was removed.
 */
static bool close_map(struct recv_test *s)
{
	__u64 until = give_up_at(s, READ_TIMEOUT_SEC);
	int err;

	if (s->direct)
		detach_link(s, 0);
	if (s->joined)
		bpf_map_delete_elem(s->map, &u32(0));
	s->joined = false;
	if (s->direct)
		return true;
	close(s->judge);
	if (!make_judge(s))
		return false;
	do {
		err = join(s, 1, s->other);
	} while (err == -EBUSY && look_again(until));
	return same(s, err, 0, "joining");
}

static void reset_by_peer(struct recv_test *s)
{
	struct linger linger = { .l_onoff = 1 };

	xsetsockopt(s->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close_fd(&s->peer);
	s->peer = -1;
}

/* Steps, each followed by a comparison with the model:
 *
 * P, D, R, T<n>  the peer sends a record of n bytes, to be passed, to be dropped, to be
 *		  redirected to the ingress or to the egress of the other socket
 *    .../<m>	  only its first m bytes
 * /<m>		  m more bytes of it
 * I, J<n>	  a record is redirected to the socket by the verdict of the other socket,
 *		  or by a sk_msg program of the other socket's peer
 * Q<n>		  a record that is redirected to the socket it was received on
 * G, C<n>	  the verdict lengthens or shortens it at the front, and passes it
 * H<n>		  as G, but with another helper
 * X, Y, N<n>	  lengthens it or shortens it at the end, or shortens it to nothing
 * W<n>		  writes to it
 *    ...+	  it is sent in one segment with the next data
 *    ...!, %, ^  it is sent with sendfile(), with vmsplice() and splice(), or with
 *		  MSG_ZEROCOPY, and the memory it was sent from is overwritten as soon as
 *		  the verdict has run
 * O<n>		  the last n bytes are retransmitted in one segment with the next data
 * [ ... ]	  the worker that delivers redirected records is kept from running, and
 *		  nothing is compared, until the bracket closes
 * -, ~<n>	  the application reads, or discards, n bytes
 * s, u, m, v<n>  reads them with splice(), io_uring, multishot io_uring, or recvmsg()
 * z<n>		  with TCP_ZEROCOPY_RECEIVE, and with recv() where recv_skip_hint says so
 *    ...0	  finds that there is nothing to read
 * p<n>		  peeks at all data from offset n on
 * L, A		  the socket is removed from the map; is added to it
 * U<n>		  the peer sends n bytes that are no record
 * F, E		  FIN is sent; the application reads the end of file
 * K		  RST is sent
 * V		  another verdict program replaces the current one
 * M		  the map is closed, which removes the socket; a new map is made
 * B<n>		  SO_RCVBUF is set to n
 */
#define RECORDS "PDRTQ" CHANGED

static char parse_step(const char *what, int *n, int *m, char *how)
{
	char op;

	*n = 0;
	if (sscanf(what, "%c%d/%d", &op, n, m) < 3)
		*m = *n;
	*how = what[strcspn(what, " +!%^")];
	if (*how == ' ')
		*how = 0;
	return op;
}

static bool step(struct recv_test *s, const char *what)
{
	char op, how;
	int n, m;

	op = parse_step(what, &n, &m, &how);
	if (strchr(RECORDS, op)) {
		new_record(s, op, n);
		return send_record(s, m, how);
	}

	switch (op) {
	case '/':
		return send_record(s, n, how);
	case 'I':
	case 'J':
		return redirect_in(s, op, n);
	case '[':
		return hold_worker(s);
	case ']':
		return release_worker(s);
	case '-':
	case '~':
	case 's':
	case 'u':
	case 'm':
	case 'v':
	case 'z':
		return read_unread(s, n, op);
	case 'p':
		return peek_from(s, n);
	case 'L':
		s->joined = false;
		return same(s, leave(s, 0), 0, "leaving");
	case 'A':
		/* The verdict runs when the socket is added, on data received before */
		received(s);
		do {
			n = join(s, 0, s->sk);
		} while (n == -ENOMEM && s->patience);
		if (!same(s, n, 0, "joining"))
			return false;
		s->joined = true;
		return judge(s);
	case 'U':
		s->astray = true;
		new_record(s, op, n);
		return send_record(s, n, how);
	case 'O':
		return resend(s, n);
	case 'F':
		/* An incomplete record is dropped */
		if (s->joined) {
			skipped(s, s->pend_len);
			s->pend_len = 0;
		}
		s->fin = 1;
		return same(s, shutdown(s->peer, SHUT_WR), 0, "shutdown");
	case 'K':
		reset_by_peer(s);
		s->reset = true;
		s->told = s->fin;	/* FIN came first */
		s->fin = 1;
		return true;
	case 'E':
		m = recv(s->sk, &op, 1, MSG_DONTWAIT);
		return same(s, m < 0 ? -errno : m, end_of(s), "end of file");
	case 'V':
		return same(s, replace_verdict(s), 0, "replacing the verdict");
	case 'M':
		return close_map(s);
	case 'B':
		return !xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &n, sizeof(n));
	}
	return ASSERT_FAIL("unknown: %s", what);
}

static void no_sockets(struct recv_test *s)
{
	s->sk = -1;
	s->peer = -1;
	s->other = -1;
	s->other_peer = -1;
	s->judge = -1;
	s->senders = -1;
}

/* Have the sockets of @s connected over veth. Return: the argument for
 * leave_veth(), below 0 on failure.
 */
static int enter_veth(struct recv_test *s, struct veth_pair *veth, int mss)
{
	if (!veth_pair_new(veth))
		return -1;
	veth->mss = mss;
	s->veth = veth;
	return nl_enter(&veth->ns);
}

static void leave_veth(struct recv_test *s, struct veth_pair *veth, int here)
{
	s->veth = NULL;
	if (here >= 0)
		nl_leave(here);
	veth_pair_close(veth);
}

static bool connect_sockets(struct recv_test *s)
{
	if (s->veth)
		return veth_pair_connect(s->veth, &s->sk, &s->peer) &&
		       veth_pair_connect(s->veth, &s->other, &s->other_peer);
	return !create_socket_pairs(s->family, SOCK_STREAM, &s->sk, &s->other, &s->peer,
				    &s->other_peer);
}

static bool setup(struct recv_test *s, int family, bool parser, bool direct,
		  enum access access)
{
	struct test_sockmap_recv *skel = s->skel;
	struct veth_pair *veth = s->veth;
	int one = 1;

	memset(s, 0, sizeof(*s));
	s->skel = skel;
	s->veth = veth;
	s->access = access;
	s->family = family;
	s->parser = parser;
	s->direct = direct;
	no_sockets(s);

	if (!load(s) || !connect_sockets(s))
		return false;
	if (xsetsockopt(s->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    xsetsockopt(s->other_peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return false;

	if (!same(s, join(s, 0, s->sk), 0, "joining") ||
	    !same(s, join(s, 1, s->other), 0, "joining"))
		return false;
	s->joined = true;
	return true;
}

static void close_sockets(struct recv_test *s)
{
	close_fd(&s->sk);
	close_fd(&s->peer);
	close_fd(&s->other);
	close_fd(&s->other_peer);
	detach_link(s, 0);
	detach_link(s, 1);
	if (s->judge >= 0)
		close(s->judge);
	if (s->senders >= 0)
		close(s->senders);
	no_sockets(s);
	put_shared(s);
}

static void cleanup(struct recv_test *s)
{
	close_sockets(s);
	test_sockmap_recv__destroy(s->skel);
	s->skel = NULL;
}

#endif
