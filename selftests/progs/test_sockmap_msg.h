/* SPDX-License-Identifier: GPL-2.0 */
/* Scripts that the program of sockmap_msg executes, one per run */
#ifndef __TEST_SOCKMAP_MSG_H
#define __TEST_SOCKMAP_MSG_H

#define SCRIPTS		4
#define OPS		48
#define FILL		4	/* most bytes that the program writes of pushed data */
#define MSG_END		0xffffffff
#define LOGGED		256	/* runs whose size and first byte are logged */

struct msg_op {
	__u32 what;	/* '+' push, '-' pop, '=' pull, 'a'pply, 'c'ork, 'd'rop,
			 * 'p'ass; 0: no more
			 */
	__u32 start;	/* MSG_END: the end of the message */
	__u32 len;
};

struct msg_script {
	struct msg_op ops[OPS];
};

#endif
