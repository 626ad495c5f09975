/* The sample service: keeps a text under each id, and tells others when one changes. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <ficus/ficus.h>

extern const struct ficus_service sample_service;

#endif
