/* SPDX-License-Identifier: GPL-2.0 */
/* For sk_msg programs whose header says how many bytes at most they write, FILL */
#ifndef __SOCKMAP_MSG_FILL_H
#define __SOCKMAP_MSG_FILL_H

/* Of what is pushed, which is whatever was in the page: 0 or an error */
static int fill(struct sk_msg_md *msg, __u32 start, __u32 len, __u8 with)
{
	__u8 *data, *end;
	int i;

	if (len > FILL)
		len = FILL;
	if (bpf_msg_pull_data(msg, start, start + len, 0))
		return -1;
	data = msg->data;
	end = msg->data_end;
	for (i = 0; i < FILL; i++)
		if (data + i + 1 <= end && i < len)
			data[i] = with;
	return 0;
}

#endif
