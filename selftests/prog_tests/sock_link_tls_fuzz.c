// SPDX-License-Identifier: GPL-2.0
/* Random sequences of what the two ends of a TLS connection do, while programs on the
 * plaintext are attached and detached, compared with a model of what can be read.
 *
 * Steps of recv and recv_parser, with a number n. The peer
 *   P D n    writes a record of n bytes that is passed, or dropped
 *   S n:c    sends n bytes of what it has written, in TLS records of c bytes
 *   M n      sends n bytes with MSG_MORE: the TLS record stays open
 *   C        sends an alert
 *   U        sends a KeyUpdate, and changes its key (TLS 1.3)
 *   Z        sends a TLS record without data
 *   H n      keeps the last n bytes of what TCP sends next, until it sends again
 *   F        sends a FIN
 * and the socket
 *   r b w n  reads n bytes: without waiting; may wait; with MSG_WAITALL
 *   p n      reads n bytes with MSG_PEEK
 *   s n      reads n bytes by splice()
 *   K        sets the new key, once the KeyUpdate was read
 *   A a      attaches a verdict; one that passes all records
 *   B        replaces the one by the other, by an update of the link
 *   L        detaches the verdict
 * poll() is checked after each step.
 *
 * Steps of send, with n bytes, or, as n:i, with n bytes of which number i is '!', which
 * the program drops. The socket
 *   s m n    sends n bytes; with MSG_MORE
 *   v w n    the same by sendmsg() with several iovecs
 *   l k n    the same by splice(); with SPLICE_F_MORE
 *   f n      sends n bytes by sendfile()
 *   C U      sends an alert; a KeyUpdate, and changes its key (TLS 1.3)
 *   A L      attaches and detaches the program
 * and the peer, which has no programs,
 *   r n      reads n bytes
 * With a small SO_SNDBUF, the socket uses s, m, v and w, with MSG_DONTWAIT.
 *
 * Not generated, as there is no simple rule:
 *   - a parser is attached where there was none, or the other way round: held bytes
 *     of several TLS records would be one record;
 *   - TLS_RX is set before the application has read the KeyUpdate;
 *   - more unread data than fits into the window: TCP would not receive all at once.
 * Without programs, splice() returns 0 at a TLS record without data, and so does recvmsg()
 * if a control record follows. The test reads again then.
 *
 * SOCK_LINK_TLS_FUZZ=SECONDS[,SEQUENCE] in the environment sets how long each subtest
 * runs, 1 second by default, and the first sequence. A failing one is shortened.
 */
#include <error.h>
#include <poll.h>
#include <sched.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "clock_rnd.h"
#include "ktls.h"
#include "test_sock_link_tls.skel.h"

#ifndef TLS_RX_EXPECT_NO_PAD
#define TLS_RX_EXPECT_NO_PAD 4
#endif

#define STEPS_MAX 50
#define STEP_LEN 24
#define AFTER_END 10		/* steps after an error or FIN */
#define WAIT_MS 3000
#define RCVBUF 8000000		/* room for many short packets */
#define DATA_MAX 400000		/* of a sequence */
#define TLS_MAX 16384		/* what fits into a TLS record */
#define UNREAD_MAX 30000	/* bytes that TCP has received: the window stays open */
#define RECORD_SPACE 50		/* for the header of a TLS record, and its tag */
#define RECORDS_MAX (UNREAD_MAX / RECORD_SPACE + 1)
#define MORE_MAX 6		/* sends to an open record, which has limited fragments */
#define PARSED_MAX (128 * 1024)
#define READ_MAX 60000
#define SEND_MAX 30000
#define SENT_UNREAD_MAX 40000
#define LOG_MAX 64		/* MSGS_MAX of the program */
#define CANARY 0xa5

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };

/* A TLS record, or a part of one, or what several become */
struct rec {
	__u8 type;
	__u8 body[5];		/* of a control record */
	int start, end;		/* offsets in the stream, or in @body */
};

struct queue {
	int n;
	struct rec rec[RECORDS_MAX];
};

/* What the application can read. Data moves from one queue to the next when it reads. */
struct model {
	struct queue received;	/* no program has seen it */
	struct rec held;	/* incomplete record of the parser */
	struct queue readable;
	bool parser;
	char verdict;		/* the program: 0, 'A' or 'a' */
	char seen;		/* the same at the last read */
	bool key_expired;	/* KeyUpdate was read */
	bool fin;
	int err;		/* once all that is readable was read */
	unsigned int runs[2];	/* of the programs */
	unsigned int wrong;	/* records whose first bytes are not their length */
};

struct fuzz {
	const struct kind *kind;
	int variant;
	struct test_sock_link_tls *skel;
	int version;
	bool parser;
	bool option;		/* that of struct kind is set */
	struct bpf_link *link;
	int sk;			/* socket with the programs */
	int peer;
	int encryptor, encrypted;	/* see encrypt() */
	int file;		/* for sendfile() */
	__u8 data[DATA_MAX];	/* the stream */
	char diff[256];
	const char *diff_kind;

	/* What follows is zero at the beginning of a sequence. */
	__u8 tx_key, rx_key;
	/* recv */
	struct model m;
	__u64 seq;		/* number of the next TLS record */
	int written;		/* plaintext of the peer */
	int open, sent;		/* of it: beginning and end of the open TLS record */
	int more;		/* sends to the open record */
	__u8 out[2 * UNREAD_MAX + 2 * TLS_MAX];	/* not sent to the socket */
	int out_len;
	struct queue unsent;	/* TLS records in it, with their ends in it: */
	int out_end[RECORDS_MAX];
	int keep;
	bool empty;		/* a record without data may be unread */
	bool drained;		/* nothing has happened since EAGAIN */
	int wakeups;		/* that changes of programs may still cause */
	/* send */
	struct queue controls;	/* unread, with their position in the stream: */
	int control_at[RECORDS_MAX];
	int passed;		/* bytes */
	int pushed;		/* of them: are not in an open record */
	int received;
};

/* A direction */
struct kind {
	const char *option;	/* of TLS 1.3; a small one */
	bool (*setup)(struct fuzz *s);
	bool (*random_step)(struct fuzz *s, char *what);
	bool (*step)(struct fuzz *s, const char *what);
	bool (*check)(struct fuzz *s);
	bool (*finish)(struct fuzz *s);
};

static __u64 rnd_state;

static unsigned int rnd(unsigned int below)
{
	return rnd_of(&rnd_state, below);
}

