// SPDX-License-Identifier: GPL-2.0
/* What the verifier refuses to programs that add sockets to links. */
#include "verifier_refuses.h"
#include "test_sock_link_fail.skel.h"

static const struct {
	const char *prog;
	const char *why;
} refused[] = {
	{ "not_released",	"Unreleased reference" },
	{ "released",		"is scalar" },
	{ "unchecked",		"Possibly NULL pointer passed" },
	{ "not_full",		"expected pointer to STRUCT sock but" },
	{ "not_full_of_packet",	"expected pointer to STRUCT sock but" },
	{ "not_a_socket",	"expected pointer to STRUCT sock but" },
	{ "made_up",		"is scalar" },
	{ "program_context",	"is ctx" },
	{ "socket_for_context",	"expected pointer to STRUCT bpf_sock_ops_kern but" },
	{ "from_verdict",	"is not allowed" },
	{ "from_sockops",	"is not allowed" },
	{ "from_cgroup_skb",	"expected pointer to STRUCT bpf_sock_ops_kern but" },
	{ "ops_from_tc",	"is not allowed" },
};

void test_sock_link_fail(void)
{
	size_t size;
	const void *elf = test_sock_link_fail__elf_bytes(&size);
	int i;

	for (i = 0; i < ARRAY_SIZE(refused); i++)
		if (test__start_subtest(refused[i].prog))
			verifier_refuses(elf, size, refused[i].prog, refused[i].why);
}
