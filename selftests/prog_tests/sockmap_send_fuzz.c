// SPDX-License-Identifier: GPL-2.0
/* Random sequences of what an application does to send through a sk_msg
 * program, and of what the program does: push, pop, pull, write, apply, cork,
 * drop, redirect.
 *
 * The kernel is free in how it cuts the data of a call into messages, so the
 * program logs the size of each message it runs on. From that log, a model
 * derives what send() must return and which bytes each receiver must get.
 *
 * Each sequence has a number that reproduces it. A failing one is shortened and
 * printed.
 *
 * SOCKMAP_SEND_FUZZ=SECONDS[,SEQUENCE[,LETTERS]] in the environment: how long
 * each subtest runs (default: 2 seconds), the number of the first sequence, and
 *   b   to send in blocking calls, some of them by sendfile() and splice()
 *   n   to send in non-blocking calls
 *   c   to push and pop
 *   k   to cork
 *   a   to apply verdicts to a number of bytes
 *   d   to drop
 *   r   to redirect
 *   m   to remove and to replace the program
 *   x   to send from an unmapped address
 *   z   MSG_ZEROCOPY (default: all of the above)
 *   f   to have allocations of send() and sendmsg() fail (CONFIG_FAULT_INJECTION,
 *       CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC)
 *   g   to go on after a failure, until the time is up
 */
#include "sockmap_send_fuzz.h"
#include "fault_inject.h"

#define FAULTS "1000000000"	/* limit of failing allocations */

static struct send_fuzz fuzz;
static const char *letters = "bnckadrmxz";

/* ---- the sender ---------------------------------------------------------- */

static char *payload;		/* SEND_MAX bytes can be sent from any offset in the period */
static char *no_memory;
static int payload_file;

static bool get_payload(void)
{
	int i, len = SEND_MAX + PERIOD;

	if (payload)
		return true;
	payload_file = memfd_create("payload", MFD_CLOEXEC);
	if (!ASSERT_OK_FD(payload_file, "memfd_create") ||
	    !ASSERT_OK(ftruncate(payload_file, len), "ftruncate"))
		return false;
	payload = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, payload_file, 0);
	no_memory = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!ASSERT_NEQ(payload, MAP_FAILED, "mmap") ||
	    !ASSERT_NEQ(no_memory, MAP_FAILED, "mmap"))
		return false;
	for (i = 0; i < len; i++)
		payload[i] = i % PERIOD;
	return true;
}

static int splice_from_pipe(int sk, const char *data, int len)
{
	int fds[2], n = -1;

	if (pipe(fds))
		return -1;
	fcntl(fds[1], F_SETPIPE_SZ, SEND_MAX);
	if (write(fds[1], data, len) == len)
		n = splice(fds[0], NULL, sk, NULL, len, 0);
	close(fds[0]);
	close(fds[1]);
	return n;
}

/* Only with a program, as TCP itself notifies after the ACK, which may be after
 * later calls.
 */
static bool zerocopy(const struct send_fuzz *t, const struct step *step)
{
	return step->zerocopy && t->joined;
}

/* Have allocations of this thread fail. Return: the argument for end_faults() */
static int begin_faults(int fails)
{
	char value[12];
	int fd;

	if (!fails)
		return -1;
	fd = open(fails == ANY_FAILS ? "/proc/thread-self/make-it-fail" :
				       "/proc/thread-self/fail-nth", O_WRONLY);
	snprintf(value, sizeof(value), "%d", fails == ANY_FAILS ? 1 : fails);
	return write(fd, value, strlen(value)) < 0 ? -1 : fd;
}

static void end_faults(int fd)
{
	if (fd >= 0 && write(fd, "0", 1) == 1)
		close(fd);
}

