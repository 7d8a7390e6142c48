//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that are denied. Landlock restricts some of them, too; they are here for where it is missing.
var (
	deniedAlways = []uint32{
		// They reach into other processes and their keys.
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
		// They do what other calls do, past this filter or past the paths of files.
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_OPEN_BY_HANDLE_AT,
		// They change or watch the kernel; but for bugs, most are root's.
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
	}
	deniedExec    = []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT}
	deniedNetwork = []uint32{unix.SYS_SOCKET}
	// deniedRead change a file without opening it for writing, and Landlock does not cover them.
	deniedRead = []uint32{
		unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT, unix.SYS_REMOVEXATTR,
		unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT, unix.SYS_FILE_SETATTR,
	}
)

// Offsets in the kernel's struct seccomp_data. Of an argument the filter reads the lower half, as do the calls it asks
// about: their arguments are ints.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16 // little-endian, as both architectures are
	dataArg1   = 24
)

const (
	retAllow = unix.SECCOMP_RET_ALLOW
	retDeny  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
)

// filter is the program that the kernel runs at each system call.
//
//	another architecture's call, x32's  -> deny
//	a number in one of the lists        -> deny
//	ioctl(_, TIOCSTI or TIOCLINUX)      -> deny: types on the terminal, for the shell to read
//	socketpair(not a connected pair)    -> deny, without Network
//	anything else                       -> allow
func (r Rules) filter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// jump skips yes or no instructions
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: yes, Jf: no}
	}
	ret := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}

	denied := slices.Concat(deniedAlways, deniedAlwaysHere)
	if !r.Exec {
		denied = append(denied, deniedExec...)
	}
	if !r.Network {
		denied = append(denied, deniedNetwork...)
	}
	if len(r.Write) == 0 {
		denied = slices.Concat(denied, deniedRead, deniedReadHere)
	}

	program := []unix.SockFilter{
		load(dataArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		ret(retDeny),
		load(dataNumber),
		jump(unix.BPF_JGE, numbersEnd, 0, 1),
		ret(retDeny),
	}
	for _, number := range denied {
		program = append(program, jump(unix.BPF_JEQ, number, 0, 1), ret(retDeny))
	}
	program = append(program,
		jump(unix.BPF_JEQ, unix.SYS_IOCTL, 0, 5),
		load(dataArg1),
		jump(unix.BPF_JEQ, unix.TIOCSTI, 1, 0),
		jump(unix.BPF_JEQ, unix.TIOCLINUX, 0, 1),
		ret(retDeny),
		ret(retAllow),
	)
	if !r.Network {
		program = append(program,
			jump(unix.BPF_JEQ, unix.SYS_SOCKETPAIR, 0, 7),
			load(dataArg0),
			jump(unix.BPF_JEQ, unix.AF_UNIX, 0, 4),
			load(dataArg1),
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf}, // the type without its flags
			jump(unix.BPF_JEQ, unix.SOCK_STREAM, 2, 0),
			jump(unix.BPF_JEQ, unix.SOCK_SEQPACKET, 1, 0), // a datagram can be sent to any path
			ret(retDeny),
		)
	}
	return append(program, ret(retAllow))
}

// seccompWorks reports whether the kernel has filters that deny with an error.
func seccompWorks() bool {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0
}

// seccomp puts the filter on all threads.
func (r Rules) seccomp() error {
	runtime.LockOSThread() // the filter and the promise that it takes are this thread's first
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := r.filter()
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}
