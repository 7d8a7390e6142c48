package cache

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Locks are on one byte of a file, of an open file description: the kernel lets go of them when that is closed, be it by
// the end of its process, and two goroutines that have each opened the file exclude one another, too.

func tryLock(f *os.File, at int64) (bool, error) { return lockByte(f, at, unix.F_WRLCK) }

func unlock(f *os.File, at int64) { _, _ = lockByte(f, at, unix.F_UNLCK) }

func lockByte(f *os.File, at int64, kind int16) (bool, error) {
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: at, Len: 1})
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		default:
			return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// leaseFile opens the file on which a key has its byte.
func (d *Disk) leaseFile(*Key) (*os.File, error) {
	return os.OpenFile(filepath.Join(d.dir, "leases"), os.O_RDWR|os.O_CREATE, 0o666)
}

func freeLease(f *os.File) { f.Close() }
