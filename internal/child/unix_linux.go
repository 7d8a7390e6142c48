package child

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// named gives the process its program's name, which executing /proc/self/exe has made "exe".
func named() {
	name := os.Args[0]
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			name = name[i+1:]
			break
		}
	}
	_ = os.WriteFile("/proc/self/comm", []byte(name[:min(len(name), 15)]), 0)
}

// watchParent makes the kernel kill this process and the programs that it has started, its process group, when the
// parent ends: the parent's end of the pipe closes then. No goroutine takes part in it, so that it works whatever
// they do. (PR_SET_PDEATHSIG follows the thread that has forked, and spares what the worker has started.)
func watchParent(life *os.File) {
	fd := life.Fd()
	if pid := os.Getpid(); unix.Getpgrp() == pid {
		_, own := unix.FcntlInt(fd, unix.F_SETOWN, -pid)
		_, sig := unix.FcntlInt(fd, unix.F_SETSIG, int(unix.SIGKILL))
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); own == nil && sig == nil && err == nil {
			_, _ = unix.FcntlInt(fd, unix.F_SETFL, flags|unix.O_ASYNC)
		} // else the end of the link ends the worker
	}
	if gone(life) {
		abandoned() // it was quicker
	}
}

// dataAllowance is what a Go program needs beside what its tasks use.
const dataAllowance = 64 << 20

// limitMemory makes the kernel refuse more memory than that. RLIMIT_AS would be of no use: the runtime reserves more
// than a gigabyte of addresses.
func limitMemory(n int64) error {
	limit := uint64(n) + dataAllowance + dataNow()
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit})
}

func dataNow() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	pages, _ := strconv.ParseUint(f[5], 10, 64)
	return pages * uint64(os.Getpagesize())
}
