/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice of an address; see call_balance.h.
 */
#include "call_balance.h"

#include "assert.h"

/* ---- load ---- */

/* 1 / (1 + t) instead of 2^-t: no mathematics library, and the difference does not matter here. */
static double load_latency_ns(const struct call_load *l, int64_t now_ns)
{
    double age = (double)(now_ns - l->stamp_ns) / (CALL_LOAD_MEMORY_MS * 1e6);
    return age <= 0 ? l->latency_ns : l->latency_ns / (1 + age);
}

void call_load_note(struct call_load *l, int64_t latency_ns, bool failed, int64_t now_ns)
{
    double before = load_latency_ns(l, now_ns), latency = latency_ns > 0 ? (double)latency_ns : 1;
    if (latency >= before)
        l->latency_ns = latency;
    else if (failed)
        l->latency_ns = before;
    else
        l->latency_ns = before + (latency - before) / 8;
    l->stamp_ns = now_ns;
}

double call_load_cost(const struct call_load *l, int64_t now_ns)
{
    /* One of which nothing is known gets one call, whose answer says more; not all of them at once. */
    if (l->latency_ns <= 0)
        return l->outstanding == 0 ? 0 : 1e15 * (double)l->outstanding;
    return load_latency_ns(l, now_ns) * (double)(l->outstanding + 1);
}

/* ---- hash and random ---- */

static uint64_t mix(uint64_t v)
{
    v ^= v >> 30;
    v *= 0xbf58476d1ce4e5b9U;
    v ^= v >> 27;
    v *= 0x94d049bb133111ebU;
    return v ^ v >> 31;
}

uint64_t call_hash(struct slice text)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (size_t i = 0; i < text.size; i++)
        h = (h ^ (unsigned char)text.p[i]) * 0x100000001b3U;
    return mix(h);
}

uint64_t call_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15U;
    return mix(*state);
}

/* ---- choice ---- */

/* How choosy: each round takes more. */
enum { ROUND_GOOD, ROUND_NOT_OUT, ROUND_NOT_AVOIDED, ROUND_ANY };

static bool fits(const struct call_target *t, const struct call_choice *c, int64_t now_ns, int round)
{
    bool in = round == ROUND_NOT_AVOIDED || round == ROUND_ANY || !call_eject_out(t->eject, now_ns);
    return in && (round == ROUND_NOT_OUT || round == ROUND_ANY || t != c->avoid);
}

/* The first that fits from `from` on, other than `but`; count: none. */
static size_t first_fit(struct call_target *const *targets, size_t count, const struct call_choice *c, int64_t now_ns,
                        int round, size_t from, size_t but)
{
    for (size_t i = 0, k = from; i < count; i++, k = k + 1 < count ? k + 1 : 0)
        if (k != but && fits(targets[k], c, now_ns, round))
            return k;
    return count;
}

static size_t choose_hash(struct call_target *const *targets, size_t count, const struct call_choice *c,
                          int64_t now_ns, int round)
{
    size_t best = count;
    uint64_t best_score = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t score = mix(targets[i]->hash ^ c->key);
        if ((best == count || score > best_score) && fits(targets[i], c, now_ns, round)) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

static size_t choose_least(struct call_target *const *targets, size_t count, const struct call_choice *c,
                           int64_t now_ns, int round, uint64_t *random)
{
    uint64_t draw = call_random(random);
    size_t a = first_fit(targets, count, c, now_ns, round, (size_t)((draw & UINT32_MAX) % count), count);
    if (a == count)
        return count;
    size_t b = first_fit(targets, count, c, now_ns, round, (size_t)((draw >> 32) % count), a);
    if (b == count)
        return a;
    return call_load_cost(&targets[b]->load, now_ns) < call_load_cost(&targets[a]->load, now_ns) ? b : a;
}

size_t call_choose(struct call_target *const *targets, size_t count, const struct call_choice *c, int64_t now_ns,
                   size_t *cursor, uint64_t *random)
{
    FICUS_ASSERT(count > 0);
    size_t chosen = count == 1 ? 0 : count;
    for (int round = ROUND_GOOD; chosen == count; round++) {
        FICUS_ASSERT(round <= ROUND_ANY);
        if (c->balance == CALL_BALANCE_ROUND_ROBIN)
            chosen = first_fit(targets, count, c, now_ns, round, *cursor % count, count);
        else if (c->balance == CALL_BALANCE_RING_HASH && c->keyed)
            chosen = choose_hash(targets, count, c, now_ns, round);
        else
            chosen = choose_least(targets, count, c, now_ns, round, random);
    }
    *cursor = chosen + 1;
    return chosen;
}

bool call_another(struct call_target *const *targets, size_t count, const struct call_target *avoid, int64_t now_ns)
{
    for (size_t i = 0; i < count; i++)
        if (targets[i] != avoid && !call_eject_out(targets[i]->eject, now_ns))
            return true;
    return false;
}

size_t call_out_count(struct call_target *const *targets, size_t count, int64_t now_ns)
{
    size_t out = 0;
    for (size_t i = 0; i < count; i++)
        out += call_eject_out(targets[i]->eject, now_ns);
    return out;
}
