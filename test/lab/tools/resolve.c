// `resolve NAME`: what getaddrinfo(3) of the C library that this is linked with finds, an address a line; or why nothing:
// `none` (no such name, or no address), `again` (nobody answered, or not with an answer), or a number.
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
  if (argc != 2) return 2;
  int error = getaddrinfo(argv[1], NULL, &hints, &found);
  if (error == EAI_NONAME || error == EAI_NODATA) return puts("none"), 1;
  if (error == EAI_AGAIN) return puts("again"), 1;
  if (error) return printf("%d\n", error), 1;
  for (each = found; each; each = each->ai_next) {
    char text[64];
    if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST)) return 3;
    puts(text);
  }
}
