/* A stand-in for docker.exe, and for powershell.exe under that name, that tells how it was called.

   Each call is appended to the file STUB_RECORD: every argument followed by a unit separator, the call by a record
   separator. To `info` it answers the text in STUB_SECURITY. It ends with the number in STUB_EXIT_<first argument>,
   else with 0. As powershell it answers the one question that docker-shell.bat has: 0 if STUB_TERMINAL is set, so that
   there is a terminal, else 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (strstr(argv[0], "powershell"))
        return getenv("STUB_TERMINAL") ? 0 : 1;

    FILE *record = fopen(getenv("STUB_RECORD"), "ab");
    if (!record)
        return 99;
    for (int i = 1; i < argc; i++)
        fprintf(record, "%s\x1f", argv[i]);
    fputc('\x1e', record);
    fclose(record);

    const char *first = argc > 1 ? argv[1] : "";
    if (!strcmp(first, "info") && getenv("STUB_SECURITY"))
        puts(getenv("STUB_SECURITY"));

    char name[64];
    snprintf(name, sizeof name, "STUB_EXIT_%s", first);
    const char *code = getenv(name);
    return code ? atoi(code) : 0;
}