static bool differ(struct fuzz *s, const char *fmt, ...)
{
	va_list args;

	if (!s->diff[0]) {
		s->diff_kind = fmt;
		va_start(args, fmt);
		vsnprintf(s->diff, sizeof(s->diff), fmt, args);
		va_end(args);
	}
	return false;
}

/* ---- queues ---- */

static void add(struct queue *q, const struct rec *rec)
{
	if (q->n < RECORDS_MAX)
		q->rec[q->n++] = *rec;
}

static void add_data(struct queue *q, int start, int end)
{
	struct rec rec = { DATA, .start = start, .end = end };

	add(q, &rec);
}

static void remove_first(struct queue *q, int n)
{
	q->n -= n;
	memmove(q->rec, q->rec + n, q->n * sizeof(q->rec[0]));
}

/* Move all of @from to the beginning of @to. */
static void prepend(struct queue *to, struct queue *from)
{
	int room = RECORDS_MAX - to->n, n = from->n < room ? from->n : room;

	memmove(to->rec + n, to->rec, to->n * sizeof(to->rec[0]));
	memcpy(to->rec, from->rec, n * sizeof(to->rec[0]));
	to->n += n;
	from->n = 0;
}

static int rec_len(const struct rec *rec)
{
	return rec->end - rec->start;
}

/* ---- model of the receiver ---- */

/* The length that the parser returns */
static int parsed(const struct model *m, const __u8 *data, int len)
{
	if (!m->parser)
		return len;
	return len < 2 ? 0 : data[0] << 8 | data[1];
}

/* Does the verdict program pass a record? */
static bool passes(struct model *m, const __u8 *data, int len)
{
	m->runs[m->verdict == 'a']++;
	if (m->verdict == 'a')
		return true;
	m->wrong += len < 2 || (data[0] << 8 | data[1]) != len;
	return len < 3 || data[2] != 'D';
}

/* Run the programs on the records that are complete. Returns whether some have passed. */
static bool run_programs(struct model *m, const __u8 *stream)
{
	struct rec *held = &m->held;
	int from = held->start, len;
	bool some;

	while (m->verdict && rec_len(held) && !m->err) {
		len = parsed(m, stream + held->start, rec_len(held));
		if (!len && rec_len(held) >= PARSED_MAX)
			m->err = -EMSGSIZE;
		if (!len || len > rec_len(held))
			break;
		if (passes(m, stream + held->start, len))
			held->start += len;
		else
			m->err = -EACCES;
	}
	some = held->start > from;
	if (some)
		add_data(&m->readable, from, held->start);
	if (m->err) {
		held->start = held->end;
		m->received.n = 0;
	}
	return some;
}

/* Process TLS records until more is readable. Returns 1, 0 at the end of file, or an
 * error.
 */
static int process(struct model *m, const __u8 *stream)
{
	struct rec first;

	for (;;) {
		if (run_programs(m, stream))
			return 1;
		if (m->err)
			return m->err;
		if (m->key_expired)
			return -EKEYEXPIRED;
		if (!m->received.n)
			return m->fin ? 0 : -EAGAIN;
		first = m->received.rec[0];
		remove_first(&m->received, 1);
		if (first.type != DATA || (!m->verdict && rec_len(&first))) {
			add(&m->readable, &first);
			return 1;
		}
		if (!rec_len(&m->held))
			m->held.start = first.start;
		m->held.end = first.end;
	}
}

/* A reader sees what programs there are now. Held data is readable without them. Unread
 * data is subject to new ones, but not what was passed before an error.
 */
static void look_at_programs(struct model *m)
{
	if (m->seen && !m->verdict && rec_len(&m->held)) {
		add_data(&m->readable, m->held.start, m->held.end);
		m->held.start = m->held.end;
	}
	if (!m->seen && m->verdict && !m->err)
		prepend(&m->received, &m->readable);
	m->seen = m->verdict;
}

/* The number of bytes, up to @n, of the same type at the beginning of what is readable.
 * @ends is set if something of another type follows.
 */
static int of_same_type(const struct queue *q, int n, bool *ends)
{
	int i, len = 0;

	*ends = false;
	for (i = 0; i < q->n && len < n; i++) {
		if (i && q->rec[i].type != DATA) {
			*ends = true;
			break;
		}
		len += rec_len(&q->rec[i]);
		if (q->rec[i].type != DATA) {
			*ends = true;
			break;
		}
	}
	return len < n ? len : n;
}

/* What recvmsg() with a buffer of @n bytes returns now */
static int can_read(struct model *m, const __u8 *stream, int n)
{
	bool ends;
	int len, ret;

	for (;;) {
		len = of_same_type(&m->readable, n, &ends);
		if (len >= n || ends || (len && !m->received.n))
			return len;
		ret = process(m, stream);
		if (ret <= 0)
			return len ? len : ret;
	}
}

/* What splice() returns at most */
static int can_splice(struct model *m, const __u8 *stream, int n)
{
	struct rec *first = &m->readable.rec[0];
	int ret = m->readable.n ? 1 : process(m, stream);

	if (ret <= 0)
		return ret;
	if (first->type != DATA)
		return -EINVAL;
	return rec_len(first) < n ? rec_len(first) : n;
}

static void consume(struct model *m, int n)
{
	struct rec *first = &m->readable.rec[0];

	while (n && n >= rec_len(first)) {
		n -= rec_len(first);
		if (first->type == HANDSHAKE)
			m->key_expired = true;
		remove_first(&m->readable, 1);
	}
	first->start += n;
}

/* ---- sockets ---- */

/* Set keys for TLS_TX or TLS_RX. The salt is part of the nonce, so records of another
 * @generation cannot be decrypted. The key is the same, as make_empty() relies on it.
 */
static int set_salt(const struct fuzz *s, int fd, int direction, __u8 generation)
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info.version = s->version,
		.info.cipher_type = TLS_CIPHER_AES_GCM_128,
		.salt[0] = generation,
	};

	return setsockopt(fd, SOL_TLS, direction, &info, sizeof(info)) ? -errno : 0;
}

static int set(int fd, int level, int opt, int val)
{
	return setsockopt(fd, level, opt, &val, sizeof(val));
}

static bool succeeds(struct fuzz *s, int err, const char *what)
{
	return !err || differ(s, "error %d of %s", err, what);
}

