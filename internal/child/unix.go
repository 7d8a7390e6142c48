//go:build unix

package child

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/gojoblib/parallel/internal/board"
)

// The descriptors that a worker is started with. The first three are the program's own.
const (
	connFD  = 3 + iota // the link
	boardFD            // the board, positioned at the place of the runtime's last words
	lifeFD             // a pipe that ends when the parent does
)

// EnvValue is the value of Env that this process gives its workers: what they start before Main, and what inherits the
// variable and the descriptors by that, is told apart by its parent.
func EnvValue() string { return fmt.Sprint(os.Getpid()) }

// inherit takes over what the parent has left for its worker.
func inherit(value string) (conn, life *os.File, mem []byte, err error) {
	if parent := fmt.Sprint(os.Getppid()); value != parent {
		return nil, nil, nil, fmt.Errorf("its value is %q, and the parent of this process %s", value, parent)
	}
	for fd := connFD; fd <= lifeFD; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, nil, nil, fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	if err := unix.SetNonblock(connFD, true); err != nil {
		return nil, nil, nil, err
	}
	if mem, err = unix.Mmap(boardFD, 0, board.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, nil, nil, fmt.Errorf("the shared memory: %w", err)
	}
	words := os.NewFile(boardFD, "crash")
	if err := debug.SetCrashOutput(words, debug.CrashOptions{}); err != nil {
		return nil, nil, nil, err
	}
	words.Close()               // the runtime has a copy
	signal.Ignore(unix.SIGTTOU) // it is in the background of a terminal, and may write there all the same
	named()
	return os.NewFile(connFD, "link"), os.NewFile(lifeFD, "life"), mem, nil
}

// abandoned ends this process, its parent having gone, and the programs that its tasks have started.
func abandoned() {
	if pid := os.Getpid(); unix.Getpgrp() == pid {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	os.Exit(1)
}

// gone reports whether the pipe has ended.
func gone(life *os.File) bool {
	p := []unix.PollFd{{Fd: int32(life.Fd()), Events: unix.POLLIN}}
	n, _ := unix.Poll(p, 0)
	return n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLIN) != 0
}
