package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_X86_64
	numbersEnd = 0x40000000 // from here on they are x32's: the same calls once more
)

// What only this architecture has.
var (
	deniedAlwaysHere = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM}
	deniedReadHere   = []uint32{
		unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT,
	}
)
