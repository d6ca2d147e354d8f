// SPDX-License-Identifier: GPL-2.0
/* What http_policy lets pass, however requests are cut into segments. */
#include <error.h>
#include <netinet/tcp.h>

#include "test_progs.h"
#include "network_helpers.h"
#include "sockmap_helpers.h"
#include "sock_link.h"
#include "progs/http_policy.h"
#include "http_policy.skel.h"

#define WAIT_SEC 5
#define ALL -1

#define GET		"GET /public/page HTTP/1.1\r\n"
#define POST		"POST /form HTTP/1.1\r\n"
#define SECRET		"GET /secret HTTP/1.1\r\n"
#define HOST		"Host: localhost\r\n"
#define END		"\r\n"

static const char * const allowed[] = { "GET /public/", "POST /form" };

/* What a client sends, how many bytes of it the server reads, and the error
 * that follows, or 0 for end of file
 */
static const struct request {
	const char *name;
	const char *text;
	int passes;
	int err;
} requests[] = {
	{ "GET",		GET HOST END, ALL },
	{ "query",		"GET /public/page?a=/../%20 HTTP/1.1\r\n" END, ALL },
	{ "body",		POST "Content-Length: 4\r\n" END "GET ", ALL },
	{ "length, spelled",	POST "content-LENGTH:04\r\n" END "GET ", ALL },
	{ "no length",		GET "Content-Lengthy: 9\r\nX-Content-Length: 9\r\n" END, ALL },
	{ "two",		GET END GET END, ALL },
	{ "after a body",	POST "Content-Length: 2\r\n" END "xy" GET END, ALL },

	{ "path",		SECRET END, 0, EACCES },
	{ "method",		"PUT /form HTTP/1.1\r\n" END, 0, EACCES },
	{ "method, spelled",	"get /public/page HTTP/1.1\r\n" END, 0, EACCES },
	{ "steps",		"GET /public/../secret HTTP/1.1\r\n" END, 0, EACCES },
	{ "escapes",		"GET /public/%2e%2e/secret HTTP/1.1\r\n" END, 0, EACCES },
	{ "absolute",		"GET http://localhost/public/page HTTP/1.1\r\n" END, 0, EACCES },
	{ "no version",		"GET /public/page\r\n" END, 0, EACCES },
	{ "other version",	"GET /public/page HTTP/1.0\r\n" END, 0, EACCES },
	{ "blank at the end",	"GET /public/page HTTP/1.1 \r\n" END, 0, EACCES },
	{ "cut off",		GET HOST, 0 },
	{ "body cut off",	POST "Content-Length: 4\r\n" END "GET", 0 },
	{ "refused, allowed",	SECRET END GET END, 0, EACCES },
	{ "allowed, refused",	GET END SECRET END GET END, sizeof(GET END) - 1, EACCES },
	{ "refused, no request", SECRET END "\n", 0, EACCES },
	{ "after a short body",	POST "Content-Length: 2\r\n" END "xy" SECRET END,
				sizeof(POST "Content-Length: 2\r\n" END "xy") - 1, EACCES },

	{ "LF",			"GET /public/page HTTP/1.1\n" HOST END, 0, EPROTO },
	{ "CR",			GET "A: b\rc\r\n" END, 0, EPROTO },
	{ "CR CR LF",		GET "A: b\r\r\n" END, 0, EPROTO },
	{ "empty line first",	END GET END, 0, EPROTO },
	{ "folded",		GET "A: b\r\n c: d\r\n" END, 0, EPROTO },
	{ "blank in the name",	GET "Content-Length : 4\r\n" END "GET ", 0, EPROTO },
	{ "no colon",		GET "A\r\n" END, 0, EPROTO },
	{ "control character",	GET "A: \1\r\n" END, 0, EPROTO },
	{ "two lengths",	POST "Content-Length: 4\r\nContent-Length: 4\r\n" END, 0, EPROTO },
	{ "list of lengths",	POST "Content-Length: 4, 4\r\n" END, 0, EPROTO },
	{ "no digits",		POST "Content-Length: \r\n" END, 0, EPROTO },
	{ "sign",		POST "Content-Length: +4\r\n" END, 0, EPROTO },
	{ "hexadecimal",	POST "Content-Length: 0x4\r\n" END, 0, EPROTO },
	{ "too long",		POST "Content-Length: 65537\r\n" END, 0, EMSGSIZE },
	{ "overflow",		POST "Content-Length: 4294967300\r\n" END, 0, EMSGSIZE },
	{ "chunked",		POST "Transfer-Encoding: chunked\r\n" END, 0, EPROTO },
	{ "chunked, spelled",	POST "TRANSFER-encoding:\r\n" END, 0, EPROTO },
	{ "allowed, no request", GET END "\n", sizeof(GET END) - 1, EPROTO },
};

struct server {
	struct http_policy *skel;
	struct bpf_link *policy;
	int fd;
};

static void stop(struct server *s)
{
	bpf_link__destroy(s->policy);
	http_policy__destroy(s->skel);
	if (s->fd >= 0)
		close(s->fd);
}

