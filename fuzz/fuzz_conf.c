/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML and the manifest's tables: every error names a place, and what is accepted can be encoded, read back as a resolved file, and
 * encodes to the same text again. The first byte chooses the reader and the table.
 */
#include "assert.h"
#include "conf_yaml.h"
#include "manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct conf_table *table, const void *value, struct buf *out)
{
    struct json_writer w;
    buf_init(out, 64 << 20);
    json_write_init(&w, out);
    conf_encode(table, value, &w);
    FICUS_ASSERT(!buf_failed(out));
}

static void round_trip(const struct conf_table *table, const void *value, void *again, struct arena *a)
{
    struct buf first, second;
    struct ficus_error err = {0};
    encode(table, value, &first);
    if (first.size <= CONF_TEXT_SIZE_MAX) {
        FICUS_ASSERT(conf_json_load(a, buf_slice(&first), "again", table, again, &err) == FICUS_ERR_OK);
        encode(table, again, &second);
        FICUS_ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
        buf_done(&second);
    }
    buf_done(&first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena a;
    struct conf_errors errors;
    struct conf_node *root = NULL;
    struct manifest_service service, service_again;
    struct manifest manifest, manifest_again;
    bool json = data[0] & 1, of_service = data[0] & 2;
    struct slice text = slice_make(data + 1, size - 1);
    arena_init(&a, 256 << 20);
    conf_errors_init(&errors, &a);
    enum ficus_err err = json ? conf_json_parse(&a, text, "file", &root, &errors) : conf_yaml_parse(&a, text, "file", &root, &errors);
    FICUS_ASSERT((err == FICUS_ERR_OK) == (errors.count == 0));
    if (err == FICUS_ERR_OK) {
        const struct conf_table *table = of_service ? &manifest_service_table : &manifest_table;
        void *value = of_service ? (void *)&service : (void *)&manifest;
        if (conf_decode(root, table, CONF_MANIFEST, value, &a, &errors))
            round_trip(table, value, of_service ? (void *)&service_again : (void *)&manifest_again, &a);
    }
    for (const struct conf_error *e = errors.first; e != NULL; e = e->next) {
        FICUS_ASSERT(e->line >= 1);
        FICUS_ASSERT(e->column >= 1);
        FICUS_ASSERT(e->text[0] != '\0');
    }
    arena_done(&a);
    return 0;
}
