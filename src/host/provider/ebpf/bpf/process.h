// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Tells a process with all that flows say of it, at once: one that lives for
// ten milliseconds is gone before anybody could ask /proc.
#pragma once

#include "events.h"

// One for a CPU is enough: tracepoints run with preemption off, and none that
// runs in an interrupt tells processes.
struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct process_event);
} process_scratch SEC(".maps");

// What changes of a process without an event of its own.
struct told_process {
	u64 start_ns;
	u32 uid;
	u32 session;
	u64 exe_is_deleted;
};

// Processes that were told, by pid, and as what. The least recently used go when
// it is full, and are told again when they use a socket.
struct {
	__uint(type, MAP_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, u32);
	__type(value, struct told_process);
} told_processes SEC(".maps");

INLINE void look_at_process(struct task_struct *task, struct told_process *process)
{
	struct task_struct *leader = READ(task->group_leader);
	struct cred *cred = READ(task->cred);
	struct signal_struct *signal = READ(task->signal);
	struct pid *session = READ(signal->pids[PIDTYPE_SID]);
	struct mm_struct *mm = READ(task->mm);
	struct file *exe = READ(mm->exe_file);
	struct dentry *entry = READ(exe->f_path.dentry);

	process->start_ns = READ(leader->start_boottime);
	process->uid = READ(cred->uid.val);
	process->session = READ(session->numbers[0].nr);
	process->exe_is_deleted = entry && !READ(entry->d_hash.pprev);
}

// Bytes written, from `at` on.
NOINLINE u32 names_of_path(struct process_event *event, u32 at, struct file *exe)
{
	struct dentry *entry = READ(exe->f_path.dentry);
	struct vfsmount *vfs = READ(exe->f_path.mnt);
	struct mount *mount =
		(void *)vfs - __builtin_preserve_field_info(((struct mount *)0)->mnt, 0);
	u32 from = at;

	for (int depth = 0; depth < EXE_DEPTH; depth++) {
		struct dentry *parent = READ(entry->d_parent);

		// Several mounts can lie on one another, hence the second time.
		for (int again = 0; again < 3; again++) {
			if (entry != READ(vfs->mnt_root) && entry != parent)
				break;
			struct mount *above = READ(mount->mnt_parent);
			if (!above || above == mount)
				return at - from;
			entry = READ(mount->mnt_mountpoint);
			mount = above;
			vfs = __builtin_preserve_access_index(&mount->mnt);
			parent = READ(entry->d_parent);
		}
		if (at > ARGS_BYTES + EXE_BYTES - NAME_BYTES)
			break;
		long bytes = bpf_probe_read_kernel_str(&event->data[at], NAME_BYTES,
						       READ(entry->d_name.name));
		if (bytes <= 0 || bytes > NAME_BYTES)
			break;
		at += bytes;
		entry = parent;
	}
	event->flags |= EXE_CUT;
	return at - from;
}

NOINLINE u32 names_of_cgroup(struct process_event *event, u32 at, struct cgroup *cgroup)
{
	struct kernfs_node *node = READ(cgroup->kn);
	u32 from = at;

	for (int depth = 0; depth < CGROUP_DEPTH; depth++) {
		struct kernfs_node___before_6_15 *old = (void *)node;
		struct kernfs_node *parent;

		if (FIELD_EXISTS(node->__parent))
			parent = READ(node->__parent);
		else
			parent = READ(old->parent);
		if (!parent || at > ARGS_BYTES + EXE_BYTES + CGROUP_BYTES - NAME_BYTES)
			break;
		long bytes = bpf_probe_read_kernel_str(&event->data[at], NAME_BYTES,
						       READ(node->name));
		if (bytes <= 0 || bytes > NAME_BYTES)
			break;
		at += bytes;
		node = parent;
	}
	return at - from;
}

INLINE struct cgroup *memory_cgroup(struct css_set *set)
{
	if (!ENUM_EXISTS(cgroup_subsys_id, memory_cgrp_id))
		return 0;
	struct cgroup_subsys_state **states =
		(void *)__builtin_preserve_access_index(&set->subsys[0]);
	struct cgroup_subsys_state *state = 0;
	u64 index = ENUM_VALUE(cgroup_subsys_id, memory_cgrp_id);

	bpf_probe_read_kernel(&state, sizeof(state), states + index);
	return READ(state->cgroup);
}

