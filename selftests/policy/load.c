// SPDX-License-Identifier: GPL-2.0
/* Loads the programs; replaces policies. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "load.h"
#include "policy_progs.skel.h"

bool without_loop;

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static bool is_group(const char *name, const char *wanted)
{
	size_t len = strlen(wanted);

	return wanted[len - 1] == '_' && !strncmp(name, wanted, len);
}

/* Load only the wanted program; a name that ends in "_" is a prefix. */
static void load_only(struct loaded *l, const char *wanted)
{
	struct bpf_program *prog;
	const char *name;

	bpf_object__for_each_program(prog, l->skel->obj) {
		name = bpf_program__name(prog);
		bpf_program__set_autoload(prog, !strcmp(name, wanted) ||
						!strcmp(name, "nothing") ||
						is_group(name, wanted));
	}
}

/* Read the statistics from the verifier's log */
static void read_log(struct verified *v, const char *log)
{
	const char *at;

	memset(v, 0, sizeof(*v));
	at = strstr(log, "verification time ");
	if (at)
		v->usec = strtoul(at + strlen("verification time "), NULL, 10);
	at = strstr(log, "processed ");
	if (at)
		v->insns = strtoul(at + strlen("processed "), NULL, 10);
}

static bool load_skel(struct loaded *l, const char *name)
{
	static char log[1 << 16];
	struct bpf_program *prog;
	int err;

	prog = bpf_object__find_program_by_name(l->skel->obj, name);
	if (prog) {
		bpf_program__set_log_buf(prog, log, sizeof(log));
		bpf_program__set_log_level(prog, 4);
	}
	err = policy_progs__load(l->skel);
	if (err) {
		if (getenv("POLICY_LOG"))
			fputs(log, stderr);
		errno = -err;
		return false;
	}
	read_log(&l->verified, log);
	l->prog = prog ? bpf_program__fd(prog) : -1;
	l->nothing = bpf_program__fd(l->skel->progs.nothing);
	return true;
}

static int make_map(uint64_t cells)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY, "policy", 4, cells * 8, 1, &opts);
}

/* The map of maps accepts only maps of this size. */
static bool set_size(struct loaded *l)
{
	int map = make_map(l->cells);
	bool ok = map >= 0 && !bpf_map__set_inner_map_fd(l->skel->maps.policies, map);

	if (map >= 0 && !ok)
		close(map);
	return ok;
}

bool load_program(struct loaded *l, const char *name, uint64_t cells)
{
	memset(l, 0, sizeof(*l));
	l->has_loop = !without_loop &&
		      libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_loop, NULL) == 1;
	if (!getenv("POLICY_LOG"))
		libbpf_set_print(silent);
	l->cells = cells;
	l->skel = policy_progs__open();
	if (!l->skel)
		return false;
	load_only(l, name);
	l->skel->rodata->policy_cells = cells;
	l->skel->rodata->policy_has_loop = l->has_loop;
	if (set_size(l) && load_skel(l, name))
		return true;
	unload(l);
	return false;
}

bool load(struct loaded *l, const struct classifier *c, uint64_t cells)
{
	bool ok = load_program(l, c->name, cells);

	l->classifier = c;
	return ok;
}

void unload(struct loaded *l)
{
	int err = errno;

	policy_progs__destroy(l->skel);
	l->skel = NULL;
	errno = err;
}

/* The memory of a map, as reported by the kernel */
static uint64_t map_memory(int map)
{
	char path[64], line[128];
	unsigned long long bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", map);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	if (f)
		fclose(f);
	return bytes;
}

static bool write_map(int map, uint64_t size, const void *mem, uint64_t from, uint64_t to,
		      uint32_t generation)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	if (at == MAP_FAILED)
		return false;
	memcpy((char *)at + from, (const char *)mem + from, to - from);
	((struct policy_head *)at)->generation = generation;
	munmap(at, size);
	return true;
}

/* Would the program deny everything with this policy? */
static bool too_many(const struct loaded *l, const struct policy_head *head)
{
	return !l->has_loop && ((head->kind == POLICY_LINEAR && head->rules > POLICY_FEW) ||
				(head->kind == POLICY_HASHES && head->masks > POLICY_FEW));
}

uint64_t publish(struct loaded *l, const uint64_t *mem, uint64_t cells)
{
	uint32_t zero = 0;
	uint64_t bytes = 0;
	int map;

	if (cells > l->cells || too_many(l, (const struct policy_head *)mem)) {
		errno = E2BIG;
		return 0;
	}
	map = make_map(l->cells);
	if (map < 0)
		return 0;
	/* The update waits for programs that still read the previous map. */
	if (write_map(map, l->cells * 8, mem, 0, cells * 8, ++l->generation) &&
	    !bpf_map_update_elem(bpf_map__fd(l->skel->maps.policies), &zero, &map, BPF_ANY))
		bytes = map_memory(map);
	close(map);
	return bytes;
}

bool overwrite(const struct loaded *l, const uint64_t *mem, uint64_t from, uint64_t to)
{
	uint32_t zero = 0, id;
	bool ok;
	int map;

	if (bpf_map_lookup_elem(bpf_map__fd(l->skel->maps.policies), &zero, &id))
		return false;
	map = bpf_map_get_fd_by_id(id);
	if (map < 0)
		return false;
	ok = write_map(map, l->cells * 8, mem, from, to, l->generation);
	close(map);
	return ok;
}

unsigned int run_keys(const struct loaded *l, int prog, uint32_t keys, uint32_t runs)
{
	static const char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = runs);

	l->skel->bss->next = 0;
	l->skel->bss->keys_mask = keys - 1;
	if (bpf_prog_test_run_opts(prog, &opts)) {
		perror("policy: running a program");
		exit(1);
	}
	return opts.duration;
}
