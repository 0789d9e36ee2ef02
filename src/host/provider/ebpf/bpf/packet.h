// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The addresses of packets whose socket does not know them: of unconnected
// datagram sockets, raw sockets and packet sockets.
#pragma once

#include "socket.h"

// A scan or flood has a new tuple with each packet. More than this of one socket
// in so many ticks (1 s where there are 250 a second) are not told. The socket
// itself is told in their place, and its packets are not looked at any more until
// the time is over: whoever sends them waits for what happens here.
#define TUPLES_AT_ONCE 256
#define TUPLES_TICKS 250

// Whether `bytes` could be read that lie in the packet's first part.
INLINE int read_packet(struct sk_buff *skb, void *to, u32 bytes, const u8 *from)
{
	const u8 *end = skb->data + (skb->len - skb->data_len);

	return from + bytes <= end && !bpf_probe_read_kernel(to, bytes, from);
}

// Where the IP header is; 0 when the frame of a packet socket holds none.
INLINE const u8 *ip_header(struct sk_buff *skb, u16 family)
{
	u16 type = skb->dev->type;
	const u8 *at = skb->data + 12;
	u16 ether_type;

	if (family != AF_PACKET || (type != ARPHRD_ETHER && type != ARPHRD_LOOPBACK))
		return skb->head + skb->network_header;
	for (int tags = 0; tags < 3; tags++) {
		if (!read_packet(skb, &ether_type, 2, at))
			return 0;
		ether_type = ntohs(ether_type);
		if (ether_type != 0x8100 && ether_type != 0x88a8)
			break;
		at += 4;
	}
	return ether_type == 0x0800 || ether_type == 0x86dd ? at + 2 : 0;
}

INLINE int has_ports(u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == 33 /* DCCP */ ||
	       protocol == 132 /* SCTP */ || protocol == 136 /* UDP-Lite */;
}

#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define TRANSPORT_BYTES 8

// The transport's first bytes give ports, or the identifier of an echo.
INLINE int tuple_of_transport(struct sk_buff *skb, const u8 *at, const u16 *read,
			      struct tuple *tuple)
{
	u16 transport[4];

	if (!read) {
		u32 bytes = has_ports(tuple->protocol) ? 4 : TRANSPORT_BYTES;

		__builtin_memset(transport, 0, sizeof(transport));
		if (!read_packet(skb, transport, bytes, at))
			return 0;
		read = transport;
	}
	if (has_ports(tuple->protocol)) {
		tuple->local_port = ntohs(read[0]);
		tuple->remote_port = ntohs(read[1]);
	} else {
		u8 type = read[0] & 0xff;

		if (type == 8 || type == 0 || type == 128 || type == 129)
			tuple->local_port = ntohs(read[2]);
	}
	return 1;
}

// False for what has no tuple of its own: later fragments, cut and odd packets.
INLINE int tuple_of_packet(struct sk_buff *skb, u16 family, struct tuple *tuple)
{
	const u8 *at = ip_header(skb, family);
	u8 ip[IPV6_BYTES] __attribute__((aligned(8)));
	const u16 *transport = 0;

	__builtin_memset(tuple, 0, sizeof(*tuple));
	if (!at)
		return 0;
	if (read_packet(skb, ip, IPV4_BYTES + TRANSPORT_BYTES, at))
		transport = (const u16 *)&ip[IPV4_BYTES];
	else if (!read_packet(skb, ip, IPV4_BYTES, at))
		return 0;
	if (ip[0] >> 4 == 4) {
		u32 *words = (u32 *)ip;

		if (ntohs(*(u16 *)&ip[6]) & 0x1fff)
			return 0;
		tuple->protocol = ip[9];
		map_ipv4(tuple->local, words[3]);
		map_ipv4(tuple->remote, words[4]);
		at += (ip[0] & 15) * 4;
		if ((ip[0] & 15) * 4 != IPV4_BYTES)
			transport = 0;
	} else if (ip[0] >> 4 == 6 && read_packet(skb, ip, IPV6_BYTES, at)) {
		u8 next = ip[6];
		u8 option[4];

		__builtin_memcpy(tuple->local, &ip[8], 16);
		__builtin_memcpy(tuple->remote, &ip[24], 16);
		at += IPV6_BYTES;
		transport = 0;
		for (int options = 0; options < 4; options++) {
			if (next != 0 && next != 43 && next != 44 && next != 60)
				break;
			if (!read_packet(skb, option, 4, at))
				return 0;
			if (next == 44 && ntohs(*(u16 *)&option[2]) & 0xfff8)
				return 0;
			at += next == 44 ? 8 : (option[1] + 1) * 8;
			next = option[0];
		}
		tuple->protocol = next;
	} else {
		return 0;
	}
	if (has_ports(tuple->protocol) || tuple->protocol == IPPROTO_ICMP ||
	    tuple->protocol == IPPROTO_ICMPV6)
		return tuple_of_transport(skb, at, transport, tuple);
	return 1;
}