static bool pair(struct fuzz *s, int *a, int *b)
{
	struct timeval tv = { .tv_sec = WAIT_MS / 1000 };
	int i, fd, err;

	err = create_pair(AF_INET, SOCK_STREAM, a, b);
	for (i = 0; i < 2 && !err; i++) {
		fd = i ? *b : *a;
		err = set(fd, IPPROTO_TCP, TCP_NODELAY, 1) ?:
		      set(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF) ?:
		      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ?:
		      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	}
	return succeeds(s, err ? -errno : 0, "setting up a connection");
}

static bool enable_tls(struct fuzz *s, int from, int to)
{
	return succeeds(s, set_ulp(from), "TCP_ULP") && succeeds(s, set_ulp(to), "TCP_ULP") &&
	       succeeds(s, set_salt(s, from, TLS_TX, 0), "TLS_TX") &&
	       succeeds(s, set_salt(s, to, TLS_RX, 0), "TLS_RX");
}

static bool is_tls13(const struct fuzz *s)
{
	return s->version == TLS_1_3_VERSION;
}

/* With the option, data is decrypted to the reader's buffer, without programs. */
static bool setup_recv(struct fuzz *s)
{
	int err = 0;

	s->m.parser = s->parser;
	if (!pair(s, &s->sk, &s->peer) || !pair(s, &s->encryptor, &s->encrypted) ||
	    !enable_tls(s, s->encryptor, s->sk))
		return false;
	if (s->option && is_tls13(s))
		err = set(s->sk, SOL_TLS, TLS_RX_EXPECT_NO_PAD, 1);
	return succeeds(s, err ? -errno : 0, "TLS_RX_EXPECT_NO_PAD");
}

static bool setup_send(struct fuzz *s)
{
	int err = 0;

	s->file = memfd_create("sock_link_tls_fuzz", MFD_CLOEXEC);
	if (!succeeds(s, s->file < 0 ? -errno : 0, "memfd_create()") ||
	    !pair(s, &s->sk, &s->peer) || !enable_tls(s, s->sk, s->peer))
		return false;
	if (s->option)
		err = set(s->sk, SOL_SOCKET, SO_SNDBUF, 1);
	return succeeds(s, err ? -errno : 0, "SO_SNDBUF");
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void cleanup(struct fuzz *s)
{
	bpf_link__destroy(s->link);
	s->link = NULL;
	close_one(&s->sk);
	close_one(&s->peer);
	close_one(&s->encryptor);
	close_one(&s->encrypted);
	close_one(&s->file);
}

/* Begin with a new connection. */
static bool begin(struct fuzz *s)
{
	s->diff[0] = 0;
	memset(&s->tx_key, 0, sizeof(*s) - offsetof(struct fuzz, tx_key));
	memset(s->skel->bss, 0, sizeof(*s->skel->bss));
	return s->kind->setup(s);
}

/* A control record: for an alert, with a counter */
static void fill_control(struct rec *rec, __u8 type, __u8 nr)
{
	static const __u8 update[] = { 24, 0, 0, 1, 0 };

	rec->type = type;
	rec->start = 0;
	rec->end = type == HANDSHAKE ? sizeof(update) : 2;
	if (type == HANDSHAKE) {
		memcpy(rec->body, update, sizeof(update));
	} else {
		rec->body[0] = 1;
		rec->body[1] = nr;
	}
}

/* ---- TLS records ---- */

/* Bytes that a TLS record adds to the plaintext: header, nonce or type, tag */
static int overhead(const struct fuzz *s)
{
	return is_tls13(s) ? 5 + 1 + 16 : 5 + 8 + 16;
}

/* Multiply by what AES-128 makes of zeros with a key of zeros. */
static void gcm_multiply(__u8 *y)
{
	unsigned __int128 z = 0, v = (unsigned __int128)0x66e94bd4ef8a2c3bULL << 64 |
				     0x884cfa59ca342b2eULL;
	int i;

	for (i = 0; i < 128; i++) {
		if (y[i / 8] >> (7 - i % 8) & 1)
			z ^= v;
		v = v >> 1 ^ (v & 1 ? (unsigned __int128)0xe1 << 120 : 0);
	}
	for (i = 15; i >= 0; i--, z >>= 8)
		y[i] = z;
}

/* Add the GHASH of header and ciphertext, which have one block each, to a tag. */
static void gcm_hash(__u8 *tag, const void *header, int header_len, const void *text, int len)
{
	__u8 y[16] = {};
	int i;

	for (i = 0; i < header_len; i++)
		y[i] ^= ((__u8 *)header)[i];
	gcm_multiply(y);
	for (i = 0; i < len; i++)
		y[i] ^= ((__u8 *)text)[i];
	if (len)
		gcm_multiply(y);
	y[7] ^= header_len * 8;
	y[15] ^= len * 8;
	gcm_multiply(y);
	for (i = 0; i < 16; i++)
		tag[i] ^= y[i];
}

/* The authenticated header of a TLS 1.2 record with @len bytes of plaintext */
static void header_tls12(__u8 *header, __u64 seq, int len)
{
	int i;

	for (i = 7; i >= 0; i--, seq >>= 8)
		header[i] = seq;
	header[8] = DATA;
	header[9] = 3;
	header[10] = 3;
	header[11] = 0;
	header[12] = len;
}

/* Turn a record with 'x' into one without data: the kernel does not send such records. */
static void make_empty(const struct fuzz *s, __u8 *rec)
{
	__u8 *text = rec + (is_tls13(s) ? 5 : 13), *tag = text + (is_tls13(s) ? 2 : 1);
	__u8 header[13];

	if (is_tls13(s)) {
		gcm_hash(tag, rec, 5, text, 2);
		text[0] ^= 'x' ^ DATA;
		rec[4]--;
		gcm_hash(tag, rec, 5, text, 1);
	} else {
		header_tls12(header, s->seq, 1);
		gcm_hash(tag, header, 13, text, 1);
		rec[4]--;
		header_tls12(header, s->seq, 0);
		gcm_hash(tag, header, 13, NULL, 0);
	}
	memmove(tag - 1, tag, 16);
}

/* Take the next TLS record from the encryptor, with @len bytes of plaintext. */
static bool take_encrypted(struct fuzz *s, int len, const struct rec *rec)
{
	int n = len + overhead(s);

	if (s->unsent.n == RECORDS_MAX || s->out_len + n > sizeof(s->out))
		return differ(s, "the test's buffer is full");
	if (recv(s->encrypted, s->out + s->out_len, n, MSG_WAITALL) != n)
		return differ(s, "encryptor: no record of %d bytes", n);
	if (rec->type == DATA && !rec_len(rec)) {
		make_empty(s, s->out + s->out_len);
		n--;
	}
	s->seq++;
	s->out_len += n;
	s->out_end[s->unsent.n] = s->out_len;
	add(&s->unsent, rec);
	return true;
}

static bool end_open_record(struct fuzz *s)
{
	struct rec rec = { DATA, .start = s->open, .end = s->sent };

	s->open = s->sent;
	s->more = 0;
	return take_encrypted(s, rec_len(&rec), &rec);
}

/* Encrypt the next @n bytes of plaintext, by a connection of its own: so the peer can send
 * TLS records as it likes.
 */
static bool encrypt(struct fuzz *s, int n, bool more)
{
	while (n) {
		int room = TLS_MAX - (s->sent - s->open), part = n < room ? n : room;

		if (send(s->encryptor, s->data + s->sent, part, more ? MSG_MORE : 0) != part)
			return differ(s, "the encryptor fails, error %d", errno);
		s->sent += part;
		s->more++;
		n -= part;
		if ((!more || part == room) && !end_open_record(s))
			return false;
	}
	return true;
}

static bool encrypt_control(struct fuzz *s, __u8 type)
{
	struct rec rec = {};
	int err;

	fill_control(&rec, type, s->seq);
	err = send_control(s->encryptor, type, rec.body, rec.end) == rec.end ? 0 : -errno;
	if (!succeeds(s, err, "the encryptor"))
		return false;
	if (s->sent > s->open && !end_open_record(s))
		return false;
	if (!take_encrypted(s, rec.end, &rec))
		return false;
	if (type != HANDSHAKE)
		return true;
	s->seq = 0;
	return succeeds(s, set_salt(s, s->encryptor, TLS_TX, ++s->tx_key), "TLS_TX");
}

static bool encrypt_empty(struct fuzz *s)
{
	struct rec rec = { DATA, .start = s->sent, .end = s->sent };

	return succeeds(s, send(s->encryptor, "x", 1, 0) == 1 ? 0 : -errno, "the encryptor") &&
	       take_encrypted(s, 1, &rec);
}

/* Wait until all that was sent by @fd has been received. */
static bool wait_received(struct fuzz *s, int fd)
{
	__u64 until = now_ms() + WAIT_MS;
	int unacked;

	for (;;) {
		if (ioctl(fd, SIOCOUTQ, &unacked))
			return succeeds(s, -errno, "SIOCOUTQ");
		if (!unacked)
			return true;
		if (now_ms() > until)
			return differ(s, "%d bytes are not received", unacked);
		sched_yield();
	}
}

/* Send TLS records, except for the last @keep bytes. */
static bool flush(struct fuzz *s)
{
	int i, n = s->out_len - (s->keep < s->out_len ? s->keep : s->out_len);

	s->keep = 0;
	set(s->sk, IPPROTO_TCP, TCP_QUICKACK, 1);
	if (n && send(s->peer, s->out, n, MSG_NOSIGNAL) != n)
		return differ(s, "the peer cannot send, error %d", errno);
	s->out_len -= n;
	memmove(s->out, s->out + n, s->out_len);
	for (i = 0; i < s->unsent.n && s->out_end[i] <= n; i++) {
		if (!s->m.err)
			add(&s->m.received, &s->unsent.rec[i]);
		s->empty |= !rec_len(&s->unsent.rec[i]);
		s->drained = false;
	}
	remove_first(&s->unsent, i);
	memmove(s->out_end, s->out_end + i, s->unsent.n * sizeof(s->out_end[0]));
	for (i = 0; i < s->unsent.n; i++)
		s->out_end[i] -= n;
	return wait_received(s, s->peer);
}

/* ---- steps of the receiver ---- */

/* A byte of the stream. One third begin a short length: a parser that is attached in the
 * middle of a record can find the end of what it takes for a record.
 */
static __u8 stream_byte(int at)
{
	return at % 3 ? at * 2654435761U >> 24 : at / 3 % 2;
}

static bool write_record(struct fuzz *s, int len, char action)
{
	int i, at = s->written;

	if (len < 3 || at + len > DATA_MAX)
		return true;
	for (i = 0; i < len; i++)
		s->data[at + i] = stream_byte(at + i);
	s->data[at] = len >> 8;
	s->data[at + 1] = len;
	s->data[at + 2] = action;
	s->written += len;
	return true;
}

static bool send_records(struct fuzz *s, int n, int cut)
{
	int unsent = s->written - s->sent;

	for (n = n < unsent ? n : unsent; n > 0; n -= cut)
		if (!encrypt(s, n < cut ? n : cut, false))
			return false;
	return flush(s);
}

static bool send_more(struct fuzz *s, int n)
{
	int unsent = s->written - s->sent;

	if (s->more >= MORE_MAX)
		return true;
	return encrypt(s, n < unsent ? n : unsent, true) && flush(s);
}

static bool attach(struct fuzz *s, struct bpf_program *parser, struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts);

	opts.parser_fd = parser ? bpf_program__fd(parser) : 0;
	s->link = bpf_program__attach_sock(prog, s->sk, &opts);
	return succeeds(s, s->link ? 0 : -errno, "attaching");
}

