/* SPDX-License-Identifier: GPL-2.0 */
/* Sending through a sk_msg program, and a model of the result; for
 * sockmap_send_fuzz.c only
 */
#ifndef __SOCKMAP_SEND_FUZZ_H
#define __SOCKMAP_SEND_FUZZ_H

#include <error.h>
#include <stdarg.h>
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "clock_rnd.h"
#include "progs/test_sockmap_send_fuzz.h"
#include "test_sockmap_send_fuzz.skel.h"

#define STEPS_MAX 30
#define SEND_MAX 200000
#define SENT_MAX 600000		/* bytes sent in a sequence */
#define MSG_MAX (2 * SEND_MAX)
#define STREAM_MAX 4000000
#define ANY 0x100		/* a pushed byte that the program has not written */
#define PERIOD 127		/* of the payload bytes, which differ from pushed ones */
#define ELEMS 17		/* most elements of a message */
#define CUT_MIN (15 * 4096)	/* bytes that fit into so many elements */
#define PATIENCE_MS 10000
#define HASTY_MS 1000
#define FEW 20			/* sequences at least, however slow the machine is */
#define ANY_FAILS -1

enum { DROP = -1, PEER, EGRESS, INGRESS, STREAMS };

static const char * const stream_name[] = { "the peer", "egress", "ingress" };

struct stream {
	int fd;
	bool ended;
	int want_len;
	int len;		/* bytes received */
	int seen;		/* bytes compared */
	__u16 want[STREAM_MAX];
	__u8 data[STREAM_MAX];
};

struct step {
	char what;	/* 's'end, write'v', send'f'ile, s'p'lice, 'x': writev that ends at an
			 * unmapped address, 'r'ead, 'w'ait for room, 'l'eave
			 * the map, 'j'oin it, 'R'eplace the program, 'B':
			 * SO_SNDBUF
			 */
	bool more, eor;
	bool zerocopy;
	int fails;	/* which of its allocations fails, or ANY_FAILS */
	int n;
};

struct sequence {
	int family;
	bool blocking;
	bool zerocopy;
	bool closes;
	bool nodelay;
	bool apart;		/* data of two calls is never in one element */
	bool tight;		/* a small send buffer */
	int sndbuf, rcvbuf, lowat;
	int n_scripts;
	struct send_script scripts[SCRIPTS];
	int n;
	struct step steps[STEPS_MAX];
};

struct send_fuzz {
	struct test_sockmap_send_fuzz *skel;
	int map;
	int sk;			/* in slot 0 of the map */
	int peer;
	int other;		/* in slot 1 */
	int other_peer;
	int aside;		/* in no map */
	int aside_peer;
	int ep;			/* epoll fd for all of them */
	int done;		/* eventfd */
	struct sequence *seq;
	bool joined;
	bool late_error;	/* the socket may have one, EACCES */
	bool full;		/* the last call returned EAGAIN */
	bool room;		/* poll() says that there is room */
	__u32 zc_calls, zc_told;
	bool hasty;
	char diff[200];

	/* a call */
	struct step *step;
	int ret, err;
	bool faulty;		/* allocations may have failed during the call */

	/* model */
	struct stream out[STREAMS];
	unsigned int sent;	/* bytes of payload */
	__u32 runs;
	__u16 msg[MSG_MAX];	/* rest of the current message, or corked data */
	int len;
	int left;		/* its bytes that are still to be reported to the sender */
	bool changed;		/* by push or pop */
	bool whole;		/* is sent whole, in spite of the size of the send buffer */
	bool corked;
	int cork_left;
	int elems;		/* elements of the message, at most */
	int budget;		/* same as in the program */
	int apply_left;
	int verdict;		/* the verdict that apply_left is for */
	int pos;		/* position in the data of the call */
	int end_err;		/* the call must end at pos, with this error */
	bool lost;		/* the peer's data is not known any more */
};

static bool __printf(2, 3) fail(struct send_fuzz *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!t->diff[0])
		vsnprintf(t->diff, sizeof(t->diff), fmt, args);
	va_end(args);
	return false;
}

/* ---- the model ----------------------------------------------------------- */

/* The most elements that @len bytes take */
static int pieces(int len)
{
	return len / 4096 + 2;
}

static bool add_new(struct send_fuzz *t, int n)
{
	int i;

	if (t->len + n > MSG_MAX)
		return fail(t, "too long a message");
	for (i = 0; i < n; i++)
		t->msg[t->len + i] = (t->sent + t->pos + i) % PERIOD;
	t->len += n;
	t->pos += n;
	t->elems += pieces(n);
	return true;
}

