/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events verify: is every event of the services' event stores as it was added? A service that runs has its file to
 * itself and verifies it step by step on our word; the file of one that does not run is read here.
 */
#include "cli.h"

#include "estore.h"
#include "manifest.h"
#include "operator.h"

#include <stdio.h>
#include <unistd.h>

enum { FILE_STEP = 20000, FINDINGS_SHOWN_MAX = 500, OUT_SIZE_MAX = 4 << 20 };

struct verify {
    struct cli *cli;
    const struct manifest *manifest;
    const struct json *status; /* of the supervisor; NULL: none runs */
    const char *head;          /* that was written down; NULL: none */
    int64_t head_position;
    uint8_t head_hash[SHA256_SIZE];
    bool is_terminal;
    struct buf out;
    struct json_writer w;
    int code; /* worst so far */
};

/* One service's store. */
struct target {
    const struct manifest_service *service;
    const char *socket;  /* of one that runs */
    struct db *db;       /* of one that does not; NULL: it has none yet */
    bool is_empty;       /* nothing was ever stored */
    struct estore_check check;
    struct estore_finding of_head; /* when of_head_found */
    bool of_head_found;
    size_t found;
};

/* ---- a running service ---- */

static bool finding_read(const struct json *v, struct estore_finding *f)
{
    struct slice fault = json_string_or(json_get(v, "fault"), SLICE_NONE), stream = json_string_or(json_get(v, "stream"), SLICE_NONE);
    struct slice text = json_string_or(json_get(v, "text"), SLICE_NONE);
    *f = (struct estore_finding){.fault = ESTORE_FAULT_COUNT,
                                 .position = json_i64_or(json_get(v, "position"), 0),
                                 .version = json_i64_or(json_get(v, "version"), 0)};
    for (size_t i = 0; i < ESTORE_FAULT_COUNT; i++)
        if (slice_eq_str(fault, estore_fault_names[i]))
            f->fault = (enum estore_fault)i;
    (void)snprintf(f->stream, sizeof f->stream, SLICE_FMT, SLICE_ARG(stream));
    (void)snprintf(f->text, sizeof f->text, SLICE_FMT, SLICE_ARG(text));
    return f->fault != ESTORE_FAULT_COUNT;
}

/* False: it is no answer of ours. */
static bool answer_read(struct target *t, struct arena *a, const struct json *root)
{
    struct estore_check *k = &t->check;
    const struct json *findings = json_get(root, "findings");
    struct slice hash = json_string_or(json_get(root, "hash"), SLICE_NONE), head = json_string_or(json_get(root, "head"), SLICE_NONE);
    const char *place = arena_printf(a, "0:" SLICE_FMT, SLICE_ARG(hash));
    int64_t zero;
    bool ok = json_i64(json_get(root, "position"), &k->position) && json_i64(json_get(root, "chain"), &k->chain) && place != NULL &&
              estore_head_parse(slice_str(place), &zero, k->hash) && estore_head_parse(head, &k->head_position, k->head_hash) &&
              json_bool(json_get(root, "done"), &k->is_done);
    k->finding_count = 0;
    for (const struct json *v = findings == NULL ? NULL : findings->first; v != NULL && ok; v = v->next) {
        bool is_last = k->finding_count == ESTORE_FINDINGS_MAX; /* then it is the one of the head that was written down */
        ok = !(is_last && t->of_head_found) && finding_read(v, is_last ? &t->of_head : &k->findings[k->finding_count]);
        t->of_head_found |= is_last;
        k->finding_count += !is_last;
    }
    return ok;
}

