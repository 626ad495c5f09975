#include "sample.h"

int main(int argc, char **argv)
{
    return ficus_main(&sample_service, argc, argv);
}