static int send_by(struct send_fuzz *t, const struct step *step)
{
	int i, n = step->n, off = t->sent % PERIOD, part;
	char *data = payload + off;
	struct iovec iov[5];
	struct msghdr msg = { .msg_iov = iov };
	loff_t at = off;

	switch (step->what) {
	case 'f':
		return sendfile(t->sk, payload_file, &at, n);
	case 'p':
		return splice_from_pipe(t->sk, data, n);
	case 'v':
	case 'x':
		for (i = 0; i < 4 && n; i++) {
			part = i == 3 ? n : n / 3 + !!(n % 3);
			iov[i] = (struct iovec){ data, part };
			data += part;
			n -= part;
		}
		if (step->what == 'x')
			iov[i++] = (struct iovec){ no_memory, 10 };
		msg.msg_iovlen = i;
		break;
	default:
		iov[0] = (struct iovec){ data, n };
		msg.msg_iovlen = 1;
	}
	return sendmsg(t->sk, &msg, MSG_NOSIGNAL | (step->more ? MSG_MORE : 0) |
		       (step->eor ? MSG_EOR : 0) |
		       (zerocopy(t, step) ? MSG_ZEROCOPY : 0));
}

static void *call(void *arg)
{
	struct send_fuzz *t = arg;
	int faults = begin_faults(t->step->fails);

	t->ret = send_by(t, t->step);
	t->err = errno;
	end_faults(faults);
	if (t->seq->blocking && write(t->done, &(__u64){1}, 8) != 8)
		fail(t, "eventfd: %d", errno);
	return NULL;
}