static int step_running(struct verify *v, struct target *t)
{
    char place[ESTORE_HEAD_TEXT_SIZE];
    const struct json *root = NULL;
    struct cli once = *v->cli; /* answers of a large store would fill the arena */
    arena_init(&once.a, 4 << 20);
    estore_head_format(0, t->check.hash, place);
    const char *target = arena_printf(&once.a, OPERATOR_STORE_PATH "?position=%lld&chain=%lld&hash=%s%s%s", (long long)t->check.position,
                                      (long long)t->check.chain, place + 2, v->head == NULL ? "" : "&head=", v->head == NULL ? "" : v->head);
    const struct cli_request ask = {t->socket, t->service->name, "GET", target, 200, false, t->service->name};
    int code = target == NULL ? EXIT_FAILED : cli_ask(&once, &ask, NULL, NULL, &root);
    if (code == EXIT_OK && !answer_read(t, &once.a, root)) {
        dprintf(2, "ficus: %s answers otherwise than this version of ficus expects\n", t->service->name);
        code = EXIT_FAILED;
    }
    arena_done(&once.a);
    return code;
}

/* ---- a file ---- */

static int file_open(struct verify *v, struct target *t)
{
    struct ficus_error error = {0};
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    bool there = false, noted = false;
    const char *name = t->service->store + strlen("sqlite:");
    const char *path = arena_printf(&v->cli->a, "%s/%s", v->cli->state.data, name);
    const char *note = arena_printf(&v->cli->a, "%s/.%s.made", v->cli->state.data, name);
    enum ficus_err err = path == NULL || note == NULL ? FICUS_ERR_NOMEM : env_file_exists(v->cli->e, path, &there);
    if (err == FICUS_ERR_OK)
        err = env_file_exists(v->cli->e, note, &noted);
    t->is_empty = !there && !noted; /* noted alone: db_open says that it is missing */
    if (err != FICUS_ERR_OK || t->is_empty)
        return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&(struct ficus_error){.code = err});
    err = db_open(v->cli->e, &(struct db_options){.path = path}, &t->db, &error);
    if (err == FICUS_ERR_OK)
        err = db_reader_take(t->db, &c, &error);
    if (err == FICUS_ERR_OK)
        err = db_query(c, &s, &error, "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name GLOB 'ficus_store*')", "");
    int step = err == FICUS_ERR_OK ? db_step(s, &error) : 0;
    t->is_empty = step == 1 && db_i64(s, 0) == 0; /* made by a release that had no event store */
    db_finish(s);
    if (c != NULL)
        db_reader_give(t->db, c);
    return err == FICUS_ERR_OK && step == 1 ? EXIT_OK : cli_fail(&error);
}

static int step_file(struct verify *v, struct target *t)
{
    struct ficus_error error = {0};
    struct db_conn *c = NULL;
    bool is_there = true;
    enum ficus_err err = db_reader_take(t->db, &c, &error);
    if (err == FICUS_ERR_OK)
        err = estore_verify(c, FILE_STEP, &t->check, &error);
    if (err == FICUS_ERR_OK && t->check.is_done && v->head != NULL)
        err = estore_verify_head(c, v->head_position, v->head_hash, &is_there, &t->of_head, &error);
    t->of_head_found = err == FICUS_ERR_OK && !is_there;
    if (c != NULL)
        db_reader_give(t->db, c);
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&error);
}

/* ---- what is shown ---- */

static void put_finding(struct verify *v, const struct target *t, const struct estore_finding *f)
{
    if (v->cli->json) {
        json_write_object(&v->w);
        json_write_kv_str(&v->w, "fault", estore_fault_names[f->fault]);
        json_write_kv_i64(&v->w, "position", f->position);
        json_write_kv_str(&v->w, "stream", f->stream[0] == '\0' ? NULL : f->stream);
        json_write_kv_i64(&v->w, "version", f->version);
        json_write_kv_str(&v->w, "text", f->text);
        json_write_end(&v->w);
        return;
    }
    buf_printf(&v->out, "%s: position %lld", t->service->name, (long long)f->position);
    if (f->stream[0] != '\0')
        buf_printf(&v->out, ", stream %s, version %lld", f->stream, (long long)f->version);
    buf_printf(&v->out, ": %s: %s\n", estore_fault_names[f->fault], f->text);
}

