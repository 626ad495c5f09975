/* SPDX-License-Identifier: Apache-2.0
 *
 * The participants' table of sagas. What each request finds and leaves (row: what it finds):
 *
 *                 none              done             undone          refused         tombstone
 *   do            FRESH -> done     REPEATED         REFUSED         REFUSED         REFUSED
 *   undo          NEVER -> tombst.  FRESH -> undone  REPEATED        NEVER           NEVER
 *   refuse        (only after do gave FRESH: done -> refused)
 */
#include "service_impl.h"

static const char *const code_undone = "undone";

/* The row's state in the arena, "" when there is none; NULL: failed. */
static const char *find(struct ficus_req *req, const char *kind, const char *id, const char **ret_code)
{
    if (kind == NULL || id == NULL) {
        (void)request_fail(req, 500, "internal", false, "a saga step needs kind and id");
        return NULL;
    }
    struct ficus_rows *rows = ficus_query(req, "SELECT state, code FROM ficus_steps WHERE kind = ? AND id = ?", "ss",
                                          kind, id);
    int row = ficus_row(rows);
    const char *state = row == 1 ? ficus_col_str(rows, 0) : row == 0 ? "" : NULL;
    if (row == 1 && ret_code != NULL)
        *ret_code = ficus_col_str(rows, 1);
    ficus_rows_done(rows);
    return req->is_failed ? NULL : state;
}

static bool in_tx(struct ficus_req *req)
{
    if (!request_may_go_on(req))
        return false;
    if (!req->tx_open)
        (void)request_fail(req, 500, "internal", false, "a saga step before ficus_tx");
    return req->tx_open;
}

static int insert(struct ficus_req *req, const char *kind, const char *id, const char *state)
{
    return ficus_exec(req, "INSERT INTO ficus_steps(kind, id, state, at) VALUES(?, ?, ?, ?)", "sssi", kind, id, state,
                      ficus_now_ms(req));
}

static int update(struct ficus_req *req, const char *kind, const char *id, const char *state, const char *code)
{
    return ficus_exec(req,
                      "UPDATE ficus_steps SET state = ?, code = ?, at = ? WHERE kind = ? AND id = ? AND state = 'done'",
                      "ssiss", state, code, ficus_now_ms(req), kind, id);
}

int ficus_step_do(struct ficus_req *req, const char *kind, const char *id)
{
    const char *state = in_tx(req) ? find(req, kind, id, NULL) : NULL;
    if (state == NULL)
        return -1;
    if (strcmp(state, "done") == 0)
        return FICUS_STEP_REPEATED;
    if (state[0] != '\0')
        return FICUS_STEP_REFUSED;
    return insert(req, kind, id, "done") == 0 ? FICUS_STEP_FRESH : -1;
}

int ficus_step_undo(struct ficus_req *req, const char *kind, const char *id)
{
    const char *state = in_tx(req) ? find(req, kind, id, NULL) : NULL;
    if (state == NULL)
        return -1;
    if (strcmp(state, "done") == 0)
        return update(req, kind, id, "undone", NULL) == 0 ? FICUS_STEP_FRESH : -1;
    if (strcmp(state, "undone") == 0)
        return FICUS_STEP_REPEATED;
    if (state[0] != '\0')
        return FICUS_STEP_NEVER;
    return insert(req, kind, id, "tombstone") == 0 ? FICUS_STEP_NEVER : -1;
}

int ficus_step_refuse(struct ficus_req *req, const char *kind, const char *id, const char *code, const char *detail)
{
    if (!in_tx(req) || find(req, kind, id, NULL) == NULL || update(req, kind, id, "refused", code) != 0)
        return -1;
    if (ficus_changes(req) != 1)
        return request_fail(req, 500, "internal", false, "ficus_step_refuse without ficus_step_do before it");
    (void)ficus_problem(req, 409, code, "%s", detail == NULL ? "refused" : detail);
    return 0;
}

int ficus_step_refused(struct ficus_req *req, const char *kind, const char *id)
{
    const char *code = NULL;
    const char *state = find(req, kind, id, &code);
    if (state == NULL)
        return -1;
    (void)ficus_problem(req, 409, code == NULL ? code_undone : code, "%s",
                        code == NULL ? "this step was undone; it can no longer be done"
                                     : "this step was refused before");
    return 0;
}

const char *ficus_step_state(struct ficus_req *req, const char *kind, const char *id)
{
    const char *state = find(req, kind, id, NULL);
    if (state == NULL)
        return NULL;
    return strcmp(state, "tombstone") == 0 ? code_undone : state;
}
