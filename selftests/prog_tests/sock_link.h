/* SPDX-License-Identifier: GPL-2.0 */
/* What links of programs on sockets can do in the kernel that runs */
#ifndef __SOCK_LINK_H
#define __SOCK_LINK_H

#include "sockmap_helpers.h"

/* The error that @verdict gets on a listening socket, with a parser of number @parser_fd */
static inline int sock_link_try(struct bpf_program *verdict, int parser_fd)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = BPF_F_SOCK_INHERIT,
		    .parser_fd = parser_fd);
	int fd = socket_loopback(AF_INET, SOCK_STREAM);
	struct bpf_link *link = bpf_program__attach_sock(verdict, fd, &opts);
	int err = link ? 0 : -errno;

	bpf_link__destroy(link);
	close(fd);
	return err;
}

/* Do they take a parser along with a verdict? The first ones did not look at it, and
 * had one of its own for each.
 */
static inline bool sock_links_take_parser(struct bpf_program *verdict)
{
	static int err = -EAGAIN;

	if (err == -EAGAIN)
		err = sock_link_try(verdict, 999999);
	return err == -EBADF;
}

/* Are there any? To be asked before a test. */
static inline bool has_sock_links(struct bpf_program *verdict)
{
	if (!ASSERT_OK(sock_link_try(verdict, 0), "link"))
		return false;
	if (sock_links_take_parser(verdict))
		return true;
	printf("%s:SKIP:links take no parser\n", __func__);
	test__skip();
	return false;
}

#endif
