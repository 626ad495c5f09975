/* SPDX-License-Identifier: Apache-2.0 */
#include "csv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* A path within single quotes of the shell. */
static void quote(struct text *t, const char *s)
{
    text_str(t, "'");
    for (; *s != '\0'; s++) {
        if (*s == '\'')
            text_str(t, "'\\''");
        else
            text_add(t, s, 1);
    }
    text_str(t, "'");
}

static void load(const char *path, struct text *ret_content)
{
    size_t size = strlen(path);
    bool packed = size > 3 && strcmp(path + size - 3, ".gz") == 0;
    struct text command = {0};
    text_str(&command, "gzip -dc < ");
    quote(&command, path);
    FILE *f = packed ? popen(command.p, "re") : fopen(path, "re");
    if (f == NULL)
        die("%s: %s", path, strerror(errno));
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        text_add(ret_content, block, n);
    int rc = packed ? pclose(f) : ferror(f) + fclose(f);
    if (rc != 0 || ret_content->size == 0)
        die("%s cannot be read", path);
    text_done(&command);
}

/* One field from *p; *p is then behind its comma, or at the end of the record. */
static void field_read(const char **p, const char *end, struct text *ret_field)
{
    const char *s = *p;
    ret_field->size = 0;
    text_str(ret_field, "");
    bool quoted = s < end && *s == '"';
    s += quoted;
    for (; s < end; s++) {
        if (quoted && *s == '"' && s + 1 < end && s[1] == '"')
            s++;
        else if (quoted && *s == '"') {
            quoted = false;
            continue;
        } else if (!quoted && (*s == ',' || *s == '\n' || *s == '\r'))
            break;
        if (*s != '\0')
            text_add(ret_field, s, 1);
    }
    *p = s;
}

/* The fields of one record, all of them allocated; *p is then at the next record. Returns how many there were. */
static size_t record_read(const char **p, const char *end, char *ret_fields[CSV_FIELDS])
{
    struct text field = {0};
    size_t count = 0;
    for (;;) {
        field_read(p, end, &field);
        if (count < CSV_FIELDS)
            ret_fields[count] = utf8_from(field.p);
        count++;
        if (*p >= end || **p != ',')
            break;
        ++*p;
    }
    if (*p < end && **p == '\r')
        ++*p;
    if (*p < end && **p == '\n')
        ++*p;
    text_done(&field);
    for (size_t i = count; i < CSV_FIELDS; i++)
        ret_fields[i] = util_strdup("");
    return count;
}

struct csv_line *csv_read(const char *path, size_t *ret_count)
{
    struct text content = {0};
    struct csv_line *lines = NULL;
    size_t count = 0;
    load(path, &content);
    const char *p = content.p, *end = content.p + content.size;
    for (size_t number = 1; p < end; number++) {
        char *f[CSV_FIELDS];
        size_t fields = record_read(&p, end, f);
        bool empty = fields == 1 && *f[0] == '\0';
        if (number == 1 && strcmp(f[0], "InvoiceNo") != 0)
            die("%s: the first field must be InvoiceNo, it is \"%s\"", path, f[0]);
        if (number > 1 && !empty) {
            lines = util_grow(lines, count, sizeof *lines);
            lines[count++] = (struct csv_line){number, f[0], f[1], f[2], f[3], f[5], f[6], fields == CSV_FIELDS};
            free(f[4]);
            free(f[7]);
            continue;
        }
        for (size_t i = 0; i < CSV_FIELDS; i++)
            free(f[i]);
    }
    text_done(&content);
    *ret_count = count;
    return lines;
}

void csv_free(struct csv_line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(lines[i].invoice);
        free(lines[i].sku);
        free(lines[i].name);
        free(lines[i].quantity);
        free(lines[i].price);
        free(lines[i].customer);
    }
    free(lines);
}
