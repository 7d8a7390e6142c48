// Package sandbox restricts the process that calls it to the files, the network and the programs it needs. It never
// starts, watches or limits a process: it is for a worker that is about to read files from strangers.
//
// On Linux it stacks two locks that cannot be opened again, on all threads of the process and all that it will start:
// Landlock for files, signals and, as a second line, the network; a seccomp filter for the network, for running
// programs, and for system calls that would go round the rest. What is denied fails with EPERM or EACCES (EXDEV for a
// link or a move to where it may not go); nothing is killed. Elsewhere it can do nothing, and says so.
//
// # What goes on working without being listed
//
// Reading /proc/self, /sys/devices/system/cpu, /dev/urandom, /etc/localtime and the system's time zones, and reading
// and writing /dev/null. Everything that is open: standard output and error, pipes, sockets, shared memory. Memory that
// is mapped, and so the libraries that are loaded. Threads, timers, polling, pairs of connected unix sockets, crashes
// with their traces, signals to the process itself, os.Exit. With Network also what looking up a host and checking a
// certificate read, where most systems keep it.
//
// What does not: looking up a user or group (/etc/passwd), and loading a library later on, unless its file is in Read.
//
// # What is denied under any rules
//
// Tracing other processes and reaching into their memory or descriptors, io_uring, the kernel's keys, BPF and perf
// events, files by handle, typing on a terminal that was inherited, and root's ways to load, replace or stop the kernel.
//
// # What is not covered
//
//   - What was open before: a descriptor can be used as before, also to send or to write.
//   - Names: whether any file exists, its size, times and owner, where a link points. (Listing a directory is covered.)
//   - Modes, owners, times and attributes of files that belong to the user, anywhere, when Write is not empty.
//     When it is empty, changing them is denied, everywhere.
//   - Use of CPU, memory, disk space and processes, and the priorities and limits of the same user's other processes.
//   - System V shared memory, semaphores and message queues, and POSIX message queues, of the same user.
//   - What the worker answers: whoever reads that should not trust it.
//   - Faults of the kernel. And root stays root in what needs no file, such as setting the clock: better not be root.
package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Rules is what a process may still do; the zero value is next to nothing.
type Rules struct {
	// Read are files, and directories with everything below, that may be read. Write may be read and written; in its
	// directories, files and directories may also be made, linked, moved and removed (before Linux 5.19, moved and
	// linked only within one directory). A file that is in Write itself cannot be replaced or removed. Device files
	// cannot be made, and those in Read take only harmless ioctls.
	//
	// Apply looks a path up once, and follows its links. One that does not exist is an error, in Write too: to let a
	// file be made, list its directory. What takes the place of a listed file later on is not listed.
	Read, Write []string

	// Network allows sockets of all kinds, also those of other programs on this machine, of which some run commands
	// for whoever connects. Without it no socket can be made, connected pairs of unix sockets (SOCK_STREAM and
	// SOCK_SEQPACKET) excepted: not unix sockets either, as Landlock does not cover their paths before Linux 7.1.
	Network bool

	// Exec allows running the programs in Read and Write. They are held by the same rules: their libraries, as well as
	// their loader, have to be in Read, and their own /proc/self is not. Without Exec the process can still fork.
	Exec bool

	// Strict makes it an error if the system cannot enforce all of this. What can is Linux 6.12, with Exec 7.0, on
	// amd64 and arm64, with Landlock turned on.
	Strict bool
}

// Apply restricts this process for good. missing says, for people, what the system cannot enforce, and is empty if it
// can enforce all; with Strict anything missing is an error. A second call can only restrict further.
//
// Other goroutines may run meanwhile; they are restricted when it returns, as are the threads of C libraries. After an
// error that names a path, or what is missing, nothing has changed. After any other one the process may be restricted
// in part: it should end.
//
// Signals that were armed before, as by F_SETOWN on an inherited pipe, go on arriving. With Exec, signals to other
// processes are denied from Linux 7.0 on; before, a thread could then not signal the children that another one started.
//
// It takes 0.5 to 1 ms and makes each system call some ns slower (BenchmarkApply). It leaves one descriptor open.
func Apply(r Rules) (missing []string, err error) {
	for _, path := range slices.Concat(r.Read, r.Write) {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("sandbox: rule for path %q: %w", path, err)
		}
	}
	missing = r.missing()
	if r.Strict && len(missing) > 0 {
		return missing, fmt.Errorf("sandbox: this system cannot enforce: %s", strings.Join(missing, "; "))
	}
	return missing, r.enforce()
}