static bool attach_verdict(struct fuzz *s, char which)
{
	if (s->link)
		return true;
	s->m.verdict = which;
	s->drained = false;
	s->wakeups++;
	return attach(s, s->parser ? s->skel->progs.parser : NULL,
		      which == 'a' ? s->skel->progs.other_verdict : s->skel->progs.verdict);
}

static bool update_verdict(struct fuzz *s)
{
	int err;

	if (!s->link)
		return true;
	s->m.verdict ^= 'A' ^ 'a';
	s->drained = false;
	s->wakeups++;
	err = bpf_link__update_program(s->link, s->m.verdict == 'a' ?
				       s->skel->progs.other_verdict : s->skel->progs.verdict);
	return succeeds(s, err, "the update");
}

static bool detach(struct fuzz *s)
{
	bpf_link__destroy(s->link);
	s->link = NULL;
	s->m.verdict = 0;
	s->drained = false;
	s->wakeups += 2;
	return true;
}

static bool set_new_key(struct fuzz *s)
{
	if (!s->m.key_expired)
		return true;
	s->m.key_expired = false;
	s->drained = false;
	return succeeds(s, set_salt(s, s->sk, TLS_RX, ++s->rx_key), "TLS_RX");
}

/* Are the @n bytes of @buf what can be read next? */
static bool check_bytes(struct fuzz *s, const __u8 *buf, int n)
{
	const struct rec *first = &s->m.readable.rec[0];
	const __u8 *from = first->type == DATA ? s->data : first->body;
	int i;

	for (i = 0; i < n; i++)
		if (buf[i] != from[first->start + i])
			return differ(s, "byte %d is %#x, not %#x", i, buf[i],
				      from[first->start + i]);
	return true;
}