INLINE int same_tuple(const struct tuple *a, const struct tuple *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

INLINE int had_too_many_tuples(const struct socket_state *state, u64 now)
{
	return state->tuples > TUPLES_AT_ONCE && now - state->tuples_since < TUPLES_TICKS;
}

INLINE int too_many_tuples(struct socket_state *state, u64 now)
{
	if (now - state->tuples_since >= TUPLES_TICKS) {
		state->tuples_since = now;
		state->tuples = 0;
	}
	state->tuples += 1;
	return state->tuples > TUPLES_AT_ONCE;
}

// Any packet that its process sends from here on may be this socket's.
INLINE void tell_socket_itself(struct sock *sk, struct socket_state *state, u32 interface_index)
{
	struct tuple tuple;

	// A datagram socket's own port says enough; others have none.
	if (state->kind == DATAGRAM)
		return;
	if (!state->owner.pid) {
		lost(LOST_TOO_MANY_TUPLES);
		return;
	}
	tuple_of_socket(sk, state->kind, &tuple);
	tell_socket(sk, state, &tuple, SOCKET_USE, state->basis, interface_index, 0);
}

INLINE int packet_of_datagram_socket(struct sk_buff *skb, struct sock *sk, u16 family)
{
	struct socket *socket = sk->sk_socket;

	// The kernel's own sockets have no file: nobody's.
	if (!socket || !socket->file)
		return 0;
	struct socket_state *state = bpf_sk_storage_get(&sockets, sk, 0, STORAGE_CREATE);
	if (!state) {
		lost(LOST_MEMORY);
		return 0;
	}
	struct packet_key key = {};
	u64 now = bpf_jiffies64();
	state->packet_at = now;
	if (had_too_many_tuples(state, now)) {
		state->packet_due = 0;
		state->has_tuple = 0;
		return 0;
	}
	if (!tuple_of_packet(skb, family, &key.tuple))
		return 0;
	u8 due = state->packet_due;
	state->packet_due = 0;
	if (same_tuple(&state->tuple, &key.tuple) && state->tuple_pid == state->owner.pid &&
	    now - state->tuple_told_at < TELL_AGAIN_TICKS)
		return 0;
	state->tuple = key.tuple;
	state->has_tuple = 1;
	// A packet socket's first packet, or one from before the programs came: the
	// call that sends it tells it.
	if (!state->cookie) {
		state->tuple_waits = 1;
		return 0;
	}
	learn_socket(sk, state);
	enum told_for told_for = tuple_told_for(state, &key, now);
	if (told_for == ITS_USER)
		return 0;
	// `current` is the sender, unless the packet waited for a neighbour's address
	// or an interrupt came between: then the call that sent it is over and its
	// process the owner. Where the two differ, the claim of the owner is weaker
	// than that of the call which is about to end.
	struct process_id me = {};
	struct task_struct *task = current_process(&me);
	int is_sender = task && me.pid == state->owner.pid;
	u8 basis = USED;
	if (!is_sender && !(due && state->basis == USED)) {
		// A turn, which the call tells.
		if (told_for == SOMEBODY)
			return 0;
		basis = state->basis == USED ? OPENED : state->basis;
	}
	state->kind = kind_of_socket(sk);
	if (too_many_tuples(state, now)) {
		tell_socket_itself(sk, state, skb->dev->ifindex);
		return 0;
	}
	if (basis != USED) {
		state->tuple_waits = 1;
	} else if (is_sender && process_news(task, &me)) {
		// What it has become is told first.
		state->tuple_waits = 1;
		return 0;
	}
	tuple_was_told(state, &key, now);
	if (state->owner.pid)
		tell_socket(sk, state, &key.tuple, SOCKET_USE, basis, skb->dev->ifindex, 0);
	return 0;
}
