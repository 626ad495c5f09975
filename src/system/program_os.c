/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking for a program as execvpe does.
 */
#include "program.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool program_find(struct arena *a, const char *folder, const char *word, const char **ret_path)
{
    const char *path = word[0] == '/' ? word : arena_printf(a, "%s/%s", folder, word);
    struct slice rest = slice_str(getenv("PATH"));
    struct stat st;
    if (strchr(word, '/') != NULL) {
        *ret_path = path;
        return path != NULL && access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    }
    while (rest.p != NULL) {
        struct slice each = slice_cut(&rest, ':');
        path = arena_printf(a, SLICE_FMT "/%s", SLICE_ARG(each), word);
        if (path != NULL && access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            *ret_path = path;
            return true;
        }
    }
    *ret_path = word;
    return false;
}
