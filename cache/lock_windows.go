package cache

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// Locks are on one byte of a file, of a handle: the system lets go of them when that is closed, be it by the end of its
// process.

func tryLock(f *os.File, at int64) (bool, error) {
	o := windows.Overlapped{Offset: uint32(at), OffsetHigh: uint32(at >> 32)}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	switch err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &o); {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	default:
		return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
}

func unlock(f *os.File, at int64) {
	o := windows.Overlapped{Offset: uint32(at), OffsetHigh: uint32(at >> 32)}
	_ = windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &o)
}

// leaseFile opens the file on which a key has its byte.
func (d *Disk) leaseFile(*Key) (*os.File, error) {
	return os.OpenFile(filepath.Join(d.dir, "leases"), os.O_RDWR|os.O_CREATE, 0o666)
}

func freeLease(f *os.File) { f.Close() }