static void put_findings(struct verify *v, struct target *t)
{
    const struct estore_check *k = &t->check;
    size_t count = k->finding_count + (t->of_head_found ? 1 : 0);
    for (size_t i = 0; i < count && t->found + i < FINDINGS_SHOWN_MAX; i++)
        put_finding(v, t, i < k->finding_count ? &k->findings[i] : &t->of_head);
    t->found += count;
}

static void show_progress(const struct verify *v, const struct target *t)
{
    if (v->is_terminal)
        dprintf(2, "\r%s: %lld of %lld events%s", t->service->name, (long long)t->check.position, (long long)t->check.head_position,
                t->check.is_done ? "\r\033[K" : "");
}

static void put_end(struct verify *v, const struct target *t)
{
    char head[ESTORE_HEAD_TEXT_SIZE];
    const struct estore_check *k = &t->check;
    bool has_head = !t->is_empty && k->head_position != INT64_MAX;
    estore_head_format(has_head ? k->head_position : 0, k->head_hash, head);
    if (v->cli->json) {
        json_write_end(&v->w);
        json_write_kv_i64(&v->w, "events", has_head ? k->head_position : 0);
        json_write_kv_str(&v->w, "head", has_head ? head : NULL);
        json_write_kv_bool(&v->w, "intact", t->found == 0);
        json_write_end(&v->w);
    } else if (t->found > 0) {
        buf_printf(&v->out, "%s: %s%zu fault%s%s%s\n", t->service->name, t->found > FINDINGS_SHOWN_MAX ? "more than " : "",
                   t->found > FINDINGS_SHOWN_MAX ? (size_t)FINDINGS_SHOWN_MAX : t->found, t->found == 1 ? "" : "s", has_head ? "; head " : "", has_head ? head : "");
    } else if (!has_head || k->head_position == 0) {
        buf_printf(&v->out, "%s: no events\n", t->service->name);
    } else {
        buf_printf(&v->out, "%s: %lld event%s, intact; head %s\n", t->service->name, (long long)k->head_position, k->head_position == 1 ? "" : "s", head);
    }
}

/* ---- one service ---- */

static bool is_running(const struct verify *v, const char *name)
{
    const struct json *process = v->status == NULL ? NULL : status_process(v->status, name);
    return process != NULL && !slice_eq_str(json_string_or(json_get(process, "state"), SLICE_NONE), "stopped");
}

/* A head was written down of a store in which nothing is. */
static void check_empty(struct verify *v, struct target *t)
{
    if (v->head == NULL || v->head_position == 0)
        return;
    t->of_head = (struct estore_finding){.fault = ESTORE_TRUNCATED, .position = v->head_position, .text = "the store once ended here; now there is none"};
    t->of_head_found = true;
    put_findings(v, t);
}

static int verify_all(struct verify *v, struct target *t)
{
    int code = EXIT_OK;
    if (is_running(v, t->service->name)) {
        t->socket = arena_printf(&v->cli->a, "%s.1.sock", cli_segment(v->cli, t->service->name));
        code = t->socket == NULL ? EXIT_FAILED : EXIT_OK;
    } else {
        code = file_open(v, t);
    }
    if (code == EXIT_OK && t->is_empty)
        check_empty(v, t);
    while (code == EXIT_OK && !t->is_empty && !t->check.is_done && t->found <= FINDINGS_SHOWN_MAX) {
        code = t->socket != NULL ? step_running(v, t) : step_file(v, t);
        if (code != EXIT_OK)
            break;
        show_progress(v, t);
        put_findings(v, t);
    }
    return code;
}

