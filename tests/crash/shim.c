/* Fails, cuts short or kills at one chosen system call that a writer makes in one directory.
 *
 * Preloaded (LD_PRELOAD) into a process, it counts the calls that change files below the directory given to
 * crash_arm, or go through descriptors opened there. At call number `nth` (from 1; 0 only counts) it does
 * what `action` says. Disarmed, it hands every call on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum action {
  COUNT,
  KILL_BEFORE, /* SIGKILL instead of the call */
  KILL_AFTER,  /* half of a write, or the whole of another call, then SIGKILL */
  FAIL_ONCE,   /* -1 and an errno */
  FAIL_ON,     /* the same from there on */
  SHORT_ON,    /* writes take half of what they are given from there on */
};
enum kind { OTHER, WRITE, OPEN, CLOSE, REMOVE };

#define DESCRIPTORS 65536
static char directory[4096];
static size_t directory_length;
static unsigned char watched[DESCRIPTORS];
static long count, nth;
static int action, code;

void crash_arm(const char *path, long at, int what, int number) {
  memset(watched, 0, sizeof watched);
  directory_length = strlen(path);
  if (directory_length >= sizeof directory) _exit(99);
  memcpy(directory, path, directory_length + 1);
  count = 0, nth = at, action = what, code = number;
}

long crash_count(void) { return count; }

static int inside(const char *path) {
  return directory_length && strncmp(path, directory, directory_length) == 0 &&
         (path[directory_length] == '/' || path[directory_length] == 0);
}

static int ours(int fd) { return fd >= 0 && fd < DESCRIPTORS && watched[fd]; }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* What to do about this call: 0 make it, 1 fail it, 2 make half of it, 3 make it and die, 4 half and die. */
static int decide(enum kind kind) {
  const int saved = errno;
  const long now = ++count;
  errno = saved;
  if (!nth || now < nth) return 0;
  switch (action) {
    case KILL_BEFORE:
      die();
      return 0;
    case KILL_AFTER:
      return kind == WRITE ? 4 : 3;
    case FAIL_ONCE:
      return now == nth && !(code == EINTR && (kind == CLOSE || kind == REMOVE));
    case FAIL_ON:
      return kind != CLOSE && kind != REMOVE;
    case SHORT_ON:
      return kind == WRITE ? 2 : 0;
  }
  return 0;
}

#define REAL(type, name, ...)                                  \
  static type (*real)(__VA_ARGS__);                            \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* The body of a call that is made or failed as a whole. */
#define WHOLE(kind, concerned, call)        \
  const int what = (concerned) ? decide(kind) : 0; \
  if (what == 1) return errno = code, -1;   \
  const int result = (call);                \
  if (what >= 3) die();                     \
  return result

static int opened(int fd, int on) {
  if (fd >= 0 && fd < DESCRIPTORS) watched[fd] = (unsigned char)on;
  return fd;
}

/* Only what creates, writes or locks is a writer's call; reading back is not counted. */
static int writes(const char *path, int flags) {
  return inside(path) && ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_DIRECTORY)));
}

#define OPEN_BODY(call)                                            \
  mode_t mode = 0;                                                 \
  if (flags & (O_CREAT | __O_TMPFILE)) {                           \
    va_list rest;                                                  \
    va_start(rest, flags);                                         \
    mode = va_arg(rest, mode_t);                                   \
    va_end(rest);                                                  \
  }                                                                \
  const int concerned = writes(path, flags);                       \
  const int what = concerned ? decide(OPEN) : 0;                   \
  if (what == 1) return errno = code, -1;                          \
  const int result = call;                                         \
  if (what >= 3) die();                                            \
  return opened(result, concerned)

int open(const char *path, int flags, ...) {
  REAL(int, "open", const char *, int, ...);
  OPEN_BODY(real(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
  REAL(int, "open64", const char *, int, ...);
  OPEN_BODY(real(path, flags, mode));
}
int openat(int at, const char *path, int flags, ...) {
  REAL(int, "openat", int, const char *, int, ...);
  OPEN_BODY(real(at, path, flags, mode));
}
int openat64(int at, const char *path, int flags, ...) {
  REAL(int, "openat64", int, const char *, int, ...);
  OPEN_BODY(real(at, path, flags, mode));
}

int close(int fd) {
  REAL(int, "close", int);
  const int concerned = ours(fd);
  const int what = concerned ? decide(CLOSE) : 0;
  if (concerned) watched[fd] = 0;
  const int result = real(fd); /* a failed close has closed, too */
  if (what >= 3) die();
  if (what == 1) return errno = code, -1;
  return result;
}

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  const int what = ours(fd) ? decide(WRITE) : 0;
  if (what == 1) return errno = code, -1;
  const ssize_t result = real(fd, data, what == 2 || what == 4 ? (size + 1) / 2 : size);
  if (what >= 3) die();
  return result;
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  WHOLE(OTHER, ours(fd), real(fd, parts, number));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  WHOLE(OTHER, ours(fd), real(fd, data, size, offset));
}
int fsync(int fd) {
  REAL(int, "fsync", int);
  WHOLE(OTHER, ours(fd), real(fd));
}
int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  WHOLE(OTHER, ours(fd), real(fd));
}
int ftruncate64(int fd, off64_t size) {
  REAL(int, "ftruncate64", int, off64_t);
  WHOLE(OTHER, ours(fd), real(fd, size));
}
int fchmod(int fd, mode_t mode) {
  REAL(int, "fchmod", int, mode_t);
  WHOLE(OTHER, ours(fd), real(fd, mode));
}
int fchown(int fd, uid_t owner, gid_t group) {
  REAL(int, "fchown", int, uid_t, gid_t);
  WHOLE(OTHER, ours(fd), real(fd, owner, group));
}
int flock(int fd, int operation) {
  REAL(int, "flock", int, int);
  WHOLE(OTHER, ours(fd), real(fd, operation));
}
int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  WHOLE(OTHER, inside(from) || inside(to), real(from, to));
}
int renameat(int at, const char *from, int onto, const char *to) {
  REAL(int, "renameat", int, const char *, int, const char *);
  WHOLE(OTHER, inside(from) || inside(to), real(at, from, onto, to));
}
int link(const char *from, const char *to) {
  REAL(int, "link", const char *, const char *);
  WHOLE(OTHER, inside(from) || inside(to), real(from, to));
}
int linkat(int at, const char *from, int onto, const char *to, int flags) {
  REAL(int, "linkat", int, const char *, int, const char *, int);
  WHOLE(OTHER, inside(from) || inside(to), real(at, from, onto, to, flags));
}
int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  WHOLE(REMOVE, inside(path), real(path));
}
int unlinkat(int at, const char *path, int flags) {
  REAL(int, "unlinkat", int, const char *, int);
  WHOLE(REMOVE, inside(path), real(at, path, flags));
}
