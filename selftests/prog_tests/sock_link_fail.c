// SPDX-License-Identifier: GPL-2.0
/* What the verifier refuses to programs that add sockets to links. */
#include "test_progs.h"
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

static void refuses(const char *name, const char *why)
{
	static char log[1 << 20];

	LIBBPF_OPTS(bpf_object_open_opts, opts,
		    .kernel_log_buf = log, .kernel_log_size = sizeof(log),
		    .kernel_log_level = 1);
	struct test_sock_link_fail *skel;
	struct bpf_program *prog, *p;
	libbpf_print_fn_t print;

	skel = test_sock_link_fail__open_opts(&opts);
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_object__for_each_program(p, skel->obj)
		bpf_program__set_autoload(p, false);
	prog = bpf_object__find_program_by_name(skel->obj, name);
	if (ASSERT_OK_PTR(prog, name)) {
		bpf_program__set_autoload(prog, true);
		log[0] = 0;
		print = libbpf_set_print(NULL);
		ASSERT_ERR(test_sock_link_fail__load(skel), "load");
		libbpf_set_print(print);
		if (!ASSERT_HAS_SUBSTR(log, why, "verifier log"))
			printf("%s\n", log);
	}
	test_sock_link_fail__destroy(skel);
}

void test_sock_link_fail(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(refused); i++)
		if (test__start_subtest(refused[i].prog))
			refuses(refused[i].prog, refused[i].why);
}
