/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of manifest/ share. Not for other floors.
 */
#ifndef FICUS_MANIFEST_MANIFEST_PRIVATE_H
#define FICUS_MANIFEST_MANIFEST_PRIVATE_H

#include "manifest.h"

/* ---- manifest_words.c: settings with a syntax of their own ---- */

extern const struct conf_custom manifest_target_custom;     /* struct manifest_target */
extern const struct conf_custom manifest_part_custom;       /* the same, with a path, which may have {jwt.sub} and a query */
extern const struct conf_custom manifest_command_custom;    /* struct manifest_command */
extern const struct conf_custom manifest_schemas_custom;    /* struct manifest_schemas; manifest_schemas.c */
const char *manifest_check_peer(struct slice text);         /* whom a certificate names */
const char *manifest_check_listen(struct slice text);
const char *manifest_check_host(struct slice text);
const char *manifest_check_store(struct slice text);
const char *manifest_check_log(struct slice text);
const char *manifest_check_template(struct slice text);     /* "/api/v1/orders/{id}/ **" without the blank */
const char *manifest_check_email(struct slice text);
const char *manifest_check_system(struct slice text);
const char *manifest_check_topic(struct slice text);
const char *manifest_check_key(struct slice text);
const char *manifest_check_group_to(struct slice text);
const char *manifest_check_service(struct slice text);      /* a name that is none of Ficus' own processes */
const char *manifest_check_folder(struct slice text);       /* relative, inside the service's folder */
const char *manifest_check_inside(struct slice text);       /* relative, inside the folder of this file */
const char *manifest_check_glob(struct slice text);

#define MANIFEST_USER "{jwt.sub}"   /* in templates of parts: the user's id */
/* Whether the template has {name}; whether it ends in "**". */
bool manifest_template_has(struct slice path, struct slice name);
bool manifest_template_has_rest(struct slice path);
/* The next {name} at or after *at: true, *ret_name set and *at behind it. */
bool manifest_template_next(struct slice path, size_t *at, struct slice *ret_name);

/* ---- manifest_schedule.c ---- */
const char *manifest_check_clock(struct slice text);        /* "02:00" */
/* From 1970-01-01 UTC to the schedule's first time behind it: less than every_ms. */
int64_t manifest_schedule_phase(const struct manifest_schedule *s);
void manifest_check_schedules(const struct manifest_service *s, struct conf_errors *errors);

/* ---- manifest_check.c ---- */

/* Everything that needs more than one setting. Adds errors. Also fills in what is derived from checks: owners of sagas. */
void manifest_check(struct manifest *m, struct arena *a, struct conf_errors *errors);

/* ---- manifest_sagas.c: called by the above when nothing was wrong before ---- */

void manifest_check_sagas(const struct manifest *m, struct arena *a, struct conf_errors *errors);
/* NULL: there is none of this name. */
const struct saga_def *manifest_find_saga(const struct manifest *m, const char *name);

/* ---- manifest_flows.c: called by the above. all_decoded: nothing was wrong before ---- */

void manifest_check_flows(struct manifest *m, struct arena *a, struct conf_errors *errors, bool all_decoded);

/* ---- manifest_schemas.c ---- */

/* Reads and compiles the schemas of topics, looks whether each reads the one before, and, when nothing else is wrong, whether they are what is
 * registered. */
void manifest_check_schemas(struct manifest *m, struct arena *a, struct conf_errors *errors);
/* What is to be registered, as text of that file. False: there is nothing to register. */
bool manifest_write_registered(const struct manifest *m, struct buf *out);

/* ---- manifest_os.c: files, directly ---- */

enum ficus_err manifest_read_file(struct arena *a, const char *path, size_t size_max, struct slice *ret_text, struct ficus_error *reterr);
/* Absolute path without links, in the arena. */
enum ficus_err manifest_real_path(struct arena *a, const char *path, const char **ret_path, struct ficus_error *reterr);
/* Paths that match folder/pattern, sorted; folder is taken literally. At most count_max, else TOO_LARGE. */
enum ficus_err manifest_glob(struct arena *a, const char *folder, const char *pattern, size_t count_max, const char *const **ret_paths,
                             size_t *ret_count, struct ficus_error *reterr);
/* Names of the entries of a folder, sorted. */
enum ficus_err manifest_list(struct arena *a, const char *folder, size_t count_max, const char *const **ret_names, size_t *ret_count,
                             struct ficus_error *reterr);
bool manifest_is_folder(const char *path);
bool manifest_is_file(const char *path);
int64_t manifest_now_ms(void);     /* wall clock, ms since 1970 */
/* Write PATH.tmp, 0600, synced; then put it in its place, folder synced; or give it up. */
enum ficus_err manifest_stage_file(const char *path, struct slice text, struct ficus_error *reterr);
enum ficus_err manifest_place_file(const char *path, struct ficus_error *reterr);
void manifest_unstage_file(const char *path);
/* The folder part of a path, "." when it has none. In the arena. */
const char *manifest_dirname(struct arena *a, const char *path);

/* render. Does a route of the gateway, or its auth, lead to the service? Only when all was decoded without error. */
bool manifest_gateway_calls(const struct manifest *m, const char *service);

#endif
