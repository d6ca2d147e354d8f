/* SPDX-License-Identifier: GPL-2.0 */
/* What sockmap_msg has its program do, one script for each run of it */
#ifndef __TEST_SOCKMAP_MSG_H
#define __TEST_SOCKMAP_MSG_H

#define SCRIPTS		4
#define OPS		48
#define FILL		4	/* bytes of what is pushed that the program writes */
#define MSG_END		0xffffffff
#define LOGGED		256	/* runs of which size and first byte are remembered */

struct msg_op {
	__u32 what;	/* '+' push, '-' pop, '=' pull, 'a'pply, 'c'ork, 'd'rop,
			 * 'p'ass; 0: no more
			 */
	__u32 start;	/* MSG_END: of the message */
	__u32 len;
};

struct msg_script {
	struct msg_op ops[OPS];
};

#endif