static void remove_from(struct send_fuzz *t, int start, int n)
{
	t->len -= n;
	memmove(t->msg + start, t->msg + start + n, (t->len - start) * sizeof(*t->msg));
}

/* Stream @to receives the first @n bytes of the message. */
static bool deliver(struct send_fuzz *t, int to, int n)
{
	struct stream *out = &t->out[to];

	if (out->want_len + n > STREAM_MAX)
		return fail(t, "too long a stream");
	memcpy(out->want + out->want_len, t->msg, n * sizeof(*t->msg));
	out->want_len += n;
	remove_from(t, 0, n);
	return true;
}

static bool model_op(struct send_fuzz *t, const struct send_op *op, __u8 with, __u32 failed)
{
	int i, start = send_op_start(op, t->len), len = send_op_len(op, t->len, start);
	bool filled = !(failed & 1 << 16);

	if (!len || !op->what || !strchr("+-w", op->what))
		return true;
	if (op->what != 'w')
		t->budget -= op->what == '+' ? 2 : 1;
	if (failed & 1)
		return true;
	switch (op->what) {
	case '+':
		if (t->len + len > MSG_MAX)
			return fail(t, "too long a message");
		memmove(t->msg + start + len, t->msg + start,
			(t->len - start) * sizeof(*t->msg));
		for (i = 0; i < len; i++)
			t->msg[start + i] = i < FILL && filled ? with : ANY;
		t->len += len;
		t->elems += 2;
		t->changed = true;
		break;
	case '-':
		remove_from(t, start, len);
		t->elems++;
		t->changed = true;
		break;
	case 'w':
		for (i = 0; i < len; i++)
			t->msg[start + i] = with;
		break;
	}
	return true;
}

/* A run starts on @size bytes that no earlier verdict was applied to. */
static bool model_begin(struct send_fuzz *t, int len, int size)
{
	int n;

	if (!t->corked && t->len)
		return size == t->len ||
		       fail(t, "wrong message size: %d, not %d", size, t->len);
	if (t->corked) {
		n = size - t->len;
		/* The program runs on less only if the ring is full. */
		if (n < 0 || n > len - t->pos || (!n && len) ||
		    (n && n < t->cork_left && t->elems + pieces(n) < ELEMS))
			return fail(t, "program runs too soon: on %d bytes, %d corked, %d missing",
				    size, t->len, t->cork_left);
		t->corked = false;
		t->whole = true;
	} else {
		if (t->apply_left + size > len - t->pos)
			return fail(t, "program runs on more: %d bytes after %d, of %d", size,
				    t->apply_left, len - t->pos);
		/* Data that an earlier verdict applies to may be in messages of
		 * its own.
		 */
		n = t->apply_left;
		if (size < len - t->pos - n && n + size < CUT_MIN && !strchr("fp", t->step->what))
			return fail(t, "program runs on less: %d bytes after %d, of %d", size, n,
				    len - t->pos);
		if (!add_new(t, n) || (n && !deliver(t, t->verdict, n)))
			return false;
		t->apply_left = 0;
		t->elems = 0;
		t->changed = false;
		t->whole = false;
		n = size;
	}
	if (!add_new(t, n))
		return false;
	t->left = t->len;
	return true;
}

/* The rest of the message is not sent, which the call must report. */
static void model_stop(struct send_fuzz *t, int err)
{
	t->pos -= t->left;
	t->len = 0;
	t->end_err = err;
}

/* Did an allocation fail that the program's last request for this message needed? */
static bool no_memory_for(const struct send_fuzz *t, int limit, bool last)
{
	return t->faulty && last && limit < t->pos;
}

/* The first bytes may have been sent, unless the program has changed them. If
 * earlier calls have contributed to the message, it is not reported how many.
 */
static bool model_not_redirected(struct send_fuzz *t, int apply, int n, int limit)
{
	int room = t->changed ? 0 : limit - (t->pos - t->left);

	t->apply_left = apply > n ? apply - n : 0;
	if (t->whole) {
		t->lost = t->verdict == EGRESS;
		room = 0;
	} else if (room < 0) {
		return fail(t, "returned less than was redirected: %d of %d", limit,
			    t->pos - t->left);
	}
	t->left -= room;
	if (!deliver(t, t->verdict, room))
		return false;
	model_stop(t, ENOMEM);
	return true;
}

/* The verdict passes or redirects the bytes it applies to, except those without
 * room, which follow from @limit, the bytes that the call has returned. @last:
 * this is the last run of the call.
 */
