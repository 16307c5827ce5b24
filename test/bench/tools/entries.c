/* What rtnetlink takes from a program that does nothing else: writes N FDB entries of a VXLAN device in batches of 128 with
 * one acknowledgement each, or lists all FDB and IPv4 neighbour entries. Prints nanoseconds, and how many were listed.
 * Usage: entries write IFINDEX N | entries dump */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 128, BUFFER = 64 * 1024 };
static char buffer[BUFFER];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static size_t attribute(char *at, unsigned short type, const void *data, unsigned short length) {
  struct rtattr *header = (struct rtattr *)at;
  header->rta_type = type;
  header->rta_len = RTA_LENGTH(length);
  memcpy(RTA_DATA(header), data, length);
  return RTA_ALIGN(header->rta_len);
}

static size_t entry(char *at, int ifindex, unsigned index, unsigned flags) {
  struct nlmsghdr *message = (struct nlmsghdr *)at;
  struct ndmsg *body = NLMSG_DATA(message);
  unsigned char mac[6] = {0x02, 0x42, index >> 24, index >> 16, index >> 8, index};
  struct in_addr vtep = {htonl(0x0a630001 + index % 200)};
  memset(at, 0, NLMSG_SPACE(sizeof *body));
  message->nlmsg_type = RTM_NEWNEIGH;
  message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | flags;
  message->nlmsg_seq = index + 1;
  body->ndm_family = AF_BRIDGE;
  body->ndm_ifindex = ifindex;
  body->ndm_state = NUD_PERMANENT;
  body->ndm_flags = NTF_SELF;
  size_t length = NLMSG_SPACE(sizeof *body);
  length += attribute(at + length, NDA_LLADDR, mac, sizeof mac);
  length += attribute(at + length, NDA_DST, &vtep, sizeof vtep);
  message->nlmsg_len = length;
  return length;
}

static void write_entries(int fd, int ifindex, unsigned count) {
  char answer[BUFFER];
  for (unsigned from = 0; from < count; from += BATCH) {
    unsigned to = from + BATCH < count ? from + BATCH : count;
    size_t length = 0;
    for (unsigned index = from; index < to; index++)
      length += entry(buffer + length, ifindex, index, index + 1 == to ? NLM_F_ACK : 0);
    if (send(fd, buffer, length, 0) != (ssize_t)length) fail("send");
    if (recv(fd, answer, sizeof answer, 0) < 0) fail("recv");
    struct nlmsghdr *message = (struct nlmsghdr *)answer;
    struct nlmsgerr *error = NLMSG_DATA(message);
    if (message->nlmsg_type != NLMSG_ERROR || error->error != 0) fail("refused");
  }
}

static unsigned list(int fd, unsigned char family) {
  struct {
    struct nlmsghdr header;
    struct ndmsg body;
  } request = {{sizeof request, RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.ndm_family = family}};
  if (send(fd, &request, sizeof request, 0) < 0) fail("send");
  for (unsigned count = 0;;) {
    ssize_t length = recv(fd, buffer, sizeof buffer, 0);
    if (length < 0) fail("recv");
    for (struct nlmsghdr *at = (struct nlmsghdr *)buffer; NLMSG_OK(at, length); at = NLMSG_NEXT(at, length)) {
      if (at->nlmsg_type == NLMSG_DONE) return count;
      if (at->nlmsg_type == RTM_NEWNEIGH) count++;
    }
  }
}

int main(int argc, char **argv) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) fail("socket");
  long long start = now_ns();
  if (argc == 4 && strcmp(argv[1], "write") == 0) {
    write_entries(fd, atoi(argv[2]), strtoul(argv[3], NULL, 10));
    printf("%lld\n", now_ns() - start);
  } else if (argc == 2 && strcmp(argv[1], "dump") == 0) {
    unsigned count = list(fd, AF_BRIDGE);
    count += list(fd, AF_INET);
    printf("%lld %u\n", now_ns() - start, count);
  } else {
    fprintf(stderr, "usage: entries write IFINDEX N | entries dump\n");
    return 2;
  }
  close(fd);
  return 0;
}
