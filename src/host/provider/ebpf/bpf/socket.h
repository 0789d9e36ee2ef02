// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What is known of each socket, kept in the socket itself: it is found without
// a search, can't run full, and goes when the socket goes.
#pragma once

#include "process.h"

struct socket_state {
	struct process_id owner;
	// All of these in jiffies.
	u64 told_at; // its use
	u64 tuple_told_at;
	u64 packet_at; // of the call that runs; 0 while none was seen
	u64 tuples_since;
	u64 turns_since;
	u64 cookie;
	u64 inode;
	struct tuple tuple; // of the last packet
	u32 tuple_pid; // whose it was told to be
	u32 tuples;
	u32 turns;
	u32 netns;
	u8 basis;
	u8 kind;
	u8 told;
	// A packet was seen and not yet the call that sent it: its tuple waits.
	u8 tuple_waits;
	// The last packet had a tuple that was looked at.
	u8 has_tuple;
	// A call sent and no packet was seen: it comes later, from another context.
	u8 packet_due;
	u8 syn_told;
	// It went from hand to hand; and goes so often that not each turn is told.
	u8 had_turns;
	u8 shared;
	u8 unused[7];
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

// So many changes of hands are told within that time: then each user's claim
// ends where the next one's begins. Of more, which would be an event each, users
// are told now and then and may all be meant.
#define TURNS_TOLD 4

struct use {
	u64 cookie;
	struct process_id process;
	u64 shared; // told as one of several that take turns
};

// Processes that take turns on a socket: when each was told.
struct {
	__uint(type, MAP_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct use);
	__type(value, u64);
} told_uses SEC(".maps");

struct packet_key {
	u64 cookie;
	struct tuple tuple;
	// Of a socket that is shared: each user is told. Else 0: whoever was told last.
	u32 pid;
	u32 programs;
};

struct told_tuple {
	u64 at;
	u32 pid;
	u32 unused;
};

// Tuples that were told, when and for whom; the least recently used go first.
struct {
	__uint(type, MAP_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct packet_key);
	__type(value, struct told_tuple);
} told_tuples SEC(".maps");

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
	if (state->inode)
		return;
	struct socket *socket = READ(sk->sk_socket);
	struct file *file = READ(socket->file);
	struct inode *inode = READ(file->f_inode);

	struct net *net = READ(sk->__sk_common.skc_net.net);

	state->inode = READ(inode->i_ino);
	state->netns = READ(net->ns.inum);
}

// The clock's tick is not known: 10 ms is the longest. A call that was set aside for
// longer than so many of them is told for what it is, late.
#define LONGEST_TICK_NS 10000000ULL
#define MOST_TICKS 9

// How long ago the packet of the call that now ends was handed on, at most.
INLINE u64 packet_age_ns(u64 ticks)
{
	return ((ticks < MOST_TICKS ? ticks : MOST_TICKS) + 1) * LONGEST_TICK_NS;
}

INLINE void tell_socket(struct sock *sk, struct socket_state *state, const struct tuple *tuple,
			u8 event_kind, u8 basis, u32 interface_index, u64 age_ns)
{
	struct socket_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		lost(LOST_RING_FULL);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	u64 now_ns = bpf_ktime_get_boot_ns();

	event->head.time_ns = now_ns;
	event->since_ns = age_ns ? now_ns - age_ns : 0;
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
	event->alone = basis == USED && state->had_turns && !state->shared;
	bpf_ringbuf_submit(event, RING_NO_WAKEUP);
	state->told = 1;
}

INLINE u32 interface_of_packet_socket(struct sock *sk)
{
	struct packet_sock *packet = (void *)sk;

	// Nowhere when packet sockets are a module whose types are not loaded.
	return FIELD_EXISTS(packet->ifindex) ? READ(packet->ifindex) : 0;
}

// Whether the socket goes from hand to hand so often that its users are told as
// several. Until a whole time without has passed: a turn ends others' claims.
INLINE void count_turn(struct socket_state *state, u64 now, int is_turn)
{
	u64 since = now - state->turns_since;

	if (since >= TELL_AGAIN_TICKS) {
		state->shared = state->turns > TURNS_TOLD && since < 2 * TELL_AGAIN_TICKS;
		state->turns = 0;
		state->turns_since = now;
	}
	if (!is_turn)
		return;
	state->had_turns = 1;
	state->turns += 1;
	if (state->turns > TURNS_TOLD)
		state->shared = 1;
}

