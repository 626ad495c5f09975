/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes as text, and checks of names.
 */
#include "conf.h"

#include <stdio.h>

static const struct {
    const char *unit;
    int64_t bytes;
} units[] = {{"GiB", INT64_C(1) << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};

bool conf_size_parse(struct slice s, int64_t *ret_bytes)
{
    size_t digits = 0;
    while (digits < s.size && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t value;
    if (!slice_to_u64((struct slice){s.p, digits}, &value) || value > (uint64_t)INT64_MAX)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (slice_eq_str(slice_from(s, digits), units[i].unit))
            return !__builtin_mul_overflow((int64_t)value, units[i].bytes, ret_bytes);
    return false;
}

void conf_size_format(int64_t bytes, char *ret_text, size_t size)
{
    size_t i = bytes == 0 ? sizeof units / sizeof units[0] - 1 : 0;
    while (bytes % units[i].bytes != 0)
        i++;
    (void)snprintf(ret_text, size, "%lld%s", (long long)(bytes / units[i].bytes), units[i].unit);
}

static bool name_ok(struct slice text, bool dots)
{
    if (text.size == 0 || text.size > 63 || text.p[0] < 'a' || text.p[0] > 'z')
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        bool dot = dots && c == '.' && text.p[i - 1] != '.' && i + 1 < text.size;
        if (!word && !dot)
            return false;
    }
    return true;
}

const char *conf_check_name(struct slice text)
{
    return name_ok(text, false) ? NULL : "1 to 63 lower-case letters, digits, '-' and '_', with a letter first";
}

const char *conf_check_dotted(struct slice text)
{
    return name_ok(text, true) ? NULL : "1 to 63 lower-case letters, digits, '-', '_' and single dots between them, with a letter first";
}