static bool model_verdict(struct send_fuzz *t, int apply, int limit, bool last)
{
	int n = apply && apply < t->len ? apply : t->len, room;

	if (t->verdict != PEER && no_memory_for(t, limit, last))
		return model_not_redirected(t, apply, n, limit);
	if (t->verdict == PEER && !t->whole && n) {
		room = limit - (t->pos - t->left);
		/* Nothing of the message was sent, so all that the program did
		 * to it, and its verdict, is void.
		 */
		if (t->changed && last && limit < t->pos) {
			t->apply_left = 0;
			model_stop(t, EAGAIN);
			return true;
		}
		if (!t->changed && room < n) {
			if (room < 0)
				return fail(t, "returned less than was passed: %d of %d", limit,
					    t->pos - t->left);
			t->apply_left = apply ? apply - room : 0;
			t->left -= room;
			if (!deliver(t, PEER, room))
				return false;
			model_stop(t, EAGAIN);
			return true;
		}
		t->whole = t->changed;
	}
	if (!t->changed)
		t->left -= n;
	t->apply_left = apply > n ? apply - n : 0;
	return deliver(t, t->verdict, n);
}

/* One run of the program. It is final if it runs on corked data to which no
 * more is added.
 */
static bool model_run(struct send_fuzz *t, int len, int limit, bool last)
{
	const struct send_run *run = &t->skel->bss->log_of[t->runs % LOG];
	struct send_op *op = t->seq->scripts[t->runs % t->seq->n_scripts].ops;
	bool final = t->corked && run->size == t->len;
	int i, apply = 0, cork = 0;

	t->runs++;
	if (!model_begin(t, len, run->size))
		return false;
	t->verdict = PEER;
	for (i = 0; i < OPS; i++, op++) {
		if (op->what == 'a')
			apply = op->len;
		else if (op->what == 'c')
			cork = op->len;
		else if (op->what == 'd')
			t->verdict = DROP;
		else if (op->what == 'e' || op->what == 'E')
			t->verdict = EGRESS;
		else if (op->what == 'i' || op->what == 'I')
			t->verdict = INGRESS;
		else if (!model_op(t, op, 0x80 + i, run->failed >> i))
			return false;
	}
	if (run->failed && !t->faulty)
		return fail(t, "program ops fail: %x", run->failed);
	if (cork && t->budget > 0 && !final) {
		if (no_memory_for(t, limit, last)) {
			model_stop(t, ENOMEM);
			return true;
		}
		t->corked = true;
		t->cork_left = cork;
		t->apply_left = 0;
		return true;
	}
	if (t->verdict == DROP) {
		t->apply_left = 0;
		if (final)
			t->len = 0;
		else
			model_stop(t, EACCES);
		return true;
	}
	return model_verdict(t, apply, limit, last);
}

/* Data after the last run is corked, or an earlier verdict applies to it. */
static bool model_rest(struct send_fuzz *t, int len, int limit)
{
	int n = (limit < len ? limit : len) - t->pos;

	if (t->len && !t->corked)
		return fail(t, "program does not run on the rest: %d bytes", t->len);
	if (n < 0)
		return fail(t, "returned less than was sent: %d of %d", limit, t->pos);
	if (t->corked) {
		if (n >= t->cork_left)
			return fail(t, "program does not run on corked data: %d bytes", t->len + n);
		t->cork_left -= n;
		return add_new(t, n);
	}
	if (n > t->apply_left)
		return fail(t, "program does not run: %d bytes, %d applied", n, t->apply_left);
	t->apply_left -= n;
	return add_new(t, n) && deliver(t, n ? t->verdict : PEER, n);
}

/* An allocation failed before the program ran, or for data that an earlier
 * verdict redirects
 */
static bool is_no_memory(const struct send_fuzz *t, int err)
{
	return t->faulty && (err == ENOMEM || (err == ENOBUFS && t->step->zerocopy));
}

/* A call with @len bytes has returned @ret. */
static bool model_call(struct send_fuzz *t, int len, int ret, int err)
{
	__u32 end = READ_ONCE(t->skel->bss->runs);
	int limit = ret < 0 ? 0 : ret;

	t->pos = 0;
	t->end_err = 0;
	if (!t->joined) {
		if (!add_new(t, limit) || !deliver(t, PEER, limit))
			return false;
	}
	while (t->runs != end) {
		if (t->end_err || !t->joined)
			return fail(t, "program runs again after the end");
		if (!model_run(t, len, limit, t->runs + 1 == end))
			return false;
	}
	if (!t->end_err) {
		if (t->joined && !model_rest(t, len, limit))
			return false;
		if (t->pos < len)
			t->end_err = EAGAIN;
	}
	if (t->pos <= 0 ? ret != -1 : ret != t->pos)
		return fail(t, "send returns: %d, not %d", ret, t->pos);
	if (ret < 0 && err != t->end_err && !(t->end_err == EAGAIN && is_no_memory(t, err)))
		return fail(t, "send fails: %d, not %d", err, t->end_err);
	if (t->end_err == EAGAIN && t->seq->blocking &&
	    !(t->faulty && (ret >= 0 || err != EAGAIN)))
		return fail(t, "send does not wait: %d of %d", ret, len);
	t->sent += t->end_err == EACCES ? len : limit;
	return true;
}

