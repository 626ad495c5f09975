/* SPDX-License-Identifier: Apache-2.0 */
#include "quantity.h"

#include <stdio.h>

bool quantity_parse(struct slice s, const struct quantity_unit *units, size_t count, int64_t *ret_value)
{
    size_t digits = 0;
    while (digits < s.size && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t number;
    if (!slice_to_u64((struct slice){s.p, digits}, &number) || number > (uint64_t)INT64_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(slice_from(s, digits), units[i].name))
            return !__builtin_mul_overflow((int64_t)number, units[i].worth, ret_value);
    return false;
}

void quantity_format(int64_t value, const struct quantity_unit *units, size_t count, char *ret_text, size_t size)
{
    size_t i = value == 0 ? count - 1 : 0;
    while (value % units[i].worth != 0)
        i++;
    (void)snprintf(ret_text, size, "%lld%s", (long long)(value / units[i].worth), units[i].name);
}