NOINLINE int tell_process(struct task_struct *task, u8 kind)
{
	u32 zero = 0;
	struct process_event *event = bpf_map_lookup_elem(&process_scratch, &zero);

	if (!event)
		return 0;
	struct task_struct *leader = READ(task->group_leader);
	struct task_struct *parent = READ(task->real_parent);
	struct task_struct *parent_leader = READ(parent->group_leader);
	struct mm_struct *mm = READ(task->mm);
	struct signal_struct *signal = READ(task->signal);
	struct css_set *groups = READ(task->cgroups);
	struct told_process told = {};

	look_at_process(task, &told);
	event->head.time_ns = bpf_ktime_get_boot_ns();
	event->head.process.pid = READ(task->tgid);
	event->head.process.start_ns = told.start_ns;
	event->head.kind = kind;
	event->parent.pid = READ(parent->tgid);
	event->parent.start_ns = READ(parent_leader->start_boottime);
	event->uid = told.uid;
	event->login_uid = FIELD_EXISTS(task->loginuid) ? READ(task->loginuid.val) : ~0U;
	event->session = told.session;
	struct nsproxy *spaces = READ(task->nsproxy);
	struct net *net = READ(spaces->net_ns);
	event->netns = READ(net->ns.inum);
	struct tty_struct *tty = READ(signal->tty);
	event->terminal[0] = 0;
	if (tty)
		bpf_probe_read_kernel_str(event->terminal, sizeof(event->terminal),
					  __builtin_preserve_access_index(&tty->name));
	bpf_probe_read_kernel_str(event->comm, sizeof(event->comm),
				  __builtin_preserve_access_index(&leader->comm));

	// Read through the process that runs: itself, or the parent whose memory a
	// new child still shares page by page.
	u64 args_start = READ(mm->arg_start);
	u64 args_bytes = READ(mm->arg_end) - args_start;
	event->args_full_bytes = args_bytes > ~0U ? ~0U : args_bytes;
	if (args_bytes > ARGS_BYTES)
		args_bytes = ARGS_BYTES;
	if (!args_start || bpf_probe_read_user(event->data, args_bytes, (void *)args_start))
		args_bytes = 0;
	event->args_bytes = args_bytes;

	u32 end = args_bytes;
	struct file *exe = READ(mm->exe_file);
	event->flags = 0;
	event->exe_bytes = 0;
	if (exe) {
		struct dentry *entry = READ(exe->f_path.dentry);
		struct dentry *folder = READ(entry->d_parent);
		struct inode *folder_inode = READ(folder->d_inode);

		if (told.exe_is_deleted)
			event->flags |= EXE_DELETED;
		if (READ(folder_inode->i_mode) & 2)
			event->flags |= EXE_FOLDER_WRITABLE;
		event->exe_bytes = names_of_path(event, end, exe);
		end += event->exe_bytes;
	}
	if (end > ARGS_BYTES + EXE_BYTES)
		return 0;
	// Where the unified hierarchy only holds the root, control groups are the
	// old ones, and memory's says most.
	event->cgroup_bytes = names_of_cgroup(event, end, READ(groups->dfl_cgrp));
	if (!event->cgroup_bytes) {
		struct cgroup *memory = memory_cgroup(groups);

		if (memory)
			event->cgroup_bytes = names_of_cgroup(event, end, memory);
	}
	end += event->cgroup_bytes;
	if (end > ARGS_BYTES + EXE_BYTES + CGROUP_BYTES)
		return 0;

	if (bpf_ringbuf_output(&events, event, __builtin_offsetof(struct process_event, data) + end,
			       RING_NO_WAKEUP)) {
		lost(LOST_RING_FULL);
		return 0;
	}
	bpf_map_update_elem(&told_processes, &event->head.process.pid, &told, 0);
	return 0;
}

// What there is to tell of the process that runs; 0 when all was. It may be from
// before the programs came, or lost; it may have taken another user or left its
// session since, or its executable was deleted.
INLINE u8 process_news(struct task_struct *task, const struct process_id *id)
{
	struct told_process *told = bpf_map_lookup_elem(&told_processes, &id->pid);
	struct told_process is = {};

	if (!told || told->start_ns != id->start_ns)
		return PROCESS_START;
	look_at_process(task, &is);
	if (is.uid == told->uid && is.session == told->session &&
	    is.exe_is_deleted == told->exe_is_deleted)
		return 0;
	return PROCESS_CHANGE;
}

INLINE void tell_process_once(struct task_struct *task, const struct process_id *id)
{
	u8 news = process_news(task, id);

	if (news)
		tell_process(task, news);
}
