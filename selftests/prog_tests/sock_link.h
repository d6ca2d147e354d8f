/* SPDX-License-Identifier: GPL-2.0 */
/* What links of programs on sockets can do in the running kernel */
#ifndef __SOCK_LINK_H
#define __SOCK_LINK_H

#include "sockmap_helpers.h"

/* Return: the error of attaching @verdict to a listening socket, with a parser
 * of fd @parser_fd
 */
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

/* Return: whether a link can attach a parser together with a verdict. Kernels
 * with an earlier version of the series ignore parser_fd, and have a link for
 * each program.
 */
static inline bool sock_links_take_parser(struct bpf_program *verdict)
{
	static int err = -EAGAIN;

	if (err == -EAGAIN)
		err = sock_link_try(verdict, 999999);
	return err == -EBADF;
}

/* Return: whether the kernel has such links; if not, the test is skipped */
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