/* Of data that a program may drop, nothing is in the buffer. */
static bool check_canary(struct fuzz *s, const __u8 *buf, int from, int n)
{
	int i;

	for (i = from; i < n; i++)
		if (buf[i] != CANARY)
			return differ(s, "byte %d was written, of %d", i, from);
	return true;
}

/* Has a read returned 0, not @want, because of a TLS record without data? */
static bool may_be_empty(const struct fuzz *s, int ret, int want)
{
	return !ret && want && s->empty && !s->m.verdict && !s->m.err;
}

static bool read_by_recv(struct fuzz *s, int n, int flags)
{
	static __u8 buf[READ_MAX];
	int want, got;
	__u8 type;

	n = n < READ_MAX ? n : READ_MAX;
	look_at_programs(&s->m);
	want = can_read(&s->m, s->data, n);
	if (want < 0 || (flags & MSG_WAITALL && want < n))
		flags |= MSG_DONTWAIT;
	memset(buf, CANARY, n);
	do {
		got = recv_typed(s->sk, buf, n, flags, &type);
	} while (may_be_empty(s, got, want) && !(flags & MSG_PEEK));
	if (may_be_empty(s, got, want) && want > 0 && s->m.readable.rec[0].type != DATA)
		return true;
	if (got != want)
		return differ(s, "recvmsg() returns %d, not %d", got, want);
	if (got == -EAGAIN && !(flags & MSG_PEEK))
		s->empty = false;
	s->drained = got == -EAGAIN && !s->empty;
	if (got > 0 && type != s->m.readable.rec[0].type)
		return differ(s, "recvmsg() returns type %d, not %d", type,
			      s->m.readable.rec[0].type);
	if (got > 0 && !check_bytes(s, buf, got))
		return false;
	if ((s->m.verdict || s->m.err) && !check_canary(s, buf, got > 0 ? got : 0, n))
		return false;
	if (got > 0 && !(flags & MSG_PEEK))
		consume(&s->m, got);
	return true;
}

static bool check_pipe(struct fuzz *s, int fd, int n)
{
	static __u8 buf[READ_MAX];

	if (read(fd, buf, n) != n)
		return differ(s, "%d bytes are not in the pipe", n);
	if (!check_bytes(s, buf, n))
		return false;
	consume(&s->m, n);
	return true;
}

static bool read_by_splice(struct fuzz *s, int n)
{
	int fds[2], want, got;
	bool ok = true;

	n = n < READ_MAX ? n : READ_MAX;
	look_at_programs(&s->m);
	want = can_splice(&s->m, s->data, n);
	if (pipe(fds))
		return succeeds(s, -errno, "pipe()");
	do {
		got = splice(s->sk, NULL, fds[1], NULL, n, SPLICE_F_NONBLOCK);
		got = got < 0 ? -errno : got;
	} while (may_be_empty(s, got, want));
	s->drained = got == -EAGAIN;
	/* The pipe may not have room for all fragments. */
	if (got > 0 && got <= want)
		ok = check_pipe(s, fds[0], got);
	else if (got != want)
		ok = differ(s, "splice() returns %d, not %d", got, want);
	close(fds[0]);
	close(fds[1]);
	return ok;
}

static bool end_stream(struct fuzz *s)
{
	if (s->m.fin)
		return true;
	s->keep = 0;
	if (!flush(s))
		return false;
	s->m.fin = true;
	s->drained = false;
	shutdown(s->peer, SHUT_WR);
	return wait_received(s, s->peer);
}

static bool step_recv(struct fuzz *s, const char *what)
{
	const char *colon = strchr(what, ':');
	int n = atoi(what + 1);

	if (s->m.fin && strchr("SMCUZ", *what))
		return true;
	switch (*what) {
	case 'P':
	case 'D':
		return write_record(s, n, *what);
	case 'S':
		return send_records(s, n, atoi(colon + 1));
	case 'M':
		return send_more(s, n);
	case 'C':
		return encrypt_control(s, ALERT) && flush(s);
	case 'U':
		return encrypt_control(s, HANDSHAKE) && flush(s);
	case 'Z':
		return s->sent > s->open || (encrypt_empty(s) && flush(s));
	case 'H':
		s->keep = n;
		return true;
	case 'F':
		return end_stream(s);
	case 'r':
		return read_by_recv(s, n, MSG_DONTWAIT);
	case 'b':
		return read_by_recv(s, n, 0);
	case 'w':
		return read_by_recv(s, n, MSG_WAITALL);
	case 'p':
		return read_by_recv(s, n, MSG_PEEK | MSG_DONTWAIT);
	case 's':
		return read_by_splice(s, n);
	case 'K':
		return set_new_key(s);
	case 'A':
	case 'a':
		return attach_verdict(s, *what);
	case 'B':
		return update_verdict(s);
	case 'L':
		return detach(s);
	}
	return differ(s, "no such step");
}

static bool reported(const struct fuzz *s, int ms)
{
	struct pollfd p = { .fd = s->sk, .events = POLLIN };

	return poll(&p, 1, ms) == 1 && p.revents & POLLIN;
}

/* poll() reports what can be read, and nothing after EAGAIN, unless programs were changed:
 * a worker wakes up readers then.
 */
static bool check_poll(struct fuzz *s)
{
	static struct model later;
	int ret;
	char c;

	later = s->m;
	look_at_programs(&later);
	ret = can_read(&later, s->data, 1);
	if (ret != -EAGAIN && ret != -EKEYEXPIRED && !reported(s, WAIT_MS))
		return differ(s, "poll() does not report what is readable");
	while (s->drained && reported(s, 0)) {
		if (--s->wakeups < 0)
			return differ(s, "poll() reports something after EAGAIN");
		if (recv(s->sk, &c, 1, MSG_PEEK | MSG_DONTWAIT) != -1 || errno != EAGAIN)
			return differ(s, "there is something to read after EAGAIN");
	}
	return true;
}

static bool check_recv(struct fuzz *s)
{
	const struct model *m = &s->m;

	if (s->skel->bss->verdicts != m->runs[0])
		return differ(s, "the verdict has run %d times, not %d",
			      s->skel->bss->verdicts, m->runs[0]);
	if (s->skel->bss->other != m->runs[1])
		return differ(s, "the other verdict has run %d times, not %d",
			      s->skel->bss->other, m->runs[1]);
	if (s->skel->bss->wrong != m->wrong)
		return differ(s, "%d records have another length, not %d",
			      s->skel->bss->wrong, m->wrong);
	return check_poll(s);
}

