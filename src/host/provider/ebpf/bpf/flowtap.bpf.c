// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Which process each socket and each packet belongs to, seen where the kernel
// itself knows: at the end of every call that sends or receives, when a TCP
// socket changes its state, and when a packet is handed to an interface. What
// costs something is done once for a socket, a process or a tuple; then a call
// costs one look into the socket, and a forwarded packet one comparison.

#include "packet.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("tp_btf/sock_send_length")
int sock_send_length(u64 *ctx)
{
	return used((struct sock *)ctx[0], (int)ctx[1], 1);
}

SEC("tp_btf/sock_recv_length")
int sock_recv_length(u64 *ctx)
{
	return used((struct sock *)ctx[0], (int)ctx[1], 0);
}

SEC("tp_btf/net_dev_queue")
int net_dev_queue(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sock *sk = skb->sk;

	if (!sk)
		return 0;
	u16 family = sk->__sk_common.skc_family;
	u8 state = sk->__sk_common.skc_state;

	if (family == AF_PACKET)
		return packet_of_datagram_socket(skb, sk, family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	// In these three states it is a full socket, not a request or a remainder.
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE && state != TCP_SYN_SENT)
		return 0;
	u16 type = sk->sk_type;
	if (type == SOCK_RAW)
		return packet_of_datagram_socket(skb, sk, family);
	if (type == SOCK_DGRAM) {
		// A connected one knows its addresses, and the call tells them.
		if (state == TCP_ESTABLISHED && sk->sk_protocol == IPPROTO_UDP)
			return 0;
		return packet_of_datagram_socket(skb, sk, family);
	}
	if (state != TCP_SYN_SENT)
		return 0;
	// The first packet of a connection: only now its own port is known.
	struct socket_state *known = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!known || known->syn_told)
		return 0;
	known->syn_told = 1;
	known->kind = STREAM;
	struct tuple tuple;
	tuple_of_socket(sk, STREAM, &tuple);
	tell_socket(sk, known, &tuple, SOCKET_OPEN, OPENED, 0, 0);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int inet_sock_set_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int to = (int)ctx[2];
	struct socket_state *state;
	struct tuple tuple;

	if (to == TCP_CLOSE) {
		state = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (!state || !state->told)
			return 0;
		tuple_of_socket(sk, state->kind, &tuple);
		tell_socket(sk, state, &tuple, SOCKET_CLOSE, state->basis, 0, 0);
		state->told = 0;
		return 0;
	}
	if (to != TCP_SYN_SENT && to != TCP_LISTEN)
		return 0;
	struct process_id me = {};
	struct task_struct *task = current_process(&me);
	if (!task)
		return 0;
	state = bpf_sk_storage_get(&sockets, sk, 0, STORAGE_CREATE);
	if (!state) {
		lost(LOST_MEMORY);
		return 0;
	}
	state->owner = me;
	state->basis = OPENED;
	state->syn_told = 0;
	if (!state->cookie)
		state->cookie = bpf_get_socket_cookie(sk);
	learn_socket(sk, state);
	tell_process_once(task, &me);
	if (to == TCP_LISTEN) {
		state->kind = LISTENER;
		tuple_of_socket(sk, LISTENER, &tuple);
		tell_socket(sk, state, &tuple, SOCKET_OPEN, OPENED, 0, 0);
	}
	return 0;
}

// The context of the hooks of control groups: part of the stable interface.
struct bpf_sock {
	u32 bound_dev_if;
	u32 family;
	u32 type;
	u32 protocol;
	u32 mark;
	u32 priority;
	u32 src_ip4;
	u32 src_ip6[4];
	u32 src_port; // in the host's order
};

// Must return 1: anything else would forbid the socket.
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	struct process_id me = {};

	if (!current_process(&me))
		return 1;
	struct socket_state *state = bpf_sk_storage_get(&sockets, ctx, 0, STORAGE_CREATE);
	if (state) {
		state->owner = me;
		state->basis = CREATED;
		state->cookie = bpf_get_socket_cookie(ctx);
	} else {
		lost(LOST_MEMORY);
	}
	return 1;
}

// A datagram socket that only waits is used by nobody and has packets all the same.
INLINE int bound(struct bpf_sock *ctx, const struct tuple *tuple)
{
	struct process_id me = {};
	struct task_struct *task = current_process(&me);

	if (!task || ctx->type != SOCK_DGRAM ||
	    (ctx->protocol != IPPROTO_UDP && ctx->protocol != IPPROTO_UDPLITE))
		return 1;
	struct socket_state *state = bpf_sk_storage_get(&sockets, ctx, 0, STORAGE_CREATE);
	if (!state) {
		lost(LOST_MEMORY);
		return 1;
	}
	if (!state->cookie)
		state->cookie = bpf_get_socket_cookie(ctx);
	if (!state->netns) {
		struct nsproxy *spaces = READ(task->nsproxy);
		struct net *net = READ(spaces->net_ns);

		state->netns = READ(net->ns.inum);
	}
	state->owner = me;
	state->basis = OPENED;
	state->kind = DATAGRAM;
	tell_socket(0, state, tuple, SOCKET_OPEN, OPENED, 0, 0);
	return 1;
}

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx)
{
	struct tuple tuple = { .local_port = ctx->src_port, .protocol = ctx->protocol };

	map_ipv4(tuple.local, ctx->src_ip4);
	return bound(ctx, &tuple);
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx)
{
	struct tuple tuple = { .local_port = ctx->src_port, .protocol = ctx->protocol };
	u32 *words = (u32 *)tuple.local;

	words[0] = ctx->src_ip6[0];
	words[1] = ctx->src_ip6[1];
	words[2] = ctx->src_ip6[2];
	words[3] = ctx->src_ip6[3];
	return bound(ctx, &tuple);
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	struct socket_state *state = bpf_sk_storage_get(&sockets, ctx, 0, 0);

	// TCP goes on after its last descriptor has gone; its state tells its end.
	if (state && state->told && state->kind != STREAM && state->kind != LISTENER)
		tell_socket(0, state, &state->tuple, SOCKET_CLOSE, state->basis, 0, 0);
	return 1;
}

SEC("tp_btf/sched_process_exec")
int sched_process_exec(u64 *ctx)
{
	return tell_process((struct task_struct *)ctx[0], PROCESS_EXEC);
}

SEC("tp_btf/sched_process_fork")
int sched_process_fork(u64 *ctx)
{
	struct task_struct *child = (struct task_struct *)ctx[1];

	if (child->pid != child->tgid) // a thread
		return 0;
	return tell_process(child, PROCESS_START);
}

SEC("tp_btf/sched_process_exit")
int sched_process_exit(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	u32 pid = task->tgid;

	if (task->signal->live.counter) // other threads go on
		return 0;
	bpf_map_delete_elem(&told_processes, &pid);
	struct head *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		lost(LOST_RING_FULL);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_boot_ns();
	event->process.pid = pid;
	event->process.start_ns = task->group_leader->start_boottime;
	event->kind = PROCESS_EXIT;
	bpf_ringbuf_submit(event, RING_NO_WAKEUP);
	return 0;
}