static void verify_one(struct verify *v, const struct manifest_service *service)
{
    struct target t = {.service = service};
    if (v->cli->json) {
        json_write_object(&v->w);
        json_write_kv_str(&v->w, "service", service->name);
        json_write_key(&v->w, "findings");
        json_write_array(&v->w);
    }
    int code = verify_all(v, &t);
    db_close(t.db);
    if (code == EXIT_OK) {
        put_end(v, &t);
    } else if (v->cli->json) {
        json_write_end(&v->w);
        json_write_kv_bool(&v->w, "intact", false);
        json_write_end(&v->w);
    }
    if (!v->cli->json) {
        cli_print(buf_slice(&v->out));
        buf_clear(&v->out);
    }
    if (v->code == EXIT_OK)
        v->code = code != EXIT_OK ? code : t.found > 0 ? EXIT_FAILED : EXIT_OK;
}

/* ---- which ---- */

static bool has_streams(const struct manifest_service *s)
{
    return s->store != NULL && !s->rebuildable;
}

static bool operands_valid(const struct verify *v, const struct command_call *c)
{
    for (size_t i = 0; i < c->operand_count; i++) {
        const struct manifest_service *s = manifest_find_service(v->manifest, c->operands[i]);
        if (s != NULL && has_streams(s))
            continue;
        dprintf(2, "ficus: events verify: %s %s\n", c->operands[i], s == NULL ? "is no service of the manifest" : "has no store of its own, so no events");
        return false;
    }
    return true;
}

static bool head_valid(struct verify *v, const struct command_call *c)
{
    v->head = command_value(c, "head", NULL);
    if (v->head == NULL)
        return true;
    if (!estore_head_parse(slice_str(v->head), &v->head_position, v->head_hash))
        dprintf(2, "ficus: --head: \"%s\" is no head: POSITION:HASH, as this command prints it\n", v->head);
    else if (c->operand_count != 1)
        dprintf(2, "ficus: --head is of one service: name it\n");
    else
        return true;
    return false;
}

static void verify_services(struct verify *v, const struct command_call *c)
{
    int status = 0;
    const struct cli_request ask = {"supervisor.sock", "the supervisor", "GET", "/v1/status", 200, true, NULL};
    if (cli_ask(v->cli, &ask, &status, NULL, &v->status) != EXIT_OK)
        v->status = NULL;
    if (v->cli->json) {
        json_write_init(&v->w, &v->out);
        json_write_object(&v->w);
        json_write_key(&v->w, "services");
        json_write_array(&v->w);
    }
    for (size_t i = 0; i < c->operand_count; i++)
        verify_one(v, manifest_find_service(v->manifest, c->operands[i]));
    for (size_t i = 0; c->operand_count == 0 && i < v->manifest->service_count; i++)
        if (has_streams(&v->manifest->services[i]))
            verify_one(v, &v->manifest->services[i]);
    if (v->cli->json) {
        json_write_end(&v->w);
        json_write_kv_bool(&v->w, "intact", v->code == EXIT_OK);
        json_write_end(&v->w);
        buf_add_char(&v->out, '\n');
        cli_print(buf_slice(&v->out));
    }
}

int cmd_events_verify(const struct command_call *c)
{
    struct cli cli;
    struct conf_errors errors;
    struct manifest *m = NULL;
    const struct manifest_options o = {.part_allowed = false};
    struct verify v = {.cli = &cli, .is_terminal = isatty(2) == 1};
    if (!head_valid(&v, c))
        return EXIT_USAGE;
    buf_init(&v.out, OUT_SIZE_MAX);
    v.code = EXIT_FAILED;
    if (cli_init(&cli, c)) {
        conf_errors_init(&errors, &cli.a);
        v.code = manifest_load(&cli.a, cli.file, &o, &m, &errors) == FICUS_ERR_OK ? EXIT_OK : EXIT_USAGE;
        if (v.code != EXIT_OK)
            cli_print_errors(&errors);
        v.manifest = m;
        if (v.code == EXIT_OK && !operands_valid(&v, c))
            v.code = EXIT_USAGE;
        else if (v.code == EXIT_OK)
            verify_services(&v, c);
    }
    buf_done(&v.out);
    cli_done(&cli);
    return v.code;
}