/* Read until there is nothing more. */
static bool drain(struct fuzz *s)
{
	struct model *m = &s->m;

	do {
		if (!set_new_key(s) || !read_by_recv(s, READ_MAX, MSG_DONTWAIT) ||
		    !check_recv(s))
			return false;
	} while (m->received.n || m->readable.n || m->key_expired);
	return read_by_recv(s, 1, MSG_DONTWAIT) && check_recv(s);
}

/* What has passed can be read in the end, and what is held once there is no program. */
static bool finish_recv(struct fuzz *s)
{
	return drain(s) && end_stream(s) && check_recv(s) && drain(s) &&
	       detach(s) && check_recv(s) && drain(s);
}

static int length(void)
{
	static const int most[] = { 1, 5, 30, 100, 1500, 9000, 30000 };

	return 1 + rnd(most[rnd(ARRAY_SIZE(most))]);
}

static int unread(const struct queue *q)
{
	int i, len = 0;

	for (i = 0; i < q->n; i++)
		len += rec_len(&q->rec[i]) + RECORD_SPACE;
	return len;
}

/* At least so many bytes can be sent that TCP still receives all. */
static int window(const struct fuzz *s)
{
	return UNREAD_MAX - s->out_len - (s->sent - s->open) - unread(&s->m.received) -
	       unread(&s->m.readable);
}

static bool random_record(struct fuzz *s, char *what)
{
	int len = 2 + length(), unsent = s->written - s->sent;

	/* Without a parser, a TLS record is a record. */
	if (s->written + len > DATA_MAX || unsent > (s->parser ? 20000 : 0) ||
	    (!s->parser && len > TLS_MAX))
		return false;
	sprintf(what, "%c%d", rnd(9) ? 'P' : 'D', len);
	return true;
}

static bool random_send(struct fuzz *s, char *what)
{
	int unsent = s->written - s->sent, n, cut;

	if (!unsent)
		return false;
	n = rnd(2) || (!s->parser && rnd(20)) ? unsent : 1 + rnd(unsent);
	cut = s->parser && rnd(2) ? length() : n;
	cut = cut < TLS_MAX ? cut : TLS_MAX;
	if (n / cut > 40 || n + (n / cut + 2) * RECORD_SPACE > window(s))
		return false;
	sprintf(what, "S%d:%d", n, cut);
	return true;
}

static bool random_other_send(struct fuzz *s, char *what)
{
	int unsent = s->written - s->sent;

	if (window(s) < 2 * TLS_MAX / 3)
		return false;
	switch (rnd(10)) {
	case 0 ... 2:
		strcpy(what, "C");
		return true;
	case 3 ... 4:
		strcpy(what, "U");
		return is_tls13(s);
	case 5 ... 6:
		strcpy(what, "Z");
		return s->sent == s->open;
	case 7:
		sprintf(what, "H%d", 1 + rnd(40));
		return !s->keep;
	case 8:
		strcpy(what, "F");
		return !rnd(3);
	}
	sprintf(what, "M%d", unsent ? 1 + rnd(unsent < 5000 ? unsent : 5000) : 0);
	return unsent && s->more < MORE_MAX && (s->parser || !rnd(4));
}

static bool random_read(const struct fuzz *s, char *what)
{
	int n = s->m.err ? 1 + rnd(20) : rnd(2) ? READ_MAX : length();

	sprintf(what, "%c%d", "rrrrbwpps"[rnd(9)], n);
	return true;
}

static bool random_programs(struct fuzz *s, char *what)
{
	if (!s->link)
		strcpy(what, rnd(4) ? "A" : "a");
	else
		strcpy(what, rnd(3) ? "L" : "B");
	return true;
}

/* Make up a step. Returns false if it makes no sense now. */
static bool random_recv(struct fuzz *s, char *what)
{
	if (s->m.key_expired && rnd(2)) {
		strcpy(what, "K");
		return true;
	}
	if (s->m.err && rnd(3))
		return rnd(2) ? random_read(s, what) : random_programs(s, what);
	switch (rnd(20)) {
	case 0 ... 3:
		return random_record(s, what);
	case 4 ... 8:
		return random_send(s, what);
	case 9 ... 10:
		return random_other_send(s, what);
	case 11 ... 17:
		return random_read(s, what);
	}
	return (!s->link || rnd(2)) && random_programs(s, what);
}

/* ---- steps of the sender ---- */

static int send_iovecs(const struct fuzz *s, __u8 *buf, int n, int flags)
{
	struct iovec iov[6];
	struct msghdr msg = { .msg_iov = iov };
	int len, i;

	for (i = 0; i < ARRAY_SIZE(iov) && n; i++, n -= len, buf += len) {
		len = i == ARRAY_SIZE(iov) - 1 ? n : n / 3 + 1;
		iov[i].iov_base = buf;
		iov[i].iov_len = len;
	}
	msg.msg_iovlen = i;
	return sendmsg(s->sk, &msg, flags);
}

/* Each write() to the pipe has a buffer of its own. */
static int send_by_splice(const struct fuzz *s, const __u8 *buf, int n, int flags)
{
	int fds[2], at, part, ret = -1;

	if (pipe2(fds, O_DIRECT))
		return -1;
	fcntl(fds[1], F_SETPIPE_SZ, 1 << 18);
	for (at = 0; at < n; at += part) {
		part = n - at < n / 9 + 1 ? n - at : n / 9 + 1;
		if (write(fds[1], buf + at, part) != part)
			goto out;
	}
	ret = splice(fds[0], NULL, s->sk, NULL, n, flags);
out:
	close(fds[0]);
	close(fds[1]);
	return ret;
}

static int send_file(const struct fuzz *s, const __u8 *buf, int n)
{
	off_t from = lseek(s->file, 0, SEEK_CUR), at = from;
	int ret;

	if (write(s->file, buf, n) != n)
		return -1;
	ret = sendfile(s->sk, s->file, &at, n);
	if (at - from != (ret < 0 ? 0 : ret))
		errno = EILSEQ;
	return at - from == (ret < 0 ? 0 : ret) ? ret : -1;
}

