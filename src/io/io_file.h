/* SPDX-License-Identifier: Apache-2.0
 *
 * env's file functions on the Linux file calls; the contract is in base/env.h. Private to src/io.
 */
#ifndef FICUS_IO_FILE_H
#define FICUS_IO_FILE_H

#include "env.h"

enum ficus_err file_os_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file,
                            struct ficus_error *reterr);
void file_os_close(struct env_file *f);
ssize_t file_os_read(struct env_file *f, void *p, size_t size, int64_t offset);
enum ficus_err file_os_write(struct env_file *f, const void *p, size_t size, int64_t offset);
enum ficus_err file_os_truncate(struct env_file *f, int64_t size);
enum ficus_err file_os_sync(struct env_file *f);
enum ficus_err file_os_size(struct env_file *f, int64_t *ret_size);
enum ficus_err file_os_lock(struct env_file *f, int64_t offset, int64_t size);
enum ficus_err file_os_unlink(struct env *e, const char *path);
enum ficus_err file_os_rename(struct env *e, const char *from, const char *to);
enum ficus_err file_os_exists(struct env *e, const char *path, bool *ret_exists);
enum ficus_err file_os_in_place(struct env *e, struct env_file *f, const char *path, bool *ret_in_place);
enum ficus_err file_os_dir_sync(struct env *e, const char *path_in_dir);

/* Who counts the durable writes of e's process (io_crash.h); NULL: nobody. env_uv.c has it. */
struct crash;
struct crash *file_os_crash(struct env *e);

#endif