/* There is one notification per call, in order. @all: wait until all have arrived */
static bool notified(struct send_fuzz *t, bool all)
{
	struct pollfd pfd = { .fd = t->sk };
	struct sock_extended_err *err;
	char control[200];
	struct msghdr msg;

	for (;;) {
		msg = (struct msghdr){
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		if (recvmsg(t->sk, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
			if (t->zc_told == t->zc_calls || !all)
				return true;
			if (poll(&pfd, 1, HASTY_MS) == 1)
				continue;
			return fail(t, "notifications for %u of %u calls", t->zc_told, t->zc_calls);
		}
		err = (void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
		if (err->ee_origin != SO_EE_ORIGIN_ZEROCOPY || err->ee_info != t->zc_told ||
		    err->ee_data < err->ee_info || err->ee_data >= t->zc_calls)
			return fail(t, "wrong notification: %u to %u, %u calls of %u before",
				    err->ee_info, err->ee_data, t->zc_told, t->zc_calls);
		t->zc_told = err->ee_data + 1;
	}
}

static bool can_send(struct send_fuzz *t)
{
	struct pollfd pfd = { .fd = t->sk, .events = POLLOUT };

	return poll(&pfd, 1, 0) == 1 && pfd.revents & POLLOUT;
}

static bool send_step(struct send_fuzz *t, struct step *step)
{
	pthread_t thread;
	bool ok = true;

	if (t->sent + step->n > SENT_MAX)
		return true;
	t->budget = ELEMS - 1 - pieces(step->n) - 2 * (step->n / 65536) - 4;
	if (t->corked)
		t->budget -= t->elems;
	t->skel->bss->budget = t->budget;
	/* This byte takes space of the task's page fragment, from which all
	 * sends allocate
	 */
	if (t->seq->apart && send(t->aside, "", 1, MSG_NOSIGNAL) != 1)
		return fail(t, "sending a byte aside: %d", errno);
	t->step = step;
	t->faulty = step->fails;
	t->room = can_send(t);
	if (!t->seq->blocking) {
		call(t);
	} else {
		if (pthread_create(&thread, NULL, call, t))
			return fail(t, "pthread_create");
		ok = wait_until(t, DONE);
		if (!ok)
			shutdown(t->sk, SHUT_RDWR);
		pthread_join(thread, NULL);
	}
	if (!ok)
		return false;
	/* The program has dropped corked data when it was replaced, and this
	 * call reports that.
	 */
	if (t->ret < 0 && t->err == EACCES && t->late_error &&
	    READ_ONCE(t->skel->bss->runs) == t->runs) {
		t->late_error = false;
		return send_step(t, step);
	}
	if (t->ret < 0 && t->err == EAGAIN && t->room && !t->faulty)
		return fail(t, "EAGAIN after POLLOUT");
	if (zerocopy(t, step) && t->ret > 0)
		t->zc_calls++;
	if (step->what == 'x') {
		if (t->ret != -1 || (t->err != EFAULT && t->err != EAGAIN))
			return fail(t, "sending unmapped memory: returns %d, %d", t->ret, t->err);
		return model_uncork(t);
	}
	ok = model_call(t, step->n, t->ret, t->err);
	/* If a call has sent something, it is unknown which allocation failed. */
	t->full = t->end_err == EAGAIN && (!t->faulty || (t->ret < 0 && t->err == EAGAIN));
	t->faulty = false;
	return ok && notified(t, false);
}

static bool join(struct send_fuzz *t, int flags)
{
	if (bpf_map_update_elem(t->map, &u32(0), &u64(t->sk), flags))
		return fail(t, "adding to the map: %d", errno);
	t->joined = true;
	t->apply_left = 0;
	return true;
}

static void no_corking(struct send_fuzz *t)
{
	t->skel->bss->budget = 0;
	t->budget = 0;
}

/* Whether a corked message of no bytes was sent cannot be observed. */
static bool can_leave(const struct send_fuzz *t)
{
	return t->joined && (!t->corked || t->len);
}

/* Corked data is sent unchanged when the socket is removed from the map. */
static bool leave(struct send_fuzz *t)
{
	if (bpf_map_delete_elem(t->map, &u32(0)))
		return fail(t, "removing from the map: %d", errno);
	t->joined = false;
	t->corked = false;
	return deliver(t, PEER, t->len) && wait_until(t, ARRIVED);
}

/* Corked data is sent unchanged, or the program that comes next runs on it. */
static bool replace(struct send_fuzz *t)
{
	no_corking(t);
	if (bpf_map_delete_elem(t->map, &u32(0)))
		return fail(t, "removing from the map: %d", errno);
	if (!join(t, BPF_NOEXIST))
		return false;
	while (t->corked || t->len) {
		if (!wait_until(t, UNCORKED))
			return false;
		if (READ_ONCE(t->skel->bss->runs) == t->runs) {
			t->corked = false;
			return deliver(t, PEER, t->len);
		}
		t->late_error = true;
		if (!model_uncork(t))
			return false;
	}
	return true;
}

static bool take_step(struct send_fuzz *t, struct step *step)
{
	bool ok = true;

	switch (step->what) {
	case 'r':
		ok = take(t, step->n);
		break;
	case 'w':
		if (t->full)
			ok = wait_until(t, ROOM);
		break;
	case 'l':
		if (can_leave(t))
			ok = leave(t);
		break;
	case 'j':
		if (!t->joined)
			ok = join(t, BPF_NOEXIST);
		break;
	case 'R':
		if (can_leave(t))
			ok = replace(t);
		break;
	case 'B':
		setsockopt(t->sk, SOL_SOCKET, SO_SNDBUF, &step->n, sizeof(step->n));
		break;
	case 'x':
		/* Without a program, TCP sends the data before the unmapped address. */
		if (!t->joined)
			break;
		fallthrough;
	default:
		ok = send_step(t, step);
	}
	return ok && compare_all(t);
}

/* ---- a sequence ---------------------------------------------------------- */

static bool watch(struct send_fuzz *t, int fd, int events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	return !epoll_ctl(t->ep, EPOLL_CTL_ADD, fd, &ev);
}

/* With small windows from the start, the skbs that a sender fills are small, too. */
static bool connect_pair(const struct sequence *seq, int *sk, int *peer)
{
	int listener = socket_loopback(seq->family, SOCK_STREAM);
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int size = seq->rcvbuf, one = 1;
	bool ok;

	*sk = socket(seq->family, SOCK_STREAM, 0);
	if (size) {
		setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		setsockopt(*sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
	size = seq->sndbuf;
	if (size)
		setsockopt(*sk, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	size = seq->lowat;
	setsockopt(*sk, SOL_TCP, TCP_NOTSENT_LOWAT, &size, sizeof(size));
	if (seq->nodelay)
		setsockopt(*sk, SOL_TCP, TCP_NODELAY, &one, sizeof(one));
	ok = !getsockname(listener, (void *)&addr, &len) && !connect(*sk, (void *)&addr, len);
	*peer = ok ? accept(listener, NULL, NULL) : -1;
	close(listener);
	return *peer >= 0;
}

static bool begin(struct send_fuzz *t, struct sequence *seq)
{
	int i, one = 1, fds[STREAMS];

	memset(&t->sk, 0xff, sizeof(int) * 8);
	t->seq = seq;
	t->diff[0] = 0;
	t->full = false;
	t->late_error = false;
	t->zc_calls = 0;
	t->zc_told = 0;
	t->sent = 0;
	t->runs = 0;
	t->len = 0;
	t->corked = false;
	t->lost = false;
	t->apply_left = 0;
	memcpy(t->skel->bss->scripts, seq->scripts, sizeof(seq->scripts));
	t->skel->data->n_scripts = seq->n_scripts;
	t->skel->bss->runs = 0;
	if (!connect_pair(seq, &t->sk, &t->peer) ||
	    !connect_pair(seq, &t->other, &t->other_peer) ||
	    !connect_pair(seq, &t->aside, &t->aside_peer))
		return fail(t, "no sockets");
	t->ep = epoll_create1(EPOLL_CLOEXEC);
	t->done = eventfd(0, EFD_CLOEXEC);
	fds[PEER] = t->peer;
	fds[EGRESS] = t->other_peer;
	fds[INGRESS] = t->other;
	for (i = 0; i < STREAMS; i++) {
		t->out[i].fd = fds[i];
		t->out[i].ended = false;
		t->out[i].want_len = 0;
		t->out[i].len = 0;
		t->out[i].seen = 0;
		if (!watch(t, t->out[i].fd, EPOLLIN))
			return fail(t, "no epoll");
	}
	if (seq->zerocopy)
		setsockopt(t->sk, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
	if (!seq->blocking)
		fcntl(t->sk, F_SETFL, O_NONBLOCK);
	if (!watch(t, t->done, EPOLLIN) || !watch(t, t->sk, EPOLLOUT | EPOLLET) ||
	    bpf_map_update_elem(t->map, &u32(1), &u64(t->other), BPF_ANY) ||
	    bpf_map_update_elem(bpf_map__fd(t->skel->maps.sock_hash), &u32(1),
				&u64(t->other), BPF_ANY))
		return fail(t, "no map: %d", errno);
	return join(t, BPF_ANY);
}

/* End the connection: corked data is sent before the end of file. */
static bool finish(struct send_fuzz *t)
{
	if (t->seq->zerocopy && (!wait_until(t, ARRIVED) || !notified(t, true)))
		return false;
	no_corking(t);
	if (t->seq->closes) {
		close(t->sk);
		t->sk = -1;
	} else {
		shutdown(t->sk, SHUT_WR);
	}
	if (!model_uncork(t))
		return false;
	if (t->len)
		return fail(t, "program does not run at the end: %d bytes left", t->len);
	if (!wait_until(t, ENDED) || !wait_until(t, ARRIVED))
		return false;
	shutdown(t->other, SHUT_WR);
	return take(t, 1) && compare_all(t);
}

static void end(struct send_fuzz *t)
{
	close(t->sk);
	close(t->peer);
	close(t->other);
	close(t->other_peer);
	close(t->aside);
	close(t->aside_peer);
	close(t->ep);
	close(t->done);
}

static bool run(struct send_fuzz *t, struct sequence *seq)
{
	bool ok = begin(t, seq);
	int i;

	for (i = 0; ok && !t->lost && i < seq->n; i++)
		ok = take_step(t, &seq->steps[i]);
	ok = ok && (t->lost || finish(t));
	end(t);
	return ok;
}

/* ---- what happens in it -------------------------------------------------- */

static __u64 rnd_state;

static unsigned int rnd(unsigned int below)
{
	return rnd_of(&rnd_state, below);
}

static bool has(char letter)
{
	return strchr(letters, letter);
}

static int length(bool large)
{
	static const int most[] = { 10, 100, 3000, 9000, 70000, SEND_MAX };

	return 1 + rnd(most[rnd(large ? 6 : 3)]);
}

/* A program that runs again on the rest of a message must not push as many
 * bytes as it applies its verdict to, or it would never end.
 */
static void random_script(struct send_script *script, const char *kinds, bool large)
{
	static const int most[] = { 10, 100, 9000 };
	int i, apply = 0;

	memset(script, 0, sizeof(*script));
	if (strchr(kinds, 'a') && rnd(2))
		apply = (large ? 300 : 1) + rnd(rnd(2) ? 2000 : 30000);
	for (i = 0; i < OPS; i++) {
		struct send_op *op = &script->ops[i];

		op->what = kinds[rnd(strlen(kinds))];
		op->start = rnd(3) ? 1000 * rnd(2) : rnd(1001);
		op->len = 1 + rnd(most[rnd(large ? 3 : 2)]);
		if (op->what == '+' && apply)
			op->len = op->len % (apply / OPS + 1);
		if (op->what == 'a')
			op->len = apply;
		if (op->what == 'c')
			op->len = 1 + rnd(large ? 60000 : 3000);
		if (!rnd(3) || (op->what == 'a' && !apply) || (op->what == 'd' && apply))
			op->what = 0;
	}
	/* With apply and drop, the length of a message could depend on how the
	 * call was cut.
	 */
	for (i = 0; i < OPS; i++)
		if (script->ops[i].what == 'd')
			apply = -1;
	for (i = 0; i < OPS && apply < 0; i++)
		if (script->ops[i].what == 'a')
			script->ops[i].what = 0;
}

static void random_step(struct step *step, struct sequence *seq, bool large, bool splices)
{
	static const char does_not_wait[] = "ssssssvvxrrrwwwwwwljRB";
	static const char waits[] = "ssvvxfpfpljRB";

	do {
		step->what = seq->blocking ? waits[rnd(sizeof(waits) - 1)] :
					     does_not_wait[rnd(sizeof(does_not_wait) - 1)];
	} while ((!splices && strchr("fp", step->what)) || (!has('x') && step->what == 'x') ||
		 (!has('m') && strchr("ljR", step->what)));
	step->n = seq->apart ? 1 + rnd(10) : length(large);
	if (step->what == 'x')
		step->n = 1 + rnd(3000);
	if (step->what == 'B')
		step->n = 5000 + rnd(100000);
	step->more = !rnd(4);
	step->eor = rnd(4) < (seq->tight ? 3 : 1);
	step->zerocopy = seq->zerocopy && rnd(2) && strchr("svx", step->what);
	step->fails = 0;
	if (has('f') && strchr("sv", step->what) && rnd(2))
		step->fails = rnd(4) ? 1 + rnd(12) : ANY_FAILS;
}

static void random_sequence(struct sequence *seq, __u64 nr)
{
	static const char of_letters[][8] = { "c+-", "ka", "dd", "reiEI", "aa", "kc" };
	char kinds[32] = "=w+-";
	bool large, splices;
	int i, n = 2;

	memset(seq, 0, sizeof(*seq));
	rnd_state = (nr + 1) * 0x9e3779b97f4a7c15ULL;
	for (i = 0; i < ARRAY_SIZE(of_letters); i++) {
		if (!has(of_letters[i][0]) || !rnd(2) || i == 1)
			continue;
		strcpy(kinds + n, of_letters[i] + 1);
		n = strlen(kinds);
	}
	kinds[n] = 0;
	large = rnd(4);
	seq->family = rnd(2) ? AF_INET : AF_INET6;
	seq->blocking = has('b') && (!has('n') || rnd(2));
	/* sendfile() and splice() send several messages, and a drop ends only one of them. */
	splices = rnd(2) && !strchr(kinds, 'd');
	seq->zerocopy = has('z') && !rnd(3);
	seq->closes = rnd(2);
	seq->apart = !seq->blocking && !rnd(3);
	seq->tight = !rnd(3);
	if (seq->tight || rnd(2))
		seq->sndbuf = 3000 + rnd(seq->tight || rnd(2) ? 10000 : 100000);
	seq->rcvbuf = rnd(2) ? 3000 + rnd(rnd(2) ? 10000 : 100000) : 0;
	seq->nodelay = rnd(2);
	seq->lowat = rnd(4) ? 0 : 1 + rnd(20000);
	seq->n_scripts = 1 + rnd(SCRIPTS);
	for (i = 0; i < seq->n_scripts; i++)
		random_script(&seq->scripts[i], kinds, large);
	seq->n = 3 + rnd(STEPS_MAX - 3);
	for (i = 0; i < seq->n; i++)
		random_step(&seq->steps[i], seq, large, splices);
}

/* ---- one that fails ------------------------------------------------------ */

static bool same_kind(const char *diff, const char *other)
{
	int len = strcspn(diff, ":");

	return !strncmp(diff, other, len + 1);
}

/* Return: whether the same difference occurs. If not, restore @saved. */
static bool still_fails(struct send_fuzz *t, struct sequence *seq, const struct sequence *saved,
			const char *diff)
{
	if (!run(t, seq) && same_kind(diff, t->diff))
		return true;
	*seq = *saved;
	return false;
}

static void shorten(struct send_fuzz *t, struct sequence *seq)
{
	char diff[sizeof(t->diff)];
	struct sequence saved;
	int i, j;

	strcpy(diff, t->diff);
	for (i = seq->n - 1; i >= 0; i--) {
		saved = *seq;
		seq->n--;
		memmove(&seq->steps[i], &seq->steps[i + 1],
			(seq->n - i) * sizeof(struct step));
		still_fails(t, seq, &saved, diff);
	}
	for (i = 0; i < seq->n_scripts; i++) {
		for (j = 0; j < OPS; j++) {
			saved = *seq;
			if (!seq->scripts[i].ops[j].what)
				continue;
			seq->scripts[i].ops[j].what = 0;
			still_fails(t, seq, &saved, diff);
		}
	}
	for (i = 0; i < seq->n; i++) {
		saved = *seq;
		if (strchr("svfpx", seq->steps[i].what)) {
			seq->steps[i].more = false;
			seq->steps[i].eor = false;
			seq->steps[i].zerocopy = false;
			seq->steps[i].fails = 0;
			seq->steps[i].what = seq->steps[i].what == 'x' ? 'x' : 's';
		}
		still_fails(t, seq, &saved, diff);
		while (seq->steps[i].n > 1) {
			saved = *seq;
			seq->steps[i].n /= 2;
			if (!still_fails(t, seq, &saved, diff))
				break;
		}
	}
	saved = *seq;
	seq->sndbuf = 0;
	still_fails(t, seq, &saved, diff);
	saved = *seq;
	seq->rcvbuf = 0;
	still_fails(t, seq, &saved, diff);
	saved = *seq;
	seq->lowat = 0;
	still_fails(t, seq, &saved, diff);
	if (run(t, seq))
		printf("# it fails only sometimes: %s\n", diff);
}

static void print_step(const struct step *step)
{
	printf(" %c%d%s%s%s", step->what, step->n, step->more ? "+" : "", step->eor ? "!" : "",
	       step->zerocopy ? "z" : "");
	if (step->fails)
		printf("f%d", step->fails);
}

static void print_sequence(const struct sequence *seq)
{
	int i, j;

	printf("# %s, %s%s%s", seq->family == AF_INET ? "IPv4" : "IPv6",
	       seq->blocking ? "blocking" : "non-blocking",
	       seq->zerocopy ? ", SO_ZEROCOPY" : "", seq->closes ? ", closes" : "");
	printf("%s%s, sndbuf %d, rcvbuf %d, lowat %d\n# program:",
	       seq->nodelay ? ", TCP_NODELAY" : "", seq->apart ? ", apart" : "",
	       seq->sndbuf, seq->rcvbuf, seq->lowat);
	for (i = 0; i < seq->n_scripts; i++) {
		for (j = 0; j < OPS; j++) {
			const struct send_op *op = &seq->scripts[i].ops[j];

			if (!op->what)
				continue;
			printf(" %c", op->what);
			if (strchr("+-=w", op->what))
				printf("%d.%d%%/", op->start / 10, op->start % 10);
			if (!strchr("deiEI", op->what))
				printf("%u", op->len);
		}
		printf(";");
	}
	printf("\n# steps:");
	for (i = 0; i < seq->n; i++)
		print_step(&seq->steps[i]);
	printf("\n");
}

static bool fuzz_one(struct send_fuzz *t, __u64 nr)
{
	static struct sequence seq;

	random_sequence(&seq, nr);
	if (run(t, &seq))
		return true;
	printf("# sequence %llu: %s\n", nr, t->diff);
	print_sequence(&seq);
	t->hasty = true;
	shorten(t, &seq);
	t->hasty = false;
	printf("# shortened: %s\n", t->diff);
	print_sequence(&seq);
	return false;
}

static bool load(struct send_fuzz *t)
{
	t->skel = test_sockmap_send_fuzz__open_and_load();
	if (!ASSERT_OK_PTR(t->skel, "open_and_load"))
		return false;
	t->map = bpf_map__fd(t->skel->maps.sock_map);
	return get_payload() &&
	       !xbpf_prog_attach(bpf_program__fd(t->skel->progs.prog_send), t->map,
				 BPF_SK_MSG_VERDICT, 0);
}

/* Have 25% of the allocations of threads with make-it-fail fail; false if the
 * kernel cannot
 */
static bool inject_faults(const char *times)
{
	bool on = *times != '0';

	set_fault(FAILSLAB "task-filter", on ? "Y" : "N");
	set_fault(FAILSLAB "ignore-gfp-wait", on ? "N" : "Y");
	set_fault(FAIL_PAGE_ALLOC "task-filter", on ? "Y" : "N");
	set_fault(FAIL_PAGE_ALLOC "ignore-gfp-wait", on ? "N" : "Y");
	set_fault(FAIL_PAGE_ALLOC "min-order", on ? "0" : "1");
	return set_fault_rate(on ? "25" : "0", times);
}

/* Return: how many allocations have failed */
static int faults_injected(void)
{
	int left = failslab_times();

	return left < 0 ? 0 : atoi(FAULTS) - left;
}

static void fuzz_for(struct send_fuzz *t, int seconds, __u64 nr)
{
	__u64 until = now_ms() + seconds * 1000ULL, first = nr;
	bool ok, agree = true;

	if (!load(t))
		goto out;
	if (has('f') && !ASSERT_TRUE(inject_faults(FAULTS), "allocations can fail"))
		goto out;
	do {
		ok = fuzz_one(t, nr);
		agree &= ok;
		nr++;
	} while ((ok || has('g')) && (now_ms() < until || nr < first + FEW));
	printf("# sequences %llu to %llu\n", first, nr - 1);
	ASSERT_TRUE(agree, "kernel and model agree");
	if (has('f')) {
		ASSERT_GT(faults_injected(), 0, "failed allocations");
		inject_faults("0");
	}
out:
	test_sockmap_send_fuzz__destroy(t->skel);
}

void test_sockmap_send_fuzz(void)
{
	const char *env = getenv("SOCKMAP_SEND_FUZZ");
	static char given[16];
	int seconds = 2;
	__u64 nr = 1;

	if (env && sscanf(env, "%d,%llu,%15s", &seconds, &nr, given) == 3)
		letters = given;
	if (test__start_subtest("sequences"))
		fuzz_for(&fuzz, seconds, nr);
}