static int send_by(const struct fuzz *s, char how, __u8 *buf, int n)
{
	int flags = s->option ? MSG_DONTWAIT : 0;

	switch (how) {
	case 'v':
	case 'w':
		return send_iovecs(s, buf, n, flags | (how == 'w' ? MSG_MORE : 0));
	case 'l':
	case 'k':
		return send_by_splice(s, buf, n, how == 'k' ? SPLICE_F_MORE : 0);
	case 'f':
		return send_file(s, buf, n);
	}
	return send(s->sk, buf, n, flags | (how == 'm' ? MSG_MORE : 0));
}

/* The program has dropped a chunk. A call ends, but splice() tries again. */
static bool may_go_on(char how)
{
	return strchr("lkf", how);
}

/* The kernel cuts the data into chunks as it likes, up to the size of a TLS record. From
 * the log of the program follows what the call returns, or 0 if the log is wrong.
 */
static int sent_by_log(struct fuzz *s, char how, const __u8 *buf, int n)
{
	int i, j, at = 0, msgs = s->skel->bss->msgs;
	bool drop = false;

	for (i = 0; i < msgs && i < LOG_MAX; i++) {
		int size = s->skel->bss->msg_size[i];
		__u32 sum = 0;

		if (size <= 0 || size > TLS_MAX || at + size > n || (drop && !may_go_on(how)))
			return 0;
		for (drop = false, j = at; j < at + size; j++) {
			sum += buf[j];
			drop |= buf[j] == '!';
		}
		if (s->skel->bss->msg_sum[i] != sum)
			return 0;
		at += drop ? 0 : size;
	}
	if (msgs > LOG_MAX || (!drop && at < n && !s->option))
		return 0;
	return at ? at : drop ? -EACCES : -EAGAIN;
}

/* What a call that has returned @got should have returned, or 0 */
static int can_send(struct fuzz *s, char how, const __u8 *buf, int n, int got)
{
	if (s->link)
		return sent_by_log(s, how, buf, n);
	if (s->skel->bss->msgs)
		return 0;
	return s->option && (got == -EAGAIN || (got > 0 && got < n)) ? got : n;
}

static bool send_data(struct fuzz *s, char how, int n, int bad)
{
	static __u8 buf[SEND_MAX];
	int i, got, want;

	if (n <= 0 || n > SEND_MAX || s->passed + n > DATA_MAX)
		return true;
	for (i = 0; i < n; i++)
		buf[i] = 'a' + ((s->passed + i) * 2654435761U >> 24) % 26;
	if (bad >= 0 && bad < n)
		buf[bad] = '!';
	s->skel->bss->msgs = 0;
	got = send_by(s, how, buf, n);
	got = got < 0 ? -errno : got;
	want = can_send(s, how, buf, n, got);
	if (got != want)
		return differ(s, "%d is returned, not %d, after %d runs", got, want,
			      s->skel->bss->msgs);
	if (got > 0) {
		memcpy(s->data + s->passed, buf, got);
		s->passed += got;
	}
	if (got == n && !strchr("mwk", how))
		s->pushed = s->passed;
	/* The next call can send something. */
	return !s->option || wait_received(s, s->sk);
}

static bool send_control_record(struct fuzz *s, __u8 type)
{
	struct rec rec = {};
	int err;

	if (s->controls.n == RECORDS_MAX)
		return true;
	fill_control(&rec, type, s->passed);
	s->skel->bss->msgs = 0;
	err = send_control(s->sk, type, rec.body, rec.end) == rec.end ? 0 : -errno;
	if (!succeeds(s, err, "sending a control record"))
		return false;
	if (s->skel->bss->msgs)
		return differ(s, "the program has run on a control record");
	s->pushed = s->passed;
	s->control_at[s->controls.n] = s->passed;
	add(&s->controls, &rec);
	if (type != HANDSHAKE)
		return true;
	return succeeds(s, set_salt(s, s->sk, TLS_TX, ++s->tx_key), "TLS_TX");
}

/* The peer has read the first control record. */
static bool control_was_read(struct fuzz *s, const __u8 *buf, int n)
{
	struct rec rec = s->controls.rec[0];

	if (n != rec_len(&rec) || memcmp(buf, rec.body, n))
		return differ(s, "another control record, of %d bytes", n);
	remove_first(&s->controls, 1);
	memmove(s->control_at, s->control_at + 1, s->controls.n * sizeof(s->control_at[0]));
	if (rec.type != HANDSHAKE)
		return true;
	return succeeds(s, set_salt(s, s->peer, TLS_RX, ++s->rx_key), "TLS_RX");
}

/* The peer reads up to @n bytes. It waits for what must come. */
static bool read_by_peer(struct fuzz *s, int n)
{
	int end = s->controls.n ? s->control_at[0] : s->passed;
	bool control = s->controls.n && end == s->received;
	bool must = control || s->pushed > s->received;
	static __u8 buf[READ_MAX];
	__u8 type;
	int got;

	n = n < READ_MAX ? n : READ_MAX;
	n = control && n < 5 ? 5 : n;
	got = recv_typed(s->peer, buf, n, must ? 0 : MSG_DONTWAIT, &type);
	if (got == -EAGAIN && !must)
		return true;
	if (got <= 0)
		return differ(s, "the peer reads %d", got);
	if (type != (control ? s->controls.rec[0].type : DATA))
		return differ(s, "the peer reads type %d", type);
	if (control)
		return control_was_read(s, buf, got);
	if (got > end - s->received)
		return differ(s, "the peer reads %d bytes, not %d", got, end - s->received);
	if (memcmp(buf, s->data + s->received, got))
		return differ(s, "the peer reads other bytes");
	s->received += got;
	return true;
}

static bool step_send(struct fuzz *s, const char *what)
{
	const char *colon = strchr(what, ':');
	int n = atoi(what + 1);

	switch (*what) {
	case 'C':
		return send_control_record(s, ALERT);
	case 'U':
		return send_control_record(s, HANDSHAKE);
	case 'A':
		return s->link || attach(s, NULL, s->skel->progs.msg_verdict);
	case 'L':
		return detach(s);
	case 'r':
		return read_by_peer(s, n);
	}
	return send_data(s, *what, n, colon ? atoi(colon + 1) : -1);
}

static bool check_send(struct fuzz *s)
{
	return true;
}

static bool read_all_by_peer(struct fuzz *s)
{
	while (s->received < s->pushed || s->controls.n)
		if (!read_by_peer(s, READ_MAX))
			return false;
	return true;
}

/* A send without MSG_MORE pushes what is in the open record. The peer gets all of it,
 * and nothing else.
 */