static bool start(struct server *s)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = BPF_F_SOCK_INHERIT);
	int i;

	memset(s, 0, sizeof(*s));
	s->fd = socket_loopback(AF_INET, SOCK_STREAM);
	s->skel = http_policy__open_and_load();
	if (!ASSERT_OK_PTR(s->skel, "open_and_load"))
		return false;
	for (i = 0; i < ARRAY_SIZE(allowed); i++) {
		s->skel->bss->rules[i].len = strlen(allowed[i]);
		memcpy(s->skel->bss->rules[i].text, allowed[i], strlen(allowed[i]));
	}
	if (!has_sock_links(s->skel->progs.http_policy))
		return false;
	opts.parser_fd = bpf_program__fd(s->skel->progs.http_parser);
	s->policy = bpf_program__attach_sock(s->skel->progs.http_policy, s->fd, &opts);
	return ASSERT_OK_PTR(s->policy, "attach");
}

/* Send all of it, in pieces that end at multiples of @cut */
static bool send_cut(int fd, const char *text, int len, int cut)
{
	int n;

	for (; len; text += n, len -= n) {
		n = len < cut ? len : cut;
		/* The other side may have closed the connection. */
		if (send(fd, text, n, MSG_NOSIGNAL) != n)
			return errno == EPIPE || errno == ECONNRESET;
	}
	return true;
}

/* Read to the end. Return: 0 for end of file or an error; in @len, the number
 * of bytes
 */
static int recv_all(int fd, char *buf, int size, int *len)
{
	int n;

	*len = 0;
	while ((n = recv_timeout(fd, buf + *len, size - *len, 0, WAIT_SEC)) > 0)
		*len += n;
	return n ? errno : 0;
}

static bool request(struct server *s, const struct request *r, int cut)
{
	int c, sk, len, err, one = 1, want = strlen(r->text);
	char buf[8192];
	bool ok;

	c = connect_to_fd(s->fd, WAIT_SEC * 1000);
	sk = accept_timeout(s->fd, NULL, NULL, WAIT_SEC);
	setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	ok = ASSERT_TRUE(send_cut(c, r->text, want, cut), r->name);
	/* After a FIN, the server would see end of file before the error. */
	if (!r->err)
		shutdown(c, SHUT_WR);
	if (r->passes != ALL)
		want = r->passes;
	err = recv_all(sk, buf, sizeof(buf), &len);
	ok = ok && ASSERT_EQ(err, r->err, r->name) && ASSERT_EQ(len, want, r->name) &&
	     ASSERT_OK(memcmp(buf, r->text, len), r->name);
	close(sk);
	close(c);
	return ok;
}

static void all_in_one(struct server *s)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++)
		if (!request(s, &requests[i], INT_MAX))
			break;
}

static void single_bytes(struct server *s)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++)
		if (!request(s, &requests[i], 1))
			break;
}

/* Send requests in pieces of each length, beginning with single bytes */
static void each_cut(struct server *s)
{
	static const struct request stream = {
		"stream",
		GET HOST END POST "Content-Length: 7\r\n" END "x=1&y=2" SECRET HOST END GET END,
		sizeof(GET HOST END POST "Content-Length: 7\r\n" END "x=1&y=2") - 1,
		EACCES,
	};
	int cut, len = strlen(stream.text);

	for (cut = 1; cut < len; cut++)
		if (!request(s, &stream, cut))
			break;
}

static void long_head(struct server *s)
{
	struct request r = { "long head", NULL, 0, EMSGSIZE };
	char text[HEAD_MAX + 100] = "GET /public/";

	memset(text + strlen(text), 'x', sizeof(text) - 1 - strlen(text));
	r.text = text;
	request(s, &r, INT_MAX);
	request(s, &r, 1000);
}

/* The error is permanent: further reads of the server fail, whatever the client
 * sends.
 */
static void stays_refused(struct server *s)
{
	const char *text = SECRET END;
	int i, c, sk;
	char buf[64];

	c = connect_to_fd(s->fd, WAIT_SEC * 1000);
	sk = accept_timeout(s->fd, NULL, NULL, WAIT_SEC);
	for (i = 0; i < 10; i++) {
		if (!ASSERT_TRUE(send_cut(c, text, strlen(text), INT_MAX), "send") ||
		    !ASSERT_EQ(recv_timeout(sk, buf, sizeof(buf), 0, WAIT_SEC), -1, "recv") ||
		    !ASSERT_EQ(errno, EACCES, "errno"))
			break;
		text = GET END;
	}
	ASSERT_EQ(s->skel->bss->passed, 0, "passed");
	ASSERT_EQ(s->skel->bss->refused, 1, "refused");
	close(sk);
	close(c);
}

static const struct {
	const char *name;
	void (*run)(struct server *s);
} tests[] = {
	{ "all_in_one",		all_in_one },
	{ "single_bytes",	single_bytes },
	{ "each_cut",		each_cut },
	{ "long_head",		long_head },
	{ "stays_refused",	stays_refused },
};

void test_http_policy(void)
{
	struct server s;
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!test__start_subtest(tests[i].name))
			continue;
		if (start(&s))
			tests[i].run(&s);
		stop(&s);
	}
}
