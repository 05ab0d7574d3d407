/* The raw limit of the loopback: exchanges of datagrams with nothing in between.
 *
 * `raw serve PORT REPLY_BYTES` answers whatever comes, from the address that was asked, on one
 * socket bound to all addresses: what a simulator of agents cannot do without.
 * `raw ask FIRST COUNT PORT REQUEST_BYTES WINDOW BATCH SECONDS` keeps WINDOW datagrams under way
 * to COUNT addresses from FIRST on, through one unconnected socket, and sends one for each that
 * comes back: what a poller cannot do without. Nothing is encoded, matched or kept. It prints
 * {"exchanges": n, "seconds": s, "cpu_seconds": c}.
 *
 * Both use recvmmsg and sendmmsg with the socket options that Trunkline sets. A datagram that is
 * lost shrinks the window; `ask` notices when nothing comes for 100 ms and fills it up again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#define BATCH_MAX 64
#define SLOT 1536
#define CONTROL 128

static unsigned char in_bytes[BATCH_MAX][SLOT], out_bytes[BATCH_MAX][SLOT];
static unsigned char in_control[BATCH_MAX][CONTROL];
static struct sockaddr_in in_names[BATCH_MAX], out_names[BATCH_MAX];
static struct iovec in_vectors[BATCH_MAX], out_vectors[BATCH_MAX];
static struct mmsghdr in[BATCH_MAX], out[BATCH_MAX];

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int open_socket(int port, int server) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, bytes = 8 << 20;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_usec = 100000};
    if (fd < 0) fail("socket");
    /* A server that learned of clients which have gone would have to forgive them. */
    setsockopt(fd, SOL_IP, server ? IP_PKTINFO : IP_RECVERR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(fd, (struct sockaddr *)&any, sizeof any)) fail("bind");
    return fd;
}

static int receive(int fd, int batch) {
    for (int i = 0; i < batch; i++) {
        in_vectors[i] = (struct iovec){in_bytes[i], SLOT};
        in[i].msg_hdr = (struct msghdr){
            .msg_name = &in_names[i], .msg_namelen = sizeof in_names[i],
            .msg_iov = &in_vectors[i], .msg_iovlen = 1,
            .msg_control = in_control[i], .msg_controllen = CONTROL};
    }
    int got = recvmmsg(fd, in, batch, MSG_WAITFORONE, NULL);
    if (got < 0 && errno != EAGAIN && errno != EINTR) fail("recvmmsg");
    return got;
}

static void send_all(int fd, int count) {
    for (int sent = 0; sent < count;) {
        int taken = sendmmsg(fd, out + sent, count - sent, 0);
        if (taken < 0) fail("sendmmsg");
        sent += taken;
    }
}

static void serve(int port, int reply_bytes) {
    int fd = open_socket(port, 1);
    for (;;) {
        int got = receive(fd, BATCH_MAX);
        for (int i = 0; i < got; i++) {
            out_vectors[i] = (struct iovec){out_bytes[i], reply_bytes};
            out[i].msg_hdr = (struct msghdr){
                .msg_name = &in_names[i], .msg_namelen = sizeof in_names[i],
                .msg_iov = &out_vectors[i], .msg_iovlen = 1};
            struct cmsghdr *item = CMSG_FIRSTHDR(&in[i].msg_hdr);
            for (; item; item = CMSG_NXTHDR(&in[i].msg_hdr, item)) {
                if (item->cmsg_level != SOL_IP || item->cmsg_type != IP_PKTINFO) continue;
                struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(item);
                info->ipi_ifindex = 0;
                out[i].msg_hdr.msg_control = item;
                out[i].msg_hdr.msg_controllen = CMSG_SPACE(sizeof *info);
            }
        }
        if (got > 0) send_all(fd, got);
    }
}

static uint32_t first_address, next_address, addresses;
static int ask_port, ask_bytes;

static void prepare(int count) {
    for (int i = 0; i < count; i++) {
        out_names[i] = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(ask_port),
            .sin_addr.s_addr = htonl(first_address + next_address)};
        next_address = next_address + 1 == addresses ? 0 : next_address + 1;
        out_vectors[i] = (struct iovec){out_bytes[i], ask_bytes};
        out[i].msg_hdr = (struct msghdr){
            .msg_name = &out_names[i], .msg_namelen = sizeof out_names[i],
            .msg_iov = &out_vectors[i], .msg_iovlen = 1};
    }
}

static int ask(int window, int batch, double lasting) {
    int fd = open_socket(0, 0), missing = window;
    long exchanges = 0;
    double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), now = began;
    while (now < began + lasting) {
        while (missing > 0) {
            int count = missing < batch ? missing : batch;
            prepare(count);
            send_all(fd, count);
            missing -= count;
        }
        int got = receive(fd, batch);
        if (got > 0) {
            exchanges += got;
            missing = got;
        } else {
            missing = window;
        }
        now = seconds(CLOCK_MONOTONIC);
    }
    printf("{\"exchanges\": %ld, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", exchanges,
           now - began, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "serve")) serve(atoi(words[2]), atoi(words[3]));
    struct in_addr first;
    if (count == 9 && !strcmp(words[1], "ask") && inet_aton(words[2], &first)) {
        first_address = ntohl(first.s_addr);
        addresses = atoi(words[3]);
        ask_port = atoi(words[4]);
        ask_bytes = atoi(words[5]);
        int window = atoi(words[6]), batch = atoi(words[7]);
        if (addresses > 0 && ask_bytes <= SLOT && window > 0 && batch > 0 && batch <= BATCH_MAX)
            return ask(window, batch, atof(words[8]));
    }
    fprintf(stderr, "raw serve PORT BYTES | raw ask FIRST COUNT PORT BYTES WINDOW BATCH SECONDS\n");
    return 2;
}
