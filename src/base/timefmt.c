/* SPDX-License-Identifier: Apache-2.0
 *
 * Times and durations as text. Dates are counted with the proleptic Gregorian calendar, without the C library: gmtime
 * and timegm depend on environment and locale.
 */
#include "timefmt.h"

#include "assert.h"
#include "quantity.h"

enum { DAY_MS = 86400000 };

/* Days since 1970-01-01 of a date, by counting years from March so that the leap day is last. */
static int64_t days_of_date(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    *ret_day = (unsigned)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *ret_month = (unsigned)(shifted < 10 ? shifted + 3 : shifted - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

static void put_digits(char *p, unsigned count, uint64_t value)
{
    while (count > 0) {
        p[--count] = (char)('0' + value % 10);
        value /= 10;
    }
}

void time_format(int64_t wall_ms, char ret_text[TIME_TEXT_SIZE])
{
    /* RFC 3339 has four digits for the year: hold what lies outside at the ends. */
    const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999);
    wall_ms = wall_ms < first ? first : wall_ms > last ? last : wall_ms;
    int64_t days = wall_ms / DAY_MS, ms = wall_ms % DAY_MS;
    if (ms < 0) {
        ms += DAY_MS;
        days--;
    }
    int64_t year;
    unsigned month, day;
    date_of_days(days, &year, &month, &day);
    memcpy(ret_text, "YYYY-MM-DDThh:mm:ss.SSSZ", TIME_TEXT_SIZE);
    put_digits(ret_text, 4, (uint64_t)year);
    put_digits(ret_text + 5, 2, month);
    put_digits(ret_text + 8, 2, day);
    put_digits(ret_text + 11, 2, (uint64_t)(ms / 3600000));
    put_digits(ret_text + 14, 2, (uint64_t)(ms / 60000 % 60));
    put_digits(ret_text + 17, 2, (uint64_t)(ms / 1000 % 60));
    put_digits(ret_text + 20, 3, (uint64_t)(ms % 1000));
}

/* Exactly count digits at *at. */
static bool read_digits(struct slice s, size_t *at, unsigned count, unsigned *ret_value)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++, (*at)++) {
        if (*at >= s.size || s.p[*at] < '0' || s.p[*at] > '9')
            return false;
        value = value * 10 + (unsigned)(s.p[*at] - '0');
    }
    *ret_value = value;
    return true;
}

static bool read_char(struct slice s, size_t *at, char c)
{
    if (*at >= s.size || s.p[*at] != c)
        return false;
    (*at)++;
    return true;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 ? 28u + leap : 30u + (month == 1 || month == 3 || month == 5 || month == 7 || month == 8 || month == 10 || month == 12);
}

/* Fraction and zone, up to the end. */
static bool read_fraction_and_zone(struct slice s, size_t at, int64_t *ret_ms)
{
    int64_t ms = 0;
    if (read_char(s, &at, '.')) {
        size_t first = at;
        int64_t weight = 100;
        for (; at < s.size && s.p[at] >= '0' && s.p[at] <= '9'; at++, weight /= 10)
            ms += (s.p[at] - '0') * weight;
        if (at == first)
            return false;
    }
    if (read_char(s, &at, 'Z') || read_char(s, &at, 'z')) {
        *ret_ms = ms;
        return at == s.size;
    }
    bool west = at < s.size && s.p[at] == '-';
    unsigned hours, minutes;
    if (!(west || (at < s.size && s.p[at] == '+')))
        return false;
    at++;
    if (!read_digits(s, &at, 2, &hours) || !read_char(s, &at, ':') || !read_digits(s, &at, 2, &minutes) || at != s.size)
        return false;
    if (hours > 23 || minutes > 59)
        return false;
    int64_t offset = (int64_t)(hours * 60 + minutes) * 60000;
    *ret_ms = ms + (west ? offset : -offset);
    return true;
}

bool time_parse(struct slice s, int64_t *ret_wall_ms)
{
    size_t at = 0;
    unsigned year, month, day, hour, minute, second;
    if (!read_digits(s, &at, 4, &year) || !read_char(s, &at, '-') || !read_digits(s, &at, 2, &month) ||
        !read_char(s, &at, '-') || !read_digits(s, &at, 2, &day))
        return false;
    if (!read_char(s, &at, 'T') && !read_char(s, &at, 't') && !read_char(s, &at, ' '))
        return false;
    if (!read_digits(s, &at, 2, &hour) || !read_char(s, &at, ':') || !read_digits(s, &at, 2, &minute) ||
        !read_char(s, &at, ':') || !read_digits(s, &at, 2, &second))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t rest;
    if (!read_fraction_and_zone(s, at, &rest))
        return false;
    *ret_wall_ms = days_of_date(year, month, day) * DAY_MS + (int64_t)hour * 3600000 + (int64_t)minute * 60000 + (int64_t)second * 1000 + rest;
    return true;
}

static const struct quantity_unit duration_units[] = {{"d", DAY_MS}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

bool duration_parse(struct slice s, int64_t *ret_ms)
{
    return quantity_parse(s, duration_units, sizeof duration_units / sizeof duration_units[0], ret_ms);
}

void duration_format(int64_t ms, char *ret_text, size_t size)
{
    quantity_format(ms, duration_units, sizeof duration_units / sizeof duration_units[0], ret_text, size);
}
