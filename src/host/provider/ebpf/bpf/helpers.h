// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The few types, helpers and constants of the kernel's interface that the
// programs use, so that clang alone can build them: no header of libbpf or of
// the kernel has to be installed.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

enum map_type {
	MAP_PERCPU_ARRAY = 6,
	MAP_LRU_HASH = 9,
	MAP_SK_STORAGE = 24,
	MAP_RINGBUF = 27,
};

#define MAP_NO_PREALLOC 1
#define STORAGE_CREATE 1
// User space looks often enough: waking it for each event would cost an
// interrupt each.
#define RING_NO_WAKEUP 1

// Numbers of the helpers are part of the kernel's stable interface.
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value,
				   u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static u64 (*bpf_get_socket_cookie)(void *sk) = (void *)46;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*bpf_probe_read_user)(void *to, u32 bytes, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 bytes, const void *from) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *to, u32 bytes, const void *from) = (void *)115;
static u64 (*bpf_jiffies64)(void) = (void *)118;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 bytes, u64 flags) = (void *)130;
static void *(*bpf_ringbuf_reserve)(void *ring, u64 bytes, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;


// Reads a field of a kernel structure through its relocated offset; zero where
// the pointer leads nowhere.
#define READ(field)                                                             \
	({                                                                      \
		typeof(field) value_;                                           \
		bpf_probe_read_kernel(&value_, sizeof(value_),                  \
				      __builtin_preserve_access_index(&(field))); \
		value_;                                                         \
	})

#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define ENUM_EXISTS(type, name) __builtin_preserve_enum_value(*(typeof(enum type) *)name, 0)
#define ENUM_VALUE(type, name) __builtin_preserve_enum_value(*(typeof(enum type) *)name, 1)

INLINE u16 ntohs(u16 value)
{
	return __builtin_bswap16(value);
}
