/* SPDX-License-Identifier: Apache-2.0
 *
 * Which events of each source came last, so that one that is published again is known: the newest ELOG_RECENT ids of each,
 * as keyed hashes of 128 bits, in memory and in table recent (a row for each record and source, written in the record's
 * transaction). Rows go by generations: a generation is full with ELOG_RECENT ids; when the next one is full too, the one
 * before it is deleted. Retention does not touch them.
 *
 * Of the append job alone, or before the loop runs. When a transaction failed, what it added is still in memory: then
 * elog_recent_load again.
 */
#include "elog_private.h"

#include "mem.h"

enum { NONE = UINT16_MAX, ID_SIZE = 16 };
_Static_assert((int)ELOG_RECENT >= (int)EVENT_AGAIN_MAX + (int)EVENT_BATCH_COUNT_MAX, "what a publisher may publish again");
_Static_assert((int)ELOG_RECENT >= (int)ELOG_RECORD_COUNT, "what is fresh is still there when the record is written");
_Static_assert((int)ELOG_RECENT < (int)NONE, "slots have 16 bits");

struct elog_source {
    struct list fresh;          /* it has ids that no row has */
    struct slice name;
    uint64_t ids[ELOG_RECENT][2];
    uint16_t heads[ELOG_RECENT], nexts[ELOG_RECENT];    /* chains of slots by hash */
    uint32_t count, at;         /* ids; the slot that is written next */
    uint32_t fresh_count;
    uint32_t generation_count;
    int64_t generation, former; /* keys of the rows with which they begin */
    char text[];
};

void elog_recent_done(struct elog_recent *m)
{
    size_t pos = 0;
    struct slice name;
    void *source = NULL;
    while (map_next(&m->sources, &pos, &name, &source))
        mem_free(source);
    map_done(&m->sources);
    list_init(&m->fresh);
    m->is_loaded = false;
}

static struct elog_source *source_get(struct elog_recent *m, struct slice name)
{
    struct elog_source *s = map_get(&m->sources, name);
    if (s != NULL)
        return s;
    s = mem_zalloc(sizeof *s + name.size + 1);
    if (s == NULL)
        return NULL;
    memcpy(s->text, name.p, name.size);
    s->name = slice_make(s->text, name.size);
    memset(s->heads, 0xff, sizeof s->heads);
    list_init(&s->fresh);
    if (map_put(&m->sources, name, s))
        return s;
    mem_free(s);
    return NULL;
}

/* ---- ids of a source ---- */

static bool id_known(const struct elog_source *s, const uint64_t id[2])
{
    for (uint16_t i = s->heads[id[0] % ELOG_RECENT]; i != NONE; i = s->nexts[i])
        if (s->ids[i][0] == id[0] && s->ids[i][1] == id[1])
            return true;
    return false;
}

static void slot_unlink(struct elog_source *s, uint16_t slot)
{
    uint16_t *link = &s->heads[s->ids[slot][0] % ELOG_RECENT];
    while (*link != slot)
        link = &s->nexts[*link];
    *link = s->nexts[slot];
}

/* The oldest makes room. */
static void id_add(struct elog_source *s, const uint64_t id[2])
{
    uint16_t slot = (uint16_t)s->at;
    if (s->count == ELOG_RECENT)
        slot_unlink(s, slot);
    else
        s->count++;
    s->at = (s->at + 1) % ELOG_RECENT;
    s->ids[slot][0] = id[0];
    s->ids[slot][1] = id[1];
    uint16_t *head = &s->heads[id[0] % ELOG_RECENT];
    s->nexts[slot] = *head;
    *head = slot;
}

static void id_hash(const struct elog_recent *m, struct slice id, uint64_t ret_hash[2])
{
    ret_hash[0] = hash_sip13(m->keys, id.p, id.size);
    ret_hash[1] = hash_sip13(m->keys + 2, id.p, id.size);
}

bool elog_recent_knows(const struct elog_recent *m, const struct event *ev)
{
    uint64_t hash[2];
    const struct elog_source *s = map_get(&m->sources, ev->source);
    if (s == NULL)
        return false;
    id_hash(m, ev->id, hash);
    return id_known(s, hash);
}

enum ficus_err elog_recent_add(struct elog_recent *m, const struct event *ev)
{
    uint64_t hash[2];
    struct elog_source *s = source_get(m, ev->source);
    if (s == NULL)
        return FICUS_ERR_NOMEM;
    id_hash(m, ev->id, hash);
    id_add(s, hash);
    if (s->fresh_count++ == 0)
        list_add_tail(&m->fresh, &s->fresh);
    return FICUS_ERR_OK;
}

