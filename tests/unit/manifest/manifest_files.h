/* SPDX-License-Identifier: Apache-2.0
 *
 * A throw-away folder with the files of a manifest, for tests.
 */
#ifndef FICUS_TESTS_MANIFEST_FILES_H
#define FICUS_TESTS_MANIFEST_FILES_H

#include "manifest.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct files {
    char folder[256];
};

static inline void files_init(struct files *f)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(f->folder, sizeof f->folder, "%s/ficus-manifest-XXXXXX", tmp != NULL && strlen(tmp) < 200 ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->folder));
}

static inline int files_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void files_done(struct files *f)
{
    assert_int_equal(nftw(f->folder, files_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Absolute path of a file in the folder. */
static inline const char *files_path(struct files *f, const char *name, char *buf, size_t size)
{
    assert_true(snprintf(buf, size, "%s/%s", f->folder, name) < (int)size);
    return buf;
}

/* NAME.pem and NAME.key: a certificate for these names that signs itself. */
static inline void files_certificate(struct files *f, const char *name, const char *names)
{
    char command[900];
    (void)snprintf(command, sizeof command,
                   "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=%s "
                   "-addext subjectAltName=%s -keyout %s.key -out %s.pem 2>/dev/null",
                   f->folder, name, names, name, name);
    assert_int_equal(system(command), 0);
}

/* Write a file, making the folders on its way. */
static inline void files_put(struct files *f, const char *name, const char *text)
{
    char path[512];
    (void)files_path(f, name, path, sizeof path);
    for (char *p = path + strlen(f->folder) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(path, 0700);    /* it may be there */
        *p = '/';
    }
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    assert_int_equal(fputs(text, out) < 0, 0);
    assert_int_equal(fclose(out), 0);
}

/* Of the folder's ficus.yaml. Its errors, without the folder before each file, take the place of the text. */
static inline enum ficus_err manifest_files_load(struct files *f, struct arena *a, const struct manifest_options *options, struct manifest **ret_manifest,
                                                 struct conf_errors *errors, struct buf *text)
{
    char path[512];
    struct buf all;
    conf_errors_init(errors, a);
    enum ficus_err err = manifest_load(a, files_path(f, "ficus.yaml", path, sizeof path), options, ret_manifest, errors);
    buf_init(&all, 1 << 16);
    conf_errors_print(errors, &all);
    buf_clear(text);
    size_t size = strlen(f->folder);
    for (const char *p = buf_str(&all); *p != '\0'; p++) {
        if (strncmp(p, f->folder, size) == 0)
            p += size + 1;
        (void)buf_add_char(text, *p);
    }
    buf_done(&all);
    return err;
}

#endif
