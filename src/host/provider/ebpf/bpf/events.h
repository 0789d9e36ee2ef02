// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What the programs tell, byte for byte as raw.rs reads it, and how it leaves.
#pragma once

#include "kernel.h"

enum event_kind {
	PROCESS_START = 1,
	PROCESS_EXEC = 2,
	PROCESS_EXIT = 3,
	SOCKET_OPEN = 4,
	SOCKET_USE = 5,
	SOCKET_CLOSE = 6,
	PROCESS_CHANGE = 7,
};

// In the order of their strength; 0 is none.
enum basis {
	CREATED = 1,
	OPENED = 2,
	USED = 3,
};

enum socket_kind {
	STREAM = 1,
	LISTENER = 2,
	DATAGRAM = 3,
	RAW = 4,
	PING = 5,
	PACKET = 6,
};

struct process_id {
	u64 start_ns; // by the clock that runs from boot, sleep included
	u32 pid;
	u32 programs; // that it and those it comes from ran: another after each exec
};

struct head {
	u64 time_ns; // the same clock
	struct process_id process;
	u8 kind;
	u8 basis;
	u8 unused[6];
};

// Addresses are IPv6's; IPv4 is mapped into it. Ports are in the host's order.
struct tuple {
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u8 protocol;
	u8 unused[3];
};

struct socket_event {
	struct head head;
	u64 since_ns; // the claim reaches back to here; 0: it begins with the event
	u64 cookie;
	u64 inode;
	u32 netns;
	u32 interface_index;
	struct tuple tuple;
	u8 kind;
	u8 dual_stack;
	u8 alone; // others used the socket before and do not now
	u8 unused[5];
};

// Arguments are cut here: longer command lines are rare and told to be cut.
#define ARGS_BYTES 4096
// A path of the kernel is at most 4096 bytes.
#define EXE_BYTES 4096
#define CGROUP_BYTES 2048
// Longest name in a folder, and its end.
#define NAME_BYTES 256
// Folders of a path that are walked. Deeper ones are told without their top.
#define EXE_DEPTH 32
#define CGROUP_DEPTH 16

#define EXE_DELETED 1
#define EXE_FOLDER_WRITABLE 2
#define EXE_CUT 4

// Followed by the arguments, each with a zero at its end, the names of the
// executable's path and of the control group's, from the last to the first.
struct process_event {
	struct head head;
	struct process_id parent;
	u32 uid;
	u32 login_uid;
	u32 session;
	u32 netns;
	u32 args_full_bytes;
	u16 args_bytes;
	u16 exe_bytes;
	u16 cgroup_bytes;
	u8 flags;
	u8 unused[5];
	char comm[16];
	char terminal[16];
	u8 data[ARGS_BYTES + EXE_BYTES + CGROUP_BYTES + NAME_BYTES];
};

// A second of 10,000 program starts with command lines of 600 bytes, or of
// 60,000 socket events: the reader looks each hundredth of a second.
struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

enum lost_kind {
	LOST_RING_FULL = 0,
	LOST_MEMORY = 1,
	LOST_TOO_MANY_TUPLES = 2, // of a socket that is nobody's
	LOST_KINDS = 3,
};

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__uint(max_entries, LOST_KINDS);
	__type(key, u32);
	__type(value, u64);
} lost_events SEC(".maps");

INLINE void lost(u32 kind)
{
	u64 *count = bpf_map_lookup_elem(&lost_events, &kind);

	if (count)
		*count += 1;
}

// The process that runs; 0 for the kernel's own threads, which act for others.
INLINE struct task_struct *current_process(struct process_id *id)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->flags & PF_KTHREAD)
		return 0;
	id->pid = task->tgid;
	id->programs = task->self_exec_id;
	id->start_ns = task->group_leader->start_boottime;
	return task;
}
