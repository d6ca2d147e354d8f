/* SPDX-License-Identifier: GPL-2.0 */
/* Scripts that the program of sockmap_send_fuzz executes, and its log of runs */
#ifndef __TEST_SOCKMAP_SEND_FUZZ_H
#define __TEST_SOCKMAP_SEND_FUZZ_H

#define SCRIPTS		6
#define OPS		4
#define FILL		4	/* most bytes that the program writes of pushed data */
#define LOG		32768	/* runs that are logged */

struct send_op {
	__u32 what;	/* '+' push, '-' pop, '=' pull, 'w'rite, 'a'pply, 'c'ork, 'd'rop,
			 * redirect: 'e'gress, 'i'ngress, 'E', 'I' by a hash; 0: nothing
			 */
	__u32 start;	/* in 1/1000 of the message */
	__u32 len;	/* 'c': bytes to cork beyond the size of the message */
};

struct send_script {
	struct send_op ops[OPS];
};

struct send_run {
	__u32 size;	/* of the message at the start of the run */
	__u32 failed;	/* bit i: ops[i]; bit 16 + i: its pushed bytes are not written */
};

static inline __u32 send_op_start(const struct send_op *op, __u32 size)
{
	return (__u64)size * op->start / 1000;
}

static inline __u32 send_op_len(const struct send_op *op, __u32 size, __u32 start)
{
	__u32 len = op->what == 'w' && op->len > FILL ? FILL : op->len;

	if (op->what != '+' && len > size - start)
		len = size - start;
	return len;
}

#endif