static bool finish_send(struct fuzz *s)
{
	__u64 until = now_ms() + WAIT_MS;

	while (s->pushed < s->passed || !s->passed) {
		if (now_ms() > until)
			return differ(s, "nothing can be sent in the end");
		if (!read_all_by_peer(s) || !read_by_peer(s, READ_MAX) ||
		    !send_data(s, 's', 1, -1))
			return false;
	}
	return read_all_by_peer(s) && read_by_peer(s, 1);
}

static bool random_data(struct fuzz *s, char *what)
{
	int n = rnd(3) ? length() : 1 + rnd(SEND_MAX), unread = s->passed - s->received;

	if (unread + n > SENT_UNREAD_MAX || s->passed + n + 1 > DATA_MAX)
		return false;
	what += sprintf(what, "%c%d", "ssmmvwlkf"[rnd(s->option ? 6 : 9)], n);
	if (!rnd(4))
		sprintf(what, ":%d", rnd(2) ? rnd(n) : n - 1);
	return true;
}

static bool random_send_step(struct fuzz *s, char *what)
{
	if (!s->link && !rnd(3)) {
		strcpy(what, "A");
		return true;
	}
	switch (rnd(20)) {
	case 0 ... 10:
		return random_data(s, what);
	case 11 ... 16:
		sprintf(what, "r%d", rnd(2) ? READ_MAX : length());
		return true;
	case 17:
		strcpy(what, "C");
		return !s->option;
	case 18:
		strcpy(what, "U");
		return is_tls13(s) && !s->option && rnd(2);
	}
	strcpy(what, "L");
	return s->link && rnd(2);
}

static const struct kind kinds[] = {
	{ "TLS_RX_EXPECT_NO_PAD", setup_recv, random_recv, step_recv, check_recv, finish_recv },
	{ "SO_SNDBUF", setup_send, random_send_step, step_send, check_send, finish_send },
};

/* ---- sequences ---- */

struct sequence {
	int n;
	char steps[STEPS_MAX][STEP_LEN];
};

static bool take(struct fuzz *s, const char *what)
{
	return s->kind->step(s, what) && s->kind->check(s) && !s->diff[0];
}

/* Make up steps while running them, as the model tells which make sense. */
static bool run_random(struct fuzz *s, struct sequence *seq)
{
	int n = 5 + rnd(STEPS_MAX - 5), tries = 10 * n, after = 0;
	bool ok = begin(s);

	seq->n = 0;
	while (ok && seq->n < n && tries-- && after < AFTER_END) {
		if (!s->kind->random_step(s, seq->steps[seq->n]))
			continue;
		ok = take(s, seq->steps[seq->n++]);
		after += s->m.err || s->m.fin;
	}
	ok = ok && s->kind->finish(s);
	cleanup(s);
	return ok;
}

/* Run without step @skip. */
static bool run_without(struct fuzz *s, const struct sequence *seq, int skip)
{
	bool ok = begin(s);
	int i;

	for (i = 0; ok && i < seq->n; i++)
		if (i != skip)
			ok = take(s, seq->steps[i]);
	ok = ok && s->kind->finish(s);
	cleanup(s);
	return ok;
}

/* Remove steps, as long as the same check fails. */
static void shorten(struct fuzz *s, struct sequence *seq)
{
	const char *kind = s->diff_kind;
	int i;

	for (i = seq->n - 1; i >= 0; i--) {
		if (run_without(s, seq, i) || s->diff_kind != kind)
			continue;
		seq->n--;
		memmove(seq->steps[i], seq->steps[i + 1], (seq->n - i) * STEP_LEN);
	}
	if (run_without(s, seq, -1))
		differ(s, "it fails only sometimes");
}

static void print(const struct fuzz *s, const struct sequence *seq, const char *what)
{
	int i;

	printf("# %s%s%s: %s after", what, s->option ? ", " : "",
	       s->option ? s->kind->option : "", s->diff);
	for (i = 0; i < seq->n; i++)
		printf(" %s", seq->steps[i]);
	printf("\n");
}

static bool random_sequence(struct fuzz *s, __u64 nr)
{
	static struct sequence seq;
	char what[40];

	rnd_state = (nr + 1) * 0x9e3779b97f4a7c15ULL + s->variant;
	s->option = !rnd(3);
	if (run_random(s, &seq))
		return true;
	snprintf(what, sizeof(what), "sequence %llu", nr);
	print(s, &seq, what);
	shorten(s, &seq);
	print(s, &seq, "shortened");
	return false;
}

static void random_for(struct fuzz *s, int seconds, __u64 nr)
{
	__u64 until = now_ms() + seconds * 1000ULL, first = nr;
	bool ok;

	do {
		ok = random_sequence(s, nr++);
	} while (ok && now_ms() < until);
	printf("# sequences %llu to %llu\n", first, nr - 1);
	ASSERT_TRUE(ok, "as the model");
}

static const struct {
	const char *name;
	bool send;
	bool parser;
	int version;
} variants[] = {
	{ "recv_12", false, false, TLS_1_2_VERSION },
	{ "recv_13", false, false, TLS_1_3_VERSION },
	{ "recv_parser_12", false, true, TLS_1_2_VERSION },
	{ "recv_parser_13", false, true, TLS_1_3_VERSION },
	{ "send_12", true, false, TLS_1_2_VERSION },
	{ "send_13", true, false, TLS_1_3_VERSION },
};

static void run_all(struct fuzz *s)
{
	const char *env = getenv("SOCK_LINK_TLS_FUZZ");
	int i, seconds = 1;
	__u64 nr = 1;

	if (env)
		sscanf(env, "%d,%llu", &seconds, &nr);
	for (i = 0; i < ARRAY_SIZE(variants); i++) {
		if (!test__start_subtest(variants[i].name) || !ASSERT_OK_PTR(s->skel, "skeleton"))
			continue;
		s->variant = i;
		s->kind = &kinds[variants[i].send];
		s->parser = variants[i].parser;
		s->version = variants[i].version;
		random_for(s, seconds, nr);
	}
}

void test_sock_link_tls_fuzz(void)
{
	static struct fuzz s = {
		.sk = -1, .peer = -1, .encryptor = -1, .encrypted = -1, .file = -1,
	};
	cpu_set_t cpus, one;

	s.skel = test_sock_link_tls__open_and_load();
	/* On one CPU, data is usually received when send() returns. */
	sched_getaffinity(0, sizeof(cpus), &cpus);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	run_all(&s);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	test_sock_link_tls__destroy(s.skel);
}
