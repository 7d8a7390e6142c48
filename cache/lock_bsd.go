//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Locks are on whole files, of an open file description: the kernel lets go of them when that is closed, be it by the
// end of its process, and two goroutines that have each opened the file exclude one another, too.

func tryLock(f *os.File, _ int64) (bool, error) {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return current(f), nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

func unlock(f *os.File, _ int64) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// current reports whether f is still the file of its name: a lease's is removed by whoever had it.
func current(f *os.File) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	theirs, err := os.Stat(f.Name())
	return err == nil && os.SameFile(ours, theirs)
}

// leaseFile opens a file of the key's own.
func (d *Disk) leaseFile(k *Key) (*os.File, error) {
	folder := filepath.Join(d.dir, "leases")
	name := filepath.Join(folder, fmt.Sprintf("%016x", place(k)))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdir(folder); err != nil {
			return nil, err
		}
		return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	}
	return f, err
}

// freeLease removes the file while it is locked: whoever has opened it sees, once it has the lock, that it is not the
// one any more.
func freeLease(f *os.File) {
	os.Remove(f.Name())
	f.Close()
}