enum told_for { NOBODY, SOMEBODY, ITS_USER };

// For whom the last packet's tuple was told a short time ago.
INLINE enum told_for tuple_told_for(struct socket_state *state, struct packet_key *key, u64 now)
{
	key->cookie = state->cookie;
	if (state->shared) {
		key->pid = state->owner.pid;
		key->programs = state->owner.programs;
	}
	struct told_tuple *told = bpf_map_lookup_elem(&told_tuples, key);

	if (!told || now - told->at >= TELL_AGAIN_TICKS)
		return NOBODY;
	if (told->pid != state->owner.pid)
		return SOMEBODY;
	state->tuple_pid = told->pid;
	state->tuple_told_at = told->at;
	return ITS_USER;
}

INLINE void tuple_was_told(struct socket_state *state, struct packet_key *key, u64 now)
{
	struct told_tuple told = { .at = now, .pid = state->owner.pid };

	bpf_map_update_elem(&told_tuples, key, &told, 0);
	state->tuple_pid = told.pid;
	state->tuple_told_at = now;
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
	u64 packet_at = 0;
	if (sending) {
		packet_at = state->packet_at;
		state->packet_due = !packet_at;
		state->packet_at = 0;
	}
	u64 now = bpf_jiffies64();
	struct task_struct *task = bpf_get_current_task_btf();
	int is_owner = state->owner.pid == (u32)task->tgid &&
		       state->owner.programs == (u32)task->self_exec_id;
	if (is_owner && state->basis == USED && !state->tuple_waits &&
	    now - state->told_at < TELL_AGAIN_TICKS)
		return 0;

	struct process_id me = {};
	if (!current_process(&me))
		return 0;
	if (!state->cookie)
		state->cookie = bpf_get_socket_cookie(sk);
	learn_socket(sk, state);
	int is_turn = !is_owner && state->basis == USED;
	int is_again = is_owner && state->basis == USED;
	u8 waited = state->tuple_waits;
	count_turn(state, now, is_turn);
	state->owner = me;
	state->basis = USED;
	state->tuple_waits = 0;
	state->kind = kind_of_socket(sk);
	tell_process_once(task, &me);

	u8 has_packet = packet_at && state->has_tuple;
	// Its packet left before the call ends; what it received may have waited long.
	u64 age_ns = 0;
	if (sending && (is_turn || waited))
		age_ns = packet_age_ns(packet_at ? now - packet_at : 0);
	else if (!sending && !is_again && state->kind == DATAGRAM)
		age_ns = packet_age_ns(MOST_TICKS);
	if (waited || (has_packet && is_turn)) {
		struct packet_key key = { .tuple = state->tuple };

		enum told_for told_for = tuple_told_for(state, &key, now);

		if (waited || !state->shared || told_for != ITS_USER) {
			tuple_was_told(state, &key, now);
			tell_socket(sk, state, &state->tuple, SOCKET_USE, USED,
				    state->kind == PACKET ? interface_of_packet_socket(sk) : 0,
				    age_ns);
		}
		// The packet says enough; a turn is one for all that comes in as well.
		if (!is_turn || state->shared || state->kind != DATAGRAM) {
			state->told_at = now;
			return 0;
		}
	} else if (has_packet && is_again) {
		// Its tuple is told again where packets pass.
		state->told_at = now;
		return 0;
	}
	struct use use = { .cookie = state->cookie, .process = me, .shared = state->shared };
	if (!is_turn || state->shared) {
		u64 *told_at = bpf_map_lookup_elem(&told_uses, &use);

		if (told_at && now - *told_at < TELL_AGAIN_TICKS) {
			state->told_at = *told_at;
			return 0;
		}
	}
	state->told_at = now;
	bpf_map_update_elem(&told_uses, &use, &now, 0);
	struct tuple tuple;
	tuple_of_socket(sk, state->kind, &tuple);
	tell_socket(sk, state, &tuple, SOCKET_USE, USED,
		    state->kind == PACKET ? interface_of_packet_socket(sk) : 0, age_ns);
	return 0;
}
