/* SPDX-License-Identifier: GPL-2.0 */
/* For sk_msg programs; their header defines FILL, the most bytes to write */
#ifndef __SOCKMAP_MSG_FILL_H
#define __SOCKMAP_MSG_FILL_H

/* Pushed bytes are uninitialized, write up to FILL of them. Return: 0 or -1 */
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
