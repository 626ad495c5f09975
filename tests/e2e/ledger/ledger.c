/* SPDX-License-Identifier: Apache-2.0
 *
 * The service of tests/e2e/saga_matrix.py: a saga's owner and its only participant, in two makes. `effect: stored` keeps its entries in
 * its store, as it should; `effect: file` appends them to a file of its own before the transaction commits, a mistake that only a kill
 * between the two brings to light.
 */
#include <ficus/ficus.h>

#include <stdio.h>
#include <string.h>

enum { AMOUNT = 100, LINE_SIZE = 256 };

static bool in_file(struct ficus_req *req)
{
    const char *effect = ficus_setting(req, "effect");
    return effect != NULL && strcmp(effect, "file") == 0;
}

static int sum_reply(struct ficus_req *req, int status, int64_t sum)
{
    struct ficus_out *o = ficus_reply(req, status);
    ficus_out_object(o, NULL);
    ficus_out_int(o, "sum", sum);
    ficus_out_end(o);
    return 0;
}

/* The mistake: it is there whether the transaction commits or not. */
static int file_add(struct ficus_req *req, const char *id)
{
    const char *path = ficus_printf(req, "%s/entries", ficus_private_dir(req));
    FILE *f = path == NULL ? NULL : fopen(path, "ae");
    if (f == NULL)
        return -1;
    int written = fprintf(f, "%s\n", id);
    return fclose(f) == 0 && written > 0 ? 0 : -1;
}

static int64_t file_sum(struct ficus_req *req, const char *id)
{
    char line[LINE_SIZE];
    const char *path = ficus_printf(req, "%s/entries", ficus_private_dir(req));
    FILE *f = path == NULL ? NULL : fopen(path, "re");
    int64_t sum = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        sum += strcmp(line, id) == 0 ? AMOUNT : 0;
    }
    if (f != NULL)
        (void)fclose(f); /* only read */
    return sum;
}

static int booking_post(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    const char *id = body == NULL ? NULL : ficus_json_str(req, ficus_json_get(body, "id"));
    if (body == NULL)
        return -1;
    if (id == NULL)
        return ficus_problem(req, 422, "no_id", "a booking has an id");
    struct ficus_out *data = ficus_out_new(req);
    ficus_out_object(data, NULL);
    ficus_out_str(data, "id", id);
    ficus_out_end(data);
    if (ficus_tx(req) != 0 || ficus_emit(req, "booking.placed", id, ficus_out_text(data)) != 0)
        return -1;
    return sum_reply(req, 202, 0);
}

static int entry_put(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    if (ficus_tx(req) != 0)
        return -1;
    switch (ficus_step_do(req, "entry", id)) {
    case FICUS_STEP_FRESH:
        break;
    case FICUS_STEP_REPEATED:
        return sum_reply(req, 200, AMOUNT);
    case FICUS_STEP_REFUSED:
        return ficus_step_refused(req, "entry", id);
    default:
        return -1;
    }
    if ((in_file(req) ? file_add(req, id) : ficus_exec(req, "INSERT INTO entry (id, sum) VALUES (?, ?)", "si", id, (int64_t)AMOUNT)) != 0)
        return -1;
    return sum_reply(req, 200, AMOUNT);
}

static int entry_delete(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    int step = ficus_tx(req) != 0 ? -1 : ficus_step_undo(req, "entry", id);
    if (step < 0 || (step == FICUS_STEP_FRESH && ficus_exec(req, "DELETE FROM entry WHERE id = ?", "s", id) != 0))
        return -1;
    return sum_reply(req, 200, 0);
}

static int approval_post(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    if (ficus_tx(req) != 0)
        return -1;
    int step = ficus_step_do(req, "approval", id);
    if (step < 0)
        return -1;
    if (step == FICUS_STEP_REFUSED)
        return ficus_step_refused(req, "approval", id);
    if (step == FICUS_STEP_FRESH && strncmp(id, "bad-", 4) == 0)
        return ficus_step_refuse(req, "approval", id, "not_approved", "bad bookings are not approved");
    return sum_reply(req, 200, AMOUNT);
}

static int entry_get(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    if (in_file(req))
        return sum_reply(req, 200, file_sum(req, id));
    struct ficus_rows *rows = ficus_query(req, "SELECT coalesce(sum(sum), 0) FROM entry WHERE id = ?", "s", id);
    if (rows == NULL || ficus_row(rows) != 1)
        return -1;
    int64_t sum = ficus_col_int(rows, 0);
    ficus_rows_done(rows);
    return sum_reply(req, 200, sum);
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/bookings", booking_post, FICUS_ANYONE, NULL, true},
    {"GET", "/v1/entries/{id}", entry_get, FICUS_ANYONE, NULL, false},
    {"PUT", "/v1/entries/{id}", entry_put, FICUS_SERVICES, NULL, false},
    {"DELETE", "/v1/entries/{id}", entry_delete, FICUS_SERVICES, NULL, false},
    {"POST", "/v1/approvals/{id}", approval_post, FICUS_SERVICES, NULL, false},
    {NULL, NULL, NULL, FICUS_SERVICES, NULL, false},
};

int main(int argc, char **argv)
{
    static const struct ficus_service service = {.name = "ledger", .routes = routes};
    return ficus_main(&service, argc, argv);
}