/* Runs on corked data outside of send calls */
static bool model_uncork(struct send_fuzz *t)
{
	__u32 end = READ_ONCE(t->skel->bss->runs);

	t->pos = 0;
	t->end_err = 0;
	while (t->runs != end)
		if (!model_run(t, 0, 0, t->runs + 1 == end))
			return false;
	return true;
}

/* ---- the receivers ------------------------------------------------------- */

static bool compare(struct send_fuzz *t, int i)
{
	struct stream *out = &t->out[i];

	if (out->len > out->want_len)
		return fail(t, "too much at %s: %d bytes of %d", stream_name[i], out->len,
			    out->want_len);
	for (; out->seen < out->len; out->seen++) {
		if (out->want[out->seen] == ANY ||
		    out->want[out->seen] == out->data[out->seen])
			continue;
		return fail(t, "wrong byte at %s: %d of %d is %x, not %x", stream_name[i],
			    out->seen, out->want_len, out->data[out->seen],
			    out->want[out->seen]);
	}
	return true;
}

static bool compare_all(struct send_fuzz *t)
{
	return compare(t, PEER) && compare(t, EGRESS) && compare(t, INGRESS);
}

/* Read available data, at most @n bytes from each socket. */
static bool take(struct send_fuzz *t, int n)
{
	int i, got, room;

	for (i = 0; i < STREAMS; i++) {
		struct stream *out = &t->out[i];

		room = STREAM_MAX - out->len;
		got = out->ended ? -1 : recv(out->fd, out->data + out->len,
					     n < room ? n : room, MSG_DONTWAIT);
		if (got > 0)
			out->len += got;
		else if (got < 0 && !out->ended && errno != EAGAIN)
			return fail(t, "recv at %s: %d", stream_name[i], errno);
		if (got || out->ended)
			continue;
		out->ended = true;
		epoll_ctl(t->ep, EPOLL_CTL_DEL, out->fd, NULL);
	}
	return true;
}

enum wait_for { ROOM, DONE, ARRIVED, ENDED, UNCORKED };

/* Corked data was released, by a run of the program, which causes no event, or
 * without one.
 */
static bool uncorked(struct send_fuzz *t)
{
	return READ_ONCE(t->skel->bss->runs) != t->runs ||
	       t->out[PEER].len == t->out[PEER].want_len + t->len;
}

static bool arrived(struct send_fuzz *t)
{
	int i;

	for (i = 0; i < STREAMS; i++)
		if (t->out[i].len < t->out[i].want_len)
			return false;
	return true;
}

/* Read until the condition holds. It fails if nothing happens for the time of
 * patience.
 */
static bool wait_until(struct send_fuzz *t, enum wait_for what)
{
	static const char * const names[] = { "room", "send", "data", "end of file",
					       "corked data" };
	int n, patience = t->hasty ? HASTY_MS : PATIENCE_MS;
	__u64 until = now_ms() + patience;
	struct epoll_event ev;

	for (;;) {
		if (!take(t, STREAM_MAX))
			return false;
		if ((what == ARRIVED && arrived(t)) || (what == ENDED && t->out[PEER].ended) ||
		    (what == UNCORKED && uncorked(t)))
			return true;
		n = epoll_wait(t->ep, &ev, 1, what == UNCORKED ? 1 : patience);
		if ((n < 0 && errno == EINTR) || (what == UNCORKED && now_ms() < until))
			continue;
		if (n != 1)
			return fail(t, "timeout, waiting for %s: %d %d %d of %d %d %d bytes",
				    names[what], t->out[0].len, t->out[1].len, t->out[2].len,
				    t->out[0].want_len, t->out[1].want_len,
				    t->out[2].want_len);
		if (what == DONE && ev.data.fd == t->done)
			return read(t->done, &(__u64){0}, 8) == 8;
		/* EPOLLET: there is one event. */
		if (ev.data.fd == t->sk && ev.events & EPOLLOUT)
			t->full = false;
		if (what == ROOM && !t->full)
			return true;
	}
}

#endif
