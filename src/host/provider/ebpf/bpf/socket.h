// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What is known of each socket, kept in the socket itself: it is found without
// a search, can't run full, and goes when the socket goes.
#pragma once

#include "process.h"

struct socket_state {
	struct process_id owner;
	u64 told_at; // in jiffies
	u64 tuples_since;
	u64 cookie;
	u64 inode;
	struct tuple tuple; // of the packet that was told last
	u32 tuples;
	u32 netns;
	u8 basis;
	u8 kind;
	u8 told;
	// A packet was seen and not yet the call that sent it: its tuple waits.
	u8 tuple_waits;
	u8 packet_seen;
	// A call sent and no packet was seen: it comes later, from another context.
	u8 packet_due;
	u8 syn_told;
	u8 unused;
};

struct {
	__uint(type, MAP_SK_STORAGE);
	__uint(map_flags, MAP_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_state);
} sockets SEC(".maps");

// A process that goes on using a socket is told again after this time, so that
// a reader that missed it learns of it: 5 s where the kernel ticks 250 times a
// second, 1.25 to 12.5 s elsewhere. Ticks, since reading them costs next to
// nothing, and a clock is half of what a known packet would cost.
#define TELL_AGAIN_TICKS 1250

struct use {
	u64 cookie;
	struct process_id process;
};

// Processes that take turns on a socket: when each was told. Without it each
// change of hands would be an event.
struct {
	__uint(type, MAP_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct use);
	__type(value, u64);
} told_uses SEC(".maps");

INLINE void map_ipv4(u8 *to, u32 address)
{
	u32 *words = (u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = 0xffff0000; // in the order of the network
	words[3] = address;
}

INLINE u8 kind_of_socket(struct sock *sk)
{
	u16 type = sk->sk_type;
	u16 protocol = sk->sk_protocol;

	if (sk->__sk_common.skc_family == AF_PACKET)
		return PACKET;
	if (type == SOCK_RAW)
		return RAW;
	if (type == SOCK_DGRAM)
		return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 ? PING : DATAGRAM;
	return sk->__sk_common.skc_state == TCP_LISTEN ? LISTENER : STREAM;
}

INLINE void tuple_of_socket(struct sock *sk, u8 kind, struct tuple *tuple)
{
	u16 protocol = sk->sk_protocol;

	__builtin_memset(tuple, 0, sizeof(*tuple));
	if (kind == PACKET)
		return;
	tuple->protocol = protocol == IPPROTO_MPTCP ? IPPROTO_TCP : protocol;
	if (sk->__sk_common.skc_family == AF_INET) {
		map_ipv4(tuple->local, sk->__sk_common.skc_rcv_saddr);
		map_ipv4(tuple->remote, sk->__sk_common.skc_daddr);
	} else {
		bpf_probe_read_kernel(tuple->local, 16,
			__builtin_preserve_access_index(&sk->__sk_common.skc_v6_rcv_saddr));
		bpf_probe_read_kernel(tuple->remote, 16,
			__builtin_preserve_access_index(&sk->__sk_common.skc_v6_daddr));
	}
	if (kind == RAW) // its number is the protocol's
		return;
	tuple->local_port = sk->__sk_common.skc_num;
	// A closed socket has given its number back but still knows it.
	if (!tuple->local_port)
		tuple->local_port = ntohs(READ(((struct inet_sock *)sk)->inet_sport));
	if (kind != PING)
		tuple->remote_port = ntohs(sk->__sk_common.skc_dport);
}

INLINE u8 is_dual_stack(struct sock *sk, const struct tuple *tuple)
{
	const u64 *local = (const u64 *)tuple->local;
	u32 byte = __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, 0);
	u64 bits = 0;

	if (sk->__sk_common.skc_family != AF_INET6 || local[0] || local[1])
		return 0;
	bpf_probe_read_kernel(&bits, __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, 1),
			      (void *)sk + byte);
	bits <<= __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, 4);
	bits >>= __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, 5);
	return !bits;
}

// Fills in what does not change once a socket is there.
INLINE void learn_socket(struct sock *sk, struct socket_state *state)
{
	if (state->netns)
		return;
	struct socket *socket = READ(sk->sk_socket);
	struct file *file = READ(socket->file);
	struct inode *inode = READ(file->f_inode);

	struct net *net = READ(sk->__sk_common.skc_net.net);

	state->inode = READ(inode->i_ino);
	state->netns = READ(net->ns.inum);
}

INLINE void tell_socket(struct sock *sk, struct socket_state *state, const struct tuple *tuple,
			u8 event_kind, u8 basis, u32 interface_index)
{
	struct socket_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		lost(LOST_RING_FULL);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->head.time_ns = bpf_ktime_get_boot_ns();
	event->head.process = state->owner;
	event->head.kind = event_kind;
	event->head.basis = basis;
	event->cookie = state->cookie;
	event->inode = state->inode;
	event->netns = state->netns;
	event->interface_index = interface_index;
	event->tuple = *tuple;
	event->kind = state->kind;
	event->dual_stack = sk ? is_dual_stack(sk, tuple) : 0;
	bpf_ringbuf_submit(event, RING_NO_WAKEUP);
	state->told = 1;
}

INLINE u32 interface_of_packet_socket(struct sock *sk)
{
	struct packet_sock *packet = (void *)sk;

	// Nowhere when packet sockets are a module whose types are not loaded.
	return FIELD_EXISTS(packet->ifindex) ? READ(packet->ifindex) : 0;
}

// A process sent or received: it is the answer, whoever made the socket.
INLINE int used(struct sock *sk, int result, int sending)
{
	u16 family = sk->__sk_common.skc_family;

	if (result < 0 || (family != AF_INET && family != AF_INET6 && family != AF_PACKET))
		return 0;
	struct socket_state *state = bpf_sk_storage_get(&sockets, sk, 0, STORAGE_CREATE);
	if (!state) {
		lost(LOST_MEMORY);
		return 0;
	}
	if (sending) {
		state->packet_due = !state->packet_seen;
		state->packet_seen = 0;
	}
	u64 now = bpf_jiffies64();
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (state->owner.pid == pid && state->basis == USED && !state->tuple_waits &&
	    now - state->told_at < TELL_AGAIN_TICKS)
		return 0;

	struct process_id me = {};
	struct task_struct *task = current_process(&me);
	if (!task)
		return 0;
	if (!state->cookie)
		state->cookie = bpf_get_socket_cookie(sk);
	learn_socket(sk, state);
	struct use use = { .cookie = state->cookie, .process = me };
	u64 *told_at = bpf_map_lookup_elem(&told_uses, &use);
	int known = told_at && now - *told_at < TELL_AGAIN_TICKS;
	u8 with_packet = state->tuple_waits;

	state->owner = me;
	state->basis = USED;
	state->tuple_waits = 0;
	if (known && !with_packet)
		return 0;
	state->told_at = now;
	bpf_map_update_elem(&told_uses, &use, &now, 0);
	tell_process_once(task, &me);
	state->kind = kind_of_socket(sk);
	struct tuple tuple;
	tuple_of_socket(sk, state->kind, &tuple);
	if (with_packet)
		tuple = state->tuple;
	tell_socket(sk, state, &tuple, SOCKET_USE, USED,
		    state->kind == PACKET ? interface_of_packet_socket(sk) : 0);
	return 0;
}
