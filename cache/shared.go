package cache

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// patience is how long a process waits for a lock that others hold for microseconds: one that does not get on, being
// stopped, should not stop everybody.
const patience = 2 * time.Second

// shared is a small file that processes lock, one at a time. It is opened when it is needed, and again when the folder
// has another one: somebody cleaned up.
type shared struct {
	path   string
	mu     sync.Mutex // held with the lock
	f      *os.File
	stuck  time.Time // when waiting was in vain
	closed bool
}

// errBusy is inside the error of a lock that others have.
var errBusy = errors.New("another process has locked it and does not get on")

// lock returns the file, locked, unless that takes longer than the wait. Without an error, unlock must follow. With no
// wait, nobody in this process is waited for, either.
func (s *shared) lock(wait time.Duration) (*os.File, error) {
	if wait > 0 {
		s.mu.Lock()
	} else if !s.mu.TryLock() {
		return nil, errBusy
	}
	f, err := s.acquire(wait)
	if err != nil {
		s.mu.Unlock()
	}
	return f, err
}

func (s *shared) acquire(wait time.Duration) (*os.File, error) {
	begin := time.Now()
	if begin.Sub(s.stuck) < wait/2 {
		wait = 0 // once is enough for all who wait here
	}
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		f, err := s.open()
		if err != nil {
			return nil, err
		}
		ok, noLocks := tryLock(f, beyond)
		if ok || noLocks != nil { // a file system without them: as if this process were alone
			return f, nil //nolint:nilerr // as said
		}
		if waited := time.Since(begin); waited >= wait {
			if wait > 0 {
				s.stuck = time.Now()
			}
			return nil, fmt.Errorf("%s: %w", s.path, errBusy)
		}
		time.Sleep(pause)
	}
}

// beyond is the byte that is locked: behind all contents, since on Windows a locked byte cannot be read.
const beyond = 1 << 62

func (s *shared) unlock() {
	unlock(s.f, beyond)
	s.mu.Unlock()
}

func (s *shared) open() (*os.File, error) {
	if s.closed {
		return nil, os.ErrClosed
	}
	if s.f != nil {
		if s.isCurrent() {
			return s.f, nil
		}
		s.f.Close()
		s.f = nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	s.f = f
	return f, nil
}

// isCurrent reports whether the folder still has the file under its name.
func (s *shared) isCurrent() bool {
	ours, err := s.f.Stat()
	if err != nil {
		return false
	}
	theirs, err := os.Stat(s.path)
	return err == nil && os.SameFile(ours, theirs) || err != nil && !errors.Is(err, os.ErrNotExist)
}

// peek reads what the file holds without its lock.
func (s *shared) peek(b []byte) (int, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(b, 0)
}

func (s *shared) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
}
