// SPDX-License-Identifier: GPL-2.0
/* A policy for HTTP/1.1 requests: allowed methods and path prefixes.
 *
 * The parser finds the end of each request. For the first request that no rule
 * allows, it returns an error, which ends the connection. If the verdict
 * dropped that request instead, the server would not answer it, and the client
 * would mistake the answer to the next request for it.
 *
 * The server must not understand a request differently. So all that parsers
 * could disagree about is refused. A request passes only if each line of its
 * head ends in CR LF, there are no folded lines, no blanks in header names and
 * no control characters, if its body has a plain Content-Length or there is
 * none, and if its path has no escapes and no dot segments.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "http_policy.h"

struct http_rule rules[RULES_MAX];

__u64 passed;
__u64 refused;

/* Return: the byte at @at, -1 if it is beyond the end */
static int byte_at(struct __sk_buff *skb, __u32 at)
{
	__u8 c;

	return bpf_skb_load_bytes(skb, at, &c, sizeof(c)) ? -1 : c;
}

/* ---- the end of a request ------------------------------------------------- */

static const char content_length[] = "content-length:";
static const char transfer_encoding[] = "transfer-encoding:";

struct head {
	__u32 line;
	__u32 col;		/* column of the next byte in its line */
	bool cr;		/* the last byte was CR */
	bool named;		/* the header name is complete */
	bool is_length;		/* the line may be this header, so far */
	bool is_encoding;
	bool has_length;
	bool has_digits;
	__u32 length;		/* length of the body */
};

/* Does the header name of this line, with @c in column @col, still match @header? */
static __always_inline bool same(const char *header, __u32 col, int c)
{
	if (c >= 'A' && c <= 'Z')
		c += 'a' - 'A';
	return c == header[col];
}

/* The value of Content-Length: blanks, then only digits */
static __always_inline int take_length(struct head *h, int c)
{
	if (c == ' ' && !h->has_digits)
		return 0;
	if (c < '0' || c > '9')
		return -EPROTO;
	h->has_digits = true;
	h->length = h->length * 10 + c - '0';
	return h->length > BODY_MAX ? -EMSGSIZE : 0;
}

static __always_inline int take_header(struct head *h, int c)
{
	if (h->is_length && h->col >= sizeof(content_length) - 1)
		return take_length(h, c);
	if (h->named)
		return 0;
	if (c == ' ')
		return -EPROTO;
	h->named = c == ':';
	h->is_length = h->is_length && h->col < sizeof(content_length) - 1 &&
		       same(content_length, h->col, c);
	h->is_encoding = h->is_encoding && h->col < sizeof(transfer_encoding) - 1 &&
			 same(transfer_encoding, h->col, c);
	if (!h->named)
		return 0;
	if (h->is_encoding || (h->is_length && h->has_length))
		return -EPROTO;
	h->has_length |= h->is_length;
	return 0;
}

/* Return: 1 if this was the last line of the head */
static __always_inline int end_line(struct head *h)
{
	bool empty = h->col == 1;

	if (h->line && empty)
		return 1;
	if ((h->line && !h->named) || (h->has_length && !h->has_digits))
		return -EPROTO;
	h->line++;
	h->col = 0;
	h->cr = false;
	h->named = false;
	h->is_length = true;
	h->is_encoding = true;
	return 0;
}

/* Process a byte of the head. Return: 1 if it is the last one, or an error. A
 * global function, so that the verifier checks it once, not for each byte.
 */
__noinline int take(struct head *h __arg_nonnull, int c)
{
	int ret = 0;

	if (h->cr != (c == '\n'))
		return -EPROTO;
	if (c == '\n')
		return end_line(h);
	if (c == '\r')
		h->cr = true;
	else if (c < ' ')
		return -EPROTO;
	else if (h->line)
		ret = take_header(h, c);
	h->col++;
	return ret;
}

/* ---- allowed requests ------------------------------------------------------ */

static const char version[] = "HTTP/1.1\r\n";

static __always_inline bool is_version(struct __sk_buff *skb, __u32 at)
{
	int i;

	bpf_for(i, 0, sizeof(version) - 1) {
		if (byte_at(skb, at + i) != version[i])
			return false;
	}
	return true;
}

static __always_inline bool begins_as(struct __sk_buff *skb, const struct http_rule *rule)
{
	int i;

	bpf_for(i, 0, RULE_MAX) {
		if (i >= rule->len)
			break;
		if (byte_at(skb, i) != (__u8)rule->text[i])
			return false;
	}
	return rule->len;
}

/* Is the rest of the request line, from @at on, a path without escapes and dot
 * segments, and the version?
 */
static __always_inline bool ends_plainly(struct __sk_buff *skb, __u32 at)
{
	int i, c, last = byte_at(skb, at - 1);
	bool query = false;

	bpf_for(i, at, HEAD_MAX) {
		c = byte_at(skb, i);
		if (c == ' ')
			return is_version(skb, i + 1);
		if (c < ' ')
			return false;
		query |= c == '?';
		if (!query && (c == '%' || (c == '.' && last == '/')))
			return false;
		last = c;
	}
	return false;
}

static __always_inline bool allowed(struct __sk_buff *skb)
{
	int i;

	bpf_for(i, 0, RULES_MAX) {
		if (begins_as(skb, &rules[i]) && ends_plainly(skb, rules[i].len))
			return true;
	}
	return false;
}

/* ---- the programs --------------------------------------------------------- */

/* It starts again at the first byte each time more data arrives, so heads are short. */
SEC("sk_skb/stream_parser")
int http_parser(struct __sk_buff *skb)
{
	struct head h = {};
	int i, c, ret = 0;

	bpf_for(i, 0, HEAD_MAX) {
		c = byte_at(skb, i);
		if (c < 0)
			return 0;
		ret = take(&h, c);
		if (ret)
			break;
	}
	if (ret <= 0)
		return ret ?: -EMSGSIZE;
	if (!allowed(skb)) {
		__atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
		return -EACCES;
	}
	return i + 1 + h.length;
}

/* All requests that the parser has not refused pass. */
SEC("sk_skb/stream_verdict")
int http_policy(struct __sk_buff *skb)
{
	__atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