/* ---- rows ---- */

/* A row with this key has so many ids more. True: two generations are full, what is older than `former` may go. */
static bool generation_count(struct elog_source *s, int64_t key, uint32_t count)
{
    if (s->generation_count >= ELOG_RECENT) {
        s->former = s->generation;
        s->generation = key;
        s->generation_count = count;
        return true;
    }
    if (s->generation == 0)
        s->generation = key;
    s->generation_count += count;
    return false;
}

static void id_write(char *to, const uint64_t id[2])
{
    for (int i = 0; i < ID_SIZE; i++)
        to[i] = (char)(unsigned char)(id[i / 8] >> (8 * (i % 8)));
}

static void id_read(const char *from, uint64_t ret_id[2])
{
    ret_id[0] = ret_id[1] = 0;
    for (int i = 0; i < ID_SIZE; i++)
        ret_id[i / 8] |= (uint64_t)(unsigned char)from[i] << (8 * (i % 8));
}

static enum ficus_err source_store(struct elog_source *s, struct db_conn *c, int64_t key, struct ficus_error *reterr)
{
    char ids[ELOG_RECORD_COUNT * ID_SIZE];
    uint32_t count = s->fresh_count, slot = (s->at + ELOG_RECENT - count) % ELOG_RECENT;
    FICUS_ASSERT(count <= ELOG_RECORD_COUNT);
    for (uint32_t i = 0; i < count; i++, slot = (slot + 1) % ELOG_RECENT)
        id_write(ids + (size_t)i * ID_SIZE, s->ids[slot]);
    s->fresh_count = 0;
    enum ficus_err err = db_exec(c, reterr, "INSERT INTO recent(source, record, ids) VALUES(?, ?, ?)", "Sib", s->name, key,
        slice_make(ids, (size_t)count * ID_SIZE));
    if (err == FICUS_ERR_OK && generation_count(s, key, count))
        err = db_exec(c, reterr, "DELETE FROM recent WHERE source = ? AND record < ?", "Si", s->name, s->former);
    return err;
}

enum ficus_err elog_recent_store(struct elog_recent *m, struct db_conn *c, int64_t key, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (struct list *it; err == FICUS_ERR_OK && (it = list_pop_head(&m->fresh)) != NULL;)
        err = source_store(CONTAINER_OF(it, struct elog_source, fresh), c, key, reterr);
    return err;
}

/* ---- loading ---- */

static enum ficus_err keys_load(struct elog_recent *m, struct db_conn *c, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT a, b, c, d FROM recent_key", "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    for (int i = 0; row == 1 && i < 4; i++)
        m->keys[i] = (uint64_t)db_i64(s, i);
    db_finish(s);
    if (err != FICUS_ERR_OK || row != 0)
        return row < 0 ? (enum ficus_err)-row : err;
    env_random(m->env, m->keys, sizeof m->keys);
    return db_exec(c, reterr, "INSERT INTO recent_key(a, b, c, d) VALUES(?, ?, ?, ?)", "iiii", (int64_t)m->keys[0], (int64_t)m->keys[1],
        (int64_t)m->keys[2], (int64_t)m->keys[3]);
}

static enum ficus_err row_load(struct elog_recent *m, struct db_stmt *row, struct ficus_error *reterr)
{
    struct slice ids = db_blob(row, 2);
    struct elog_source *s = source_get(m, db_text(row, 0));
    if (s == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    for (; ids.size >= ID_SIZE; ids = slice_from(ids, ID_SIZE)) {
        uint64_t id[2];
        id_read(ids.p, id);
        id_add(s, id);
    }
    (void)generation_count(s, db_i64(row, 1), (uint32_t)(db_blob(row, 2).size / ID_SIZE));
    return FICUS_ERR_OK;
}

enum ficus_err elog_recent_load(struct elog_recent *m, struct db_conn *c, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int row = 0;
    elog_recent_done(m);
    enum ficus_err err = keys_load(m, c, reterr);
    if (err == FICUS_ERR_OK)
        err = db_query(c, &s, reterr, "SELECT source, record, ids FROM recent ORDER BY source, record", "");
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) == 1)
        err = row_load(m, s, reterr);
    db_finish(s);
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err)-row;
    m->is_loaded = err == FICUS_ERR_OK;
    return err;
}
