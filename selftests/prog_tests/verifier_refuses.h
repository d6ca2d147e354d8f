/* SPDX-License-Identifier: GPL-2.0 */
/* Programs that the verifier must reject, and the message in its log */
#ifndef __VERIFIER_REFUSES_H
#define __VERIFIER_REFUSES_H

#include "test_progs.h"

/* Load only the program @name of the object file at @elf. */
static inline void verifier_refuses(const void *elf, size_t size, const char *name,
				    const char *why)
{
	static char log[1 << 20];

	LIBBPF_OPTS(bpf_object_open_opts, opts,
		    .kernel_log_buf = log, .kernel_log_size = sizeof(log),
		    .kernel_log_level = 1);
	struct bpf_program *prog, *p;
	libbpf_print_fn_t print;
	struct bpf_object *obj;

	obj = bpf_object__open_mem(elf, size, &opts);
	if (!ASSERT_OK_PTR(obj, "open"))
		return;
	bpf_object__for_each_program(p, obj)
		bpf_program__set_autoload(p, false);
	prog = bpf_object__find_program_by_name(obj, name);
	if (ASSERT_OK_PTR(prog, name)) {
		bpf_program__set_autoload(prog, true);
		log[0] = 0;
		print = libbpf_set_print(NULL);
		ASSERT_ERR(bpf_object__load(obj), "load");
		libbpf_set_print(print);
		if (!ASSERT_HAS_SUBSTR(log, why, "verifier log"))
			printf("%s\n", log);
	}
	bpf_object__close(obj);
}

#endif
