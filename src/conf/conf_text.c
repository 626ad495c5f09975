/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes as text, and checks of names.
 */
#include "conf.h"
#include "quantity.h"

static const struct quantity_unit size_units[] = {{"GiB", INT64_C(1) << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};

bool conf_size_parse(struct slice s, int64_t *ret_bytes)
{
    return quantity_parse(s, size_units, sizeof size_units / sizeof size_units[0], ret_bytes);
}

void conf_size_format(int64_t bytes, char *ret_text, size_t size)
{
    quantity_format(bytes, size_units, sizeof size_units / sizeof size_units[0], ret_text, size);
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
