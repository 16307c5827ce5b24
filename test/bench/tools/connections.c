/* Short TCP connections, as many as there can be, and how long an answer takes. A connection ends with a reset, so that no
 * port waits for late packets.
 * Usage: connections serve PORT WORKERS               each byte that comes is sent back
 *        connections storm ADDRESS PORT SECONDS WORKERS  one byte a connection; prints how many connections each second had
 *        connections round ADDRESS PORT COUNT          one connection; prints nanoseconds of each byte's way and back
 *        connections begin ADDRESS PORT COUNT          one byte a connection; prints nanoseconds from nothing to its answer
 * Prints JSON. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 3, BACKLOG = 1024, WARM_UP = 200 };

static struct sockaddr_in to;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int child(void) {
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  return pid == 0;
}

static void at_once(int fd) {
  int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) fail("TCP_NODELAY");
}

static int open_one(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) fail("socket");
  struct linger reset = {1, 0};
  struct timeval patience = {PATIENCE_S, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  at_once(fd);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
  return fd;
}

static void ask(int fd) {
  char byte = 'x';
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) fail("send");
  if (recv(fd, &byte, 1, 0) != 1) fail("recv");
}

static void serve(int port, int workers) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&any, sizeof any) < 0) fail("bind");
  if (listen(listener, BACKLOG) < 0) fail("listen");
  for (int at = 0; at < workers; at++) {
    if (!child()) continue;
    for (;;) {
      int fd = accept(listener, NULL, NULL);
      if (fd < 0) continue;
      at_once(fd);
      char byte;
      while (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1);
      close(fd);
    }
  }
  printf("listening\n");
  fflush(stdout);
  for (;;) pause();
}

static void storm(int seconds, int workers) {
  size_t size = sizeof(long) * seconds * workers;
  long *counts = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (counts == MAP_FAILED) fail("mmap");
  long long start = now_ns();
  for (int at = 0; at < workers; at++) {
    if (!child()) continue;
    for (;;) {
      int fd = open_one();
      ask(fd);
      close(fd);
      long long second = (now_ns() - start) / 1000000000LL;
      if (second >= seconds) exit(0);
      counts[at * seconds + second]++;
    }
  }
  int failed = 0;
  for (int at = 0, status; at < workers; at++) failed |= wait(&status) < 0 || status != 0;
  if (failed) exit(1);
  for (int second = 0; second < seconds; second++) {
    long sum = 0;
    for (int at = 0; at < workers; at++) sum += counts[at * seconds + second];
    printf("%s%ld", second ? "," : "[", sum);
  }
  printf("]\n");
}

static void times(int count, int anew) {
  int fd = anew ? -1 : open_one();
  for (int at = -WARM_UP; at < count; at++) {
    long long start = now_ns();
    if (anew) fd = open_one();
    ask(fd);
    long long took = now_ns() - start;
    if (anew) close(fd);
    if (at >= 0) printf("%s%lld", at ? "," : "[", took);
  }
  printf("]\n");
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  if (argc == 4 && !strcmp(what, "serve")) serve(atoi(argv[2]), atoi(argv[3]));
  if (argc < 5) return 2;
  to.sin_family = AF_INET;
  to.sin_port = htons(atoi(argv[3]));
  if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) return 2;
  if (argc == 6 && !strcmp(what, "storm")) storm(atoi(argv[4]), atoi(argv[5]));
  else if (!strcmp(what, "round") || !strcmp(what, "begin")) times(atoi(argv[4]), what[0] == 'b');
  else return 2;
  return 0;
}
