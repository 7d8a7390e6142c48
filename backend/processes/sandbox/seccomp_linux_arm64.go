package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_AARCH64
	numbersEnd = 0x40000000 // far above the last one
)

// What only this architecture has.
var deniedAlwaysHere, deniedReadHere []uint32
